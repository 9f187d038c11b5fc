"""The comparison of an elastic program with the programs of its slices."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.checkpoints.write import save_checkpoint
from edge.latency import elastic
from edge.latency.elastic import main
from export import to_pte
from runtime_tests.tiny import tiny_parent


def test_a_line_for_each_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Exports run in this process, which has their modules; test_table.py has one in a process of its own."""

    def run_here(module: str, *words: str) -> None:
        assert module == to_pte.__name__
        to_pte.main(list(words))

    monkeypatch.setattr(elastic, "run", run_here)
    save_checkpoint(tiny_parent(), tmp_path / "parent")
    words = ["--model", str(tmp_path / "parent"), "--output", str(tmp_path / "out"), "--widths", "8,2"]
    words += ["--rounds", "2", "--context", "16", "--generate", "3"]
    assert main(words) == 0
    rows = [
        line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith(("| 8", "| 2"))
    ]
    assert [row[0] for row in rows] == ["| 8", "| 2"]
    for row in rows:
        assert float(row[1]) > 0 < float(row[2])
        least, most = row[3].split("(")[1].rstrip(")").split("-")
        assert float(least) <= float(row[3].split()[0]) <= float(most)
    programs = {path.name for path in (tmp_path / "out").iterdir()}
    assert programs == {"elastic", "8", "2"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "x", "--widths", "9"], "--widths takes some of 2 to 8"),
        (["--model", "no-shape", "--random-weights"], "--random-weights needs one of"),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, words: list[str], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        main([*words, "--output", str(tmp_path / "out")])
