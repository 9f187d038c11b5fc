"""Checkpoints are written whole or not at all, and never replace anything but a checkpoint."""

from __future__ import annotations

import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from edge import files
from edge.checkpoints import write
from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.write import check_output, save_checkpoint
from runtime_tests.tiny import save_tiny, tiny_checkpoint


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Limit files to ``bytes_left``: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


@pytest.mark.parametrize("bytes_left", [0, 100, 50_000])
@pytest.mark.parametrize("earlier", [False, True], ids=["new", "over an earlier one"])
def test_a_full_disk_leaves_what_was_there(bytes_left: int, earlier: bool, tmp_path: Path) -> None:
    if earlier:
        save_tiny(tmp_path / "model", n_layers=1)
    before, checkpoint = contents(tmp_path), tiny_checkpoint()
    with full_disk(bytes_left), pytest.raises(ValueError, match=r"could not be written \(.*File too large"):
        save_checkpoint(checkpoint, tmp_path / "model")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("module", "step"), [(write, "save_file"), (files, "_exchange")])
def test_an_interrupt_leaves_what_was_there(
    module: ModuleType, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(tmp_path / "model", n_layers=1)
    before = contents(tmp_path)

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_tiny(tmp_path / "model")
    assert contents(tmp_path) == before


def test_a_failed_rename_brings_the_earlier_one_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny(tmp_path / "model", n_layers=1)
    before, rename = contents(tmp_path), Path.rename

    def fail_for_the_new_one(self: Path, target: Path) -> Path:
        if "new" in self.parts:
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(files, "_exchange", lambda a, b: False)  # as file systems without it
    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    with pytest.raises(ValueError, match=r"could not be written \(no\)"):
        save_tiny(tmp_path / "model")
    assert contents(tmp_path) == before


def test_what_a_killed_run_left_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".model.writing/new/model").mkdir(parents=True)
    for name in ("lock", "new/model/half a file"):
        (tmp_path / ".model.writing" / name).touch()
    save_tiny(tmp_path / "model", n_layers=1)
    save_tiny(tmp_path / "model")
    assert load_checkpoint(tmp_path / "model").config.n_layers == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_may_be_written_over_the_one_it_came_from(tmp_path: Path) -> None:
    save_tiny(tmp_path / "model")
    before = contents(tmp_path)
    save_checkpoint(load_checkpoint(tmp_path / "model"), tmp_path / "model")
    assert contents(tmp_path) == before


def test_an_empty_directory_may_be_written(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    assert load_checkpoint(tmp_path).config.dim == 36


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_nothing_else_is_replaced(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    (target if kind == "file" else target / "thesis.tex").parent.mkdir(exist_ok=True)
    (target if kind == "file" else target / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    for attempt in (check_output, save_tiny):
        with pytest.raises(ValueError, match="exists and is not a checkpoint; choose another"):
            attempt(target)
    assert contents(tmp_path) == before


def test_an_output_without_a_name() -> None:
    with pytest.raises(ValueError, match="no name of its own"):
        check_output(".")


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"could not be written \(.*File exists"):
        save_tiny(tmp_path / "file" / "model")


def test_others_may_read_the_weights(tmp_path: Path) -> None:
    """safetensors writes for the owner only; a package that is installed for all needs more."""
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in save_tiny(tmp_path / "model").iterdir()}
    assert files["model.safetensors"] == files["config.json"]
