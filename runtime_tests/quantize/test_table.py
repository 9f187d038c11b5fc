"""The table's command: what it measures, and that it measures nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.quantize.table import __main__ as table
from edge.quantize.table import cells
from export.to_pte import main as to_pte


def test_it_measures_what_is_missing(full: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Tests two ways at one width; all runs in this process, which is quicker."""
    ran: list[str] = []

    def here(function: Callable[..., Any], *args: Any) -> Any:
        ran.append(function.__name__)
        return function(*args)

    def export(module: str, *words: str) -> None:
        ran.append(module)
        assert to_pte(list(words)) == 0

    monkeypatch.setattr(cells, "in_new_process", here)
    monkeypatch.setattr(table, "in_new_process", here)
    monkeypatch.setattr(cells, "run", export)
    flags = [f"--output={tmp_path}", f"--model={full}", f"--calibration={text}", f"--eval-data={text}:300"]
    flags += ["--bits=2", "--groups=32", "--samples=2", "--length=16"]
    assert table.main([*flags, "--ways=RTN"]) == 0
    assert table.main([*flags, "--ways=RTN; GPTQ"]) == 0
    cell = ["quantize_measured", "measure_perplexity"]
    assert ran == ["measure_perplexity", *cell, "export.to_pte", *cell]
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(cell["way"], cell["bits"], cell["group"]) for cell in found["cells"]] == [
        ("RTN", "2", "32"),
        ("GPTQ", "2", "32"),
    ]
    written = (tmp_path / "table.md").read_text()
    size, (rtn, gptq) = found["bytes"]["2 32"], (cell["perplexity"] for cell in found["cells"])
    assert f"| 2 | 32 | {rtn:.3f} | {gptq:.3f} | {size:,} |" in written
    assert all(cell["seconds"] > 0 and cell["peak_bytes"] > 1e8 for cell in found["cells"])
    with pytest.raises(ValueError, match="holds a table of other settings"):
        table.main([*flags, "--ways=RTN", "--asymmetric"])
    with pytest.raises(ValueError, match="--ways AWQ is unknown"):
        table.main([*flags, "--ways=AWQ"])


def twice(number: int) -> int:
    if number < 0:
        raise ValueError("no")
    return 2 * number


def test_a_new_process_gives_results_and_errors(tmp_path: Path):
    assert cells.in_new_process(twice, 21) == 42
    with pytest.raises(ValueError, match="no"):
        cells.in_new_process(twice, -1)
    (tmp_path / "in").write_text("[1]")
    cells.run("json.tool", "--compact", str(tmp_path / "in"), str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == "[1]\n"
    with pytest.raises(ValueError, match=r"edge.no_such failed: .*No module named"):
        cells.run("edge.no_such")
