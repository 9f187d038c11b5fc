"""Make a table of nested models beside models of one width: held-out perplexity of each width.

All models come from the project's own commands, each run in a process of its own with the same text, steps
and rate. The same command given again measures only what is missing; --rows names a part of the table.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.files import only_writer, write_text
from edge.quantize.nested.markdown import Cell, markdown
from edge.quantize.nested.models import make, perplexity_at
from edge.quantize.nested.rows import OTHERS, QUANTIZE, ROWS, TRAINING, Row, Run
from edge.quantize.table.cells import in_new_process

RESULTS, TABLE = "results.json", "table.md"


@dataclass(frozen=True)
class NestedFlags:
    """Flags of ``python -m edge.quantize.nested``."""

    output: Path = flag("directory for results, table and the models that are made")
    data: str = flag("text to train on, and to take calibration samples from")
    eval_data: str = flag("held-out text")
    model: str = flag("full-precision model", default="default/16bit")
    rows: str = flag("some of the table's rows, with semicolons (default: all); see rows.py", default="")
    seeds: int = flag("runs of each row, with seeds from 0 on", default=1)
    steps: int = flag("steps of training; a tenth of them is warm-up", default=100)
    batch_size: int = flag("examples of a step", default=8)
    context: int = flag("tokens of an example", default=256)
    learning_rate: float = flag("peak rate of training, the same at all widths", default=1e-3)
    samples: int = flag("calibration samples", default=16)
    length: int = flag("tokens of a sample", default=256)

    def chosen_rows(self) -> list[Row]:
        known = {row.title: row for row in ROWS}
        names = [name.strip() for name in self.rows.split(";")] if self.rows else list(known)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"--rows {unknown[0]} is unknown; choose from {'; '.join(known)}")
        return [known[name] for name in names]

    def shared(self, command: str) -> list[str]:
        """List the flags of all runs of a command, but for seed and output."""
        calibration = [f"--calibration={self.data}", f"--samples={self.samples}", f"--length={self.length}"]
        of_training = [
            f"--data={self.data}", f"--eval-data={self.eval_data}", f"--steps={self.steps}",
            f"--batch-size={self.batch_size}", f"--context={self.context}", f"--save-steps={self.steps}",
            f"--learning-rate={self.learning_rate}", f"--warmup-steps={self.steps // 10}", "--weight_decay=0",
        ]  # fmt: skip
        own = {TRAINING: of_training, QUANTIZE: calibration, OTHERS: calibration}
        return [f"--model={self.model}", *own[command]]


class NestedTable:
    """Hold the measured cells of one directory, kept as JSON."""

    def __init__(self, flags: NestedFlags) -> None:
        self.flags, self.path = flags, flags.output / RESULTS
        words = [*flags.shared(TRAINING), *flags.shared(QUANTIZE)]
        self.found: dict[str, Any] = {"settings": words, "as it was": None, "cells": []}
        if self.path.is_file():
            held = json.loads(self.path.read_text())
            if held["settings"] != words:
                raise ValueError(f"{flags.output} holds a table of other settings; choose another --output")
            self.found = held

    def measure(self, rows: list[Row], seeds: int) -> None:
        """Measure what is missing, and write after each."""
        if self.found["as it was"] is None:
            model, text = Path(self.flags.model), self.flags.eval_data
            self.found["as it was"] = in_new_process(perplexity_at, 16, model, False, text)
        for seed in range(seeds):
            for row in rows:
                for bits, run in row.runs.items():
                    if seed == 0 or row.has_seeds:
                        self._measure_cell(row, bits, run, seed)
        self._write()

    @property
    def cells(self) -> list[Cell]:
        return [Cell(**cell) for cell in self.found["cells"]]

    def _measure_cell(self, row: Row, bits: int, run: Run, seed: int) -> None:
        if any((c.row, c.bits, c.seed) == (row.title, bits, seed) for c in self.cells):
            return
        output, text = self.flags.output / "models" / f"{run.name}-seed{seed}", self.flags.eval_data
        if not output.is_dir():  # each command writes it at once, when it is whole
            in_new_process(
                make, run, [*self.flags.shared(run.command), f"--seed={seed}", f"--output={output}"]
            )
        value = in_new_process(perplexity_at, bits, output, run.is_parent, text)
        print(f"{row.title}, {bits} bits, seed {seed}: {value:.3f}", flush=True)
        self.found["cells"].append(asdict(Cell(row.title, bits, seed, value)))
        self._write()

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.found, indent=2) + "\n")
        write_text(self.flags.output / TABLE, markdown(self.cells, self.found["as it was"]))


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(NestedFlags, argv, "edge.quantize.nested", str(__doc__))
    rows = flags.chosen_rows()
    if flags.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {flags.seeds}")
    refuse_unwritable(flags.output)
    with only_writer(flags.output):
        flags.output.mkdir(parents=True, exist_ok=True)
        NestedTable(flags).measure(rows, flags.seeds)
    print((flags.output / TABLE).read_text(), end="")
    return 0


if __name__ == "__main__":
    main_guard(main)
