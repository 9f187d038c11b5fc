"""Make a table of methods, widths and group sizes on one model: perplexity, bytes, seconds and memory.

Every cell is quantised in a process of its own, so that seconds and memory are those of the command. The
same command given again measures only what is missing. Program bytes are those of the first way's export,
because a program's size depends on width and groups alone.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.files import only_writer, write_text
from edge.quantize.flags import ROW
from edge.quantize.table.cells import (
    WAYS,
    Cell,
    Way,
    in_new_process,
    measure_cell,
    measure_perplexity,
    program_bytes,
    run,
)
from edge.quantize.table.markdown import markdown

RESULTS, TABLE, SPEED = "results.json", "table.md", "latency"
_PROGRAM = "-program"


@dataclass(frozen=True)
class TableFlags:
    """Flags of ``python -m edge.quantize.table``."""

    output: Path = flag("directory for results, table and the models that are made")
    calibration: str = flag("text for methods that need one")
    eval_data: str = flag("held-out text")
    model: str = flag("full-precision model", default="default/16bit")
    beside: str = flag(
        "other checkpoints or programs to measure, such as trained ones, with commas", default=""
    )
    bits: str = flag("widths, with commas", default="4,3,2,1.58")
    groups: str = flag("group sizes, with commas", default=f"{ROW},128,64,32")
    ways: str = flag(f"some of {'; '.join(way.name for way in WAYS)}, with semicolons", default="")
    asymmetric: bool = flag("integer levels with zeros instead of those around 0", default=False)
    samples: int = flag("calibration samples", default=128)
    length: int | None = flag("tokens of a sample; default: all of the model's", default=None)
    speed: bool = flag("measure the programs' decode speed too, on a quiet machine", default=False)

    def common(self) -> list[str]:
        """The flags that all quantising commands share."""
        words = ["--model", self.model, "--calibration", self.calibration, "--samples", str(self.samples)]
        words += [] if self.length is None else ["--length", str(self.length)]
        return words + (["--asymmetric"] if self.asymmetric else [])

    def chosen_ways(self) -> list[Way]:
        known = {way.name: way for way in WAYS}
        names = [name.strip() for name in self.ways.split(";")] if self.ways else list(known)
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"--ways {unknown[0]} is unknown; choose from {'; '.join(known)}")
        return [known[name] for name in names]


class Table:
    """The measured cells of one directory, kept as JSON."""

    def __init__(self, flags: TableFlags) -> None:
        self.flags, self.path = flags, flags.output / RESULTS
        settings = {"model": flags.model, "eval_data": flags.eval_data, "common": flags.common()}
        self.found: dict[str, Any] = {"settings": settings, "others": {}, "bytes": {}, "cells": []}
        if self.path.is_file():
            held = json.loads(self.path.read_text())
            if held["settings"] != settings:
                raise ValueError(f"{flags.output} holds a table of other settings; choose another --output")
            self.found = held

    def measure(self) -> None:
        """Measure what is missing, and write after each."""
        flags = self.flags
        for name in (flags.model, *filter(None, flags.beside.split(","))):
            if name not in self.found["others"]:
                value = in_new_process(measure_perplexity, name, flags.eval_data)
                self.found["others"][name] = value
                self._write()
        ways = flags.chosen_ways()
        for bits, group in itertools.product(flags.bits.split(","), flags.groups.split(",")):
            for way in ways:
                self._measure_cell(way, bits, group)

    def measure_speed(self) -> None:
        """Time all programs in turns, by a latency report beside the table."""
        programs = sorted(str(path) for path in (self.flags.output / "models").glob(f"*{_PROGRAM}"))
        words = ("--eval-data", self.flags.eval_data, "--output", str(self.flags.output / SPEED))
        run("edge.latency", *programs, *words)

    def _measure_cell(self, way: Way, bits: str, group: str) -> None:
        flags, form = self.flags, f"{bits} {group}"
        output = flags.output / "models" / f"{form} {way.name}".replace(", ", "-").replace(" ", "-")
        if not any((c.way, c.bits, c.group) == (way.name, bits, group) for c in self.cells):
            cell = measure_cell(way, bits, group, flags.common(), flags.eval_data, output)
            print(f"{bits} bits, group {group}, {way.name}: {cell.perplexity:.3f}", flush=True)
            self.found["cells"].append(asdict(cell))
            self._write()
        if form not in self.found["bytes"]:
            program = output.with_name(output.name + _PROGRAM)
            self.found["bytes"][form] = program_bytes(output, bits, program)
            self._write()

    @property
    def cells(self) -> list[Cell]:
        return [Cell(**cell) for cell in self.found["cells"]]

    def _write(self) -> None:
        write_text(self.path, json.dumps(self.found, indent=2) + "\n")
        write_text(self.flags.output / TABLE, markdown(self.cells, self.found["bytes"], self.found["others"]))


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(TableFlags, argv, "edge.quantize.table", str(__doc__))
    flags.chosen_ways()
    refuse_unwritable(flags.output)
    with only_writer(flags.output):
        flags.output.mkdir(parents=True, exist_ok=True)
        table = Table(flags)
        table.measure()
        if flags.speed:
            table.measure_speed()
    print((flags.output / TABLE).read_text(), end="")
    return 0


if __name__ == "__main__":
    main_guard(main)
