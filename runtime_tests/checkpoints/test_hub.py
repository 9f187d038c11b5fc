"""Names of models: directories, hub ids, and neither. No test needs a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from edge.checkpoints.hub import HUB_FILES, PICKLED_FILES, local_directory
from edge.checkpoints.hugging_face import load_checkpoint
from runtime_tests.checkpoints.published_form import published, write
from runtime_tests.tiny import save_tiny


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that gives the directory or raises the error that a test puts here."""
    answer: dict[str, Any] = {}

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        answer["asked"] = (repo_id, revision, allow_patterns)
        if "error" in answer:
            raise answer["error"]
        return str(answer["directory"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return answer


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


def test_a_hub_id_is_downloaded_and_loaded(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["directory"] = save_tiny(tmp_path / "snapshot")
    assert load_checkpoint("someone/some-model_1.5B").config.dim == 36
    assert hub["asked"] == ("someone/some-model_1.5B", None, list(HUB_FILES))


def test_a_revision_is_pinned(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["directory"] = save_tiny(tmp_path / "snapshot")
    load_checkpoint("someone/model@2e367775")
    assert hub["asked"] == ("someone/model", "2e367775", list(HUB_FILES))


def test_a_repository_without_safetensors_gives_its_other_form(hub: dict[str, Any], tmp_path: Path) -> None:
    hub["directory"] = write(tmp_path / "snapshot", published(2), None)
    assert load_checkpoint("someone/model").plan.default.bits == 2
    assert hub["asked"] == ("someone/model", None, [*HUB_FILES, *PICKLED_FILES])


@pytest.mark.usefixtures("no_hub")
def test_a_directory_wins_over_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someone" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_directory("someone/model") == Path("someone/model")


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    "name",
    [
        "nosuch",
        "./a/b",
        "/nowhere/at/all",
        "a/b/c",
        "a b/c",
        "../a",
        "a/",
        "-a/b",
        "a/b\n",
        "ä/b",
        "a/b@",
        "a@b",
        "a/b@-x",
    ],
)
def test_neither_a_directory_nor_a_hub_id(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a directory, and not a hub id either"):
        local_directory(name)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match="is a file; give the directory"):
        local_directory(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LocalEntryNotFoundError("no route\nand more"), "it cannot be reached: no route); download"),
        (OSError(), "it cannot be reached: ); download"),
        (GatedRepoError.__new__(GatedRepoError), "its owner has not granted access"),
        (RepositoryNotFoundError.__new__(RepositoryNotFoundError), "it has no such public repository"),
        (RevisionNotFoundError.__new__(RevisionNotFoundError), "it has no revision None"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_hub_that_gives_nothing(error: Exception, sentence: str, hub: dict[str, Any]) -> None:
    hub["error"] = error
    with pytest.raises(ValueError, match=re.escape(f"the hub did not give it ({sentence}")) as raised:
        local_directory("someone/model")
    assert "\n" not in str(raised.value)
