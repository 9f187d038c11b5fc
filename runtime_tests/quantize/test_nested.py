"""The table of nested models: what its command makes and measures, and that it does nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.checkpoints.packed import open_model
from edge.checkpoints.slices import sliced_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.cli import parse_flags
from edge.quantize.flags import QuantizeFlags
from edge.quantize.nested import __main__ as nested
from edge.quantize.nested.markdown import Cell, markdown
from edge.quantize.nested.others import OtherFlags
from edge.quantize.nested.rows import OTHERS, QUANTIZE, ROWS, TRAINING, Run
from edge.quantize.table.cells import measure_perplexity
from edge.training import monitor, train
from edge.training.arguments import parse
from edge.training.monitor import read_records
from runtime_tests.threads import one_thread
from runtime_tests.training.tiny_run import assert_same_weights, command

__all__ = ["one_thread"]
RUNS = {run.name: run for row in ROWS for run in row.runs.values()}


def words(output: Path, full: Path, text: Path) -> list[str]:
    flags = [f"--output={output}", f"--model={full}", f"--data={text}", f"--eval-data={text}:300"]
    return [*flags, "--steps=2", "--batch-size=2", "--context=16", "--samples=2", "--length=16"]


def test_it_makes_and_measures_what_is_missing(
    full: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Tests rows of all commands, in this process, which is quicker."""
    made: list[str] = []

    def here(function: Callable[..., Any], *args: Any) -> Any:
        made.extend(run.name for run in args if isinstance(run, Run))
        return function(*args)

    monkeypatch.setattr(nested, "in_new_process", here)
    monkeypatch.setattr(monitor, "draw", lambda records, path: None)
    flags, output = words(tmp_path, full, text), tmp_path / "models"
    rows = ["QAT: Single Precision", "OmniQuant: 8 bits, sliced", "no training: residuals of 2 bits"]
    assert nested.main([*flags, f"--rows={rows[0]}; {rows[1]}; {rows[2]}"]) == 0
    first = ["qat-single", "omniquant-8", *(f"residuals-of-2-bits-{bits}" for bits in (8, 6, 4, 2))]
    assert made == first
    assert nested.main([*flags, f"--rows={rows[0]}; {rows[2]}", "--seeds=2"]) == 0
    assert made[len(first) :] == ["qat-single"]

    cells = [Cell(**cell) for cell in json.loads((tmp_path / "results.json").read_text())["cells"]]
    found = {(cell.row, cell.bits, cell.seed): cell.perplexity for cell in cells}
    for row, model, bits, seed in ((rows[0], "qat-single", 3, 1), (rows[1], "omniquant-8", 2, 0)):
        part = tmp_path / f"{model}-{bits}"
        save_checkpoint(sliced_checkpoint(open_model(output / f"{model}-seed{seed}"), bits), part)
        assert found[row, bits, seed] == measure_perplexity(str(part), f"{text}:300")
    whole = output / "residuals-of-2-bits-4-seed0"
    assert found[rows[2], 4, 0] == measure_perplexity(str(whole), f"{text}:300")
    assert (rows[2], 4, 1) not in found  # nothing of it is random
    assert found[rows[0], 2, 0] != found[rows[0], 2, 1]

    with pytest.raises(ValueError, match="holds a table of other settings"):
        nested.main([*flags, "--learning-rate=1"])


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_commands_know_the_flags_of_every_row(run: Run):
    shared = nested.NestedFlags(Path("out"), "text", "held-out").shared(run.command)
    typed = [*run.flags, *shared, "--seed=1", "--output=out"]
    if run.command == TRAINING:
        config, rest = parse(typed)
        assert config.how.grid(config.bits).bits == (8 if run.is_parent else config.bits)
        assert (rest, config.learning_rate, config.warmup_steps) == (["--weight_decay=0"], 1e-3, 10)
    else:
        kinds = {QUANTIZE: QuantizeFlags, OTHERS: OtherFlags}
        flags = parse_flags(kinds[run.command], typed, run.command, "")
        assert (int(flags.bits) == 8) or not run.is_parent
        assert flags.seed == 1


def test_the_table_has_means_and_spreads():
    title = "QAT: MatQuant"
    cells = [Cell(title, 2, seed, value) for seed, value in enumerate((10.0, 12.0, 14.0))]
    cells += [Cell(title, 8, 0, 1234.5), Cell("full precision: trained on", 16, 0, 9.0)]
    text = markdown(cells, 11.0)
    assert "Full precision: as it was 11.00; trained on for as many steps 9.00." in text
    assert text.count("\n| ") == 3
    assert "| QAT: MatQuant | 1 or 3 | 1,234.50 |  |  |  | 12.00 ± 2.00 |" in text


def test_single_precision_is_a_slice_that_is_trained_alone(full: Path, text: Path, tmp_path: Path):
    """Tests that the 2-bit model of the slice grid and Single Precision are one run, as rows.py says."""
    for name, flags in (("a", {"single_precision": True}), ("b", {"widths": 2, "loss_weights": 1})):
        assert (
            train.main(command(tmp_path / name, text, model=full, method="matquant", steps=2, **flags)) == 0
        )
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    widths = [list(read_records(tmp_path / f"{name}-checkpoints")[-1]) for name in "ab"]
    assert "eval_loss_8_bits" in widths[0]
    assert "eval_loss_8_bits" not in widths[1]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--rows=QAT: GPTQ"], "--rows QAT: GPTQ is unknown; choose from full precision: trained on; QAT"),
        (["--seeds=0"], "--seeds must be at least 1, not 0"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, flags: list[str], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        nested.main([*words(tmp_path / "never", Path("m"), Path("t")), *flags])
    assert not (tmp_path / "never").exists()
