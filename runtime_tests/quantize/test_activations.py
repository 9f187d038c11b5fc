"""The table of what smoothing mends: its command measures what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.quantize.__main__ import main as quantize
from edge.quantize.activations import __main__ as activations
from edge.quantize.table.cells import measure_perplexity
from export.to_pte import main as export


def test_each_model_is_measured_in_four_variants(
    full: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Tests the words of every command; two stand-ins for perplexity tell checkpoint and program apart."""
    ran: list[str] = []

    def here(module: str, *words: str) -> None:
        command = {"edge.quantize": quantize, "export.to_pte": export}[module]
        ran.append(f"{module}{' smooth' * ('--smooth' in words)}")
        assert command(list(words)) == 0

    def perplexity(function: Callable[..., Any], model: str, data: str) -> float:
        assert (function, data) == (measure_perplexity, "held-out")
        return 11.0 if (Path(model) / "model.pte").is_file() else 10.0

    monkeypatch.setattr(activations, "run", here)
    monkeypatch.setattr(activations, "in_new_process", perplexity)
    flags = [f"--models={full}", f"--calibration={text}", "--eval-data=held-out", "--samples=2"]
    assert activations.main([*flags, "--length=16", "--bits=2", "--method=rtn", "--group=row"]) == 0
    assert ran == ["edge.quantize", "export.to_pte", "edge.quantize smooth", "export.to_pte"] * 2
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    variants = ["", "smoothed", "planted outliers", "planted outliers, smoothed"]
    assert said == [f"| {full} | {variant} | 10.000 | 11.000 | +10.00% |" for variant in variants]
