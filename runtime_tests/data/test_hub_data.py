"""Hub datasets: asked for at once, streamed, and known by their commit."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import datasets
import huggingface_hub
import pytest

from edge.data import Source, documents, hub
from edge.data.hub import HubDataset

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOCAL = r"give a local .txt, .jsonl or .parquet file, or download the dataset first"


class Hub:
    """Fake hub with one dataset of three rows; records the requests made to it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, float]] = []
        self.loaded: list[tuple[Any, ...]] = []
        self.read = 0

    def dataset_info(self, api: object, name: str, revision: str | None, timeout: float) -> Any:
        self.asked.append((name, revision, timeout))
        return huggingface_hub.DatasetInfo(
            id=name, sha=COMMIT, private=False, downloads=0, likes=0, tags=[], disabled=False
        )

    def load_dataset(self, *where: Any, split: str, revision: str | None, streaming: bool) -> Any:
        self.loaded.append((*where, split, revision, streaming))
        return datasets.IterableDataset.from_generator(self.rows)

    def rows(self) -> Any:
        for text in ("one", "", "two"):
            self.read += 1
            yield {"text": text}


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Hub:
    server = Hub()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "dataset_info", lambda *args, **flags: server.dataset_info(*args, **flags)
    )
    monkeypatch.setattr(datasets, "load_dataset", server.load_dataset)
    return server


def test_a_hub_dataset_is_streamed_at_the_newest_commit(online: Hub):
    texts = documents("owner/stories")
    assert next(texts) == "one"
    assert online.read < 3, "all of it was read first"
    assert list(texts) == ["two"]
    assert online.asked[0] == ("owner/stories", None, hub.TIMEOUT_SECONDS)
    assert online.loaded == [("owner/stories", None, "train", COMMIT, True)]


@pytest.mark.parametrize(
    ("name", "repo", "config", "asked"),
    [
        ("stories", "stories", None, None),
        ("owner/stories", "owner/stories", None, None),
        ("owner/stories/sample-10BT", "owner/stories", "sample-10BT", None),
        ("owner/stories@v1.0", "owner/stories", None, "v1.0"),
        ("owner/stories/en@v1.0", "owner/stories", "en", "v1.0"),
        ("owner/stories:train", "owner/stories", None, None),
    ],
)
def test_a_name_may_carry_configuration_and_revision(online: Hub, name, repo, config, asked):
    assert HubDataset.find(name) == HubDataset(name, repo, config, COMMIT)
    assert [ask[:2] for ask in online.asked] == [(repo, asked)]


def test_the_hub_is_asked_by_a_process_that_imported_nothing_else():
    """The hub's library loads a part when it is imported; other libraries hide that one was forgotten."""
    ask = "from edge.data.hub import ask_hub; print(ask_hub('owner/stories', 'main'))"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    said = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout == "main\n"


def test_a_name_may_carry_a_split(online: Hub):
    source = Source.held_out("owner/stories/en@v1.0:validation:1e3")
    assert (source.name, source.tokens) == ("owner/stories/en@v1.0:validation", 1000)
    dataset = HubDataset.find(source.name)
    assert dataset == HubDataset(source.name, "owner/stories", "en", COMMIT, "validation")
    assert list(dataset.texts()) == ["one", "", "two"]
    assert online.loaded == [("owner/stories", "en", "validation", COMMIT, True)]
    assert dataset.identity() != HubDataset.find("owner/stories/en@v1.0").identity()


def test_held_out_text_names_its_split():
    with pytest.raises(
        ValueError, match=r"owner/stories is taken for a hub dataset.* owner/stories:validation"
    ):
        Source.held_out("owner/stories:1e6")


def test_a_whole_commit_is_known_without_the_hub(online: Hub):
    dataset = HubDataset.find(f"owner/stories@{'f' * 40}")
    assert dataset.identity() == {
        "hub": "owner/stories",
        "config": None,
        "version": "f" * 40,
        "split": "train",
    }
    assert (online.asked, online.loaded) == ([], [])


def test_an_unreachable_hub_is_said_at_once(online: Hub, monkeypatch: pytest.MonkeyPatch):
    def unreachable(*args: object, **flags: object) -> None:
        raise ConnectionError("no network\nand a page about it")

    monkeypatch.setattr(online, "dataset_info", unreachable)
    for name in ("owner/stories", f"owner/stories@{COMMIT}"):
        with pytest.raises(
            ValueError, match=rf"{name} is neither .* \(ConnectionError: no network\); {LOCAL}"
        ):
            list(documents(name))
    assert online.loaded == []  # it would try for half a minute


def test_what_the_library_says_is_passed_on(online: Hub, monkeypatch: pytest.MonkeyPatch):
    def which(*args: object, **flags: object) -> None:
        raise ValueError("Config name is missing.\nPlease pick one")

    monkeypatch.setattr(datasets, "load_dataset", which)
    with pytest.raises(ValueError, match="ValueError: Config name is missing"):
        list(documents("owner/stories"))


def test_a_hub_that_stops_answering(online: Hub, monkeypatch: pytest.MonkeyPatch):
    def broken() -> Any:
        yield {"text": "one"}
        raise ConnectionError("reset")

    monkeypatch.setattr(online, "rows", broken)
    with pytest.raises(ValueError, match=rf"broke off after 1 rows \(ConnectionError: reset\); {LOCAL}"):
        list(documents("owner/stories"))


def test_rows_without_text(online: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(online, "rows", lambda: iter([{"body": "one"}]))
    with pytest.raises(ValueError, match="owner/stories row 0 has no column 'text'; it has body"):
        list(documents("owner/stories"))


def test_offline_it_is_what_datasets_has_in_its_cache(online: Hub, monkeypatch: pytest.MonkeyPatch):
    class Cached(list):
        cache_files = ({"filename": "cache/stories/0123/train.arrow"},)

    cached = Cached([{"text": "one"}])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, streaming, **__: cached if not streaming else 1)
    assert list(documents("owner/stories")) == ["one"]
    assert HubDataset.find("owner/stories").identity()["version"] == ["cache/stories/0123/train.arrow"]
    assert online.asked == []
