"""A model that allows 2^24 positions needs no more memory than one of few: tables are as long as used."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.evaluation.__main__ import main as evaluate
from edge.model import rope
from edge.training.train import main as train
from export import to_pte
from runtime_tests.tiny import TEXT, save_tiny
from runtime_tests.training.tiny_run import command


@pytest.fixture
def lengths(monkeypatch) -> list[int]:
    """Lengths of all RoPE tables that are computed."""
    asked: list[int] = []
    original = rope.rope_tables

    def recorded(config, positions, kind):
        asked.append(positions)
        return original(config, positions, kind)

    monkeypatch.setattr(rope, "rope_tables", recorded)
    return asked


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("long")
    save_tiny(directory / "short", n_layers=1)
    save_tiny(directory / "long", n_layers=1, positions=64, max_seq_len=1 << 24)
    (directory / "text.txt").write_text(TEXT)
    return directory


def test_an_export_has_tables_of_its_cache(files: Path, lengths: list[int], tmp_path: Path) -> None:
    programs = []
    for name in ("short", "long"):
        flags = ["--bits", "4", "--model", str(files / name), "--max-seq-len", "24"]
        assert to_pte.main([*flags, "--output", str(tmp_path / name)]) == 0
        programs.append((tmp_path / name / "model.pte").read_bytes())
    assert set(lengths) == {0, 24}
    assert programs[0] == programs[1]


def test_an_evaluation_has_tables_of_its_blocks(files: Path, lengths: list[int], capsys) -> None:
    data = ["--data", str(files / "text.txt"), "--context", "24"]
    assert evaluate(["--model", str(files / "short"), str(files / "long"), *data]) == 0
    assert set(lengths) == {0, 24}
    short, long = (line for line in capsys.readouterr().out.splitlines() if "| checkpoint |" in line)
    assert short == long.replace("/long ", "/short ")


def test_training_has_tables_of_its_context(files: Path, lengths: list[int], tmp_path: Path) -> None:
    flags = {"model": files / "long", "context": 16, "steps": 1, "save_steps": 1, "bits": 2}
    assert train([*command(tmp_path / "out", files / "text.txt", **flags), "--distill=0.5"]) == 0
    assert set(lengths) == {0, 16}
