"""Compare the losses of widths at equal bytes and at equal decode time.

Losses come from the records, bytes and times from programs of the same shapes that were measured on a device.
Between two sizes of a width, loss is taken as linear in the logarithm of bytes or time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.latency.report import figures
from edge.latency.schema import ProgramRecord, Report
from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.section import Section, Table
from edge.scaling.analysis.widths import trained_at
from edge.scaling.laws.fraction import PARETOQ_SHARE
from edge.scaling.records import Record, Shape

#: Sizes that a width needs to be compared, and the width that the others are compared with.
_LEAST_SIZES, _BASE = 2, 4.0


def _file(program: ProgramRecord, context: int) -> float:
    return program.file_bytes / 1e3


def _linears(program: ProgramRecord, context: int) -> float:
    if program.config is None or program.linear_bits_per_weight is None:
        return math.nan
    return program.config.linear_parameters * program.linear_bits_per_weight / 8e3


def _token(program: ProgramRecord, context: int) -> float:
    """Microseconds of a token with as many threads as the program's first run."""
    runs = [run for run in program.runs if run.threads == program.runs[0].threads]
    speeds = [run.decode[context].tokens_per_second for run in runs if context in run.decode]
    return 1e6 / statistics.median(speeds) if speeds else math.nan


@dataclass(frozen=True)
class Cost:
    """Define one cost of a program; ``read`` takes it from a measured program and a context."""

    name: str
    unit: str
    format: str
    read: Callable[[ProgramRecord, int], float]


COSTS = (
    Cost("bytes of the file", "kB", ".1f", _file),
    Cost("bytes of the linears", "kB", ".1f", _linears),
    Cost("time of a token", "us", ".0f", _token),
)


def section(records: Sequence[Record], report: Report) -> Section | None:
    """Answer for each amount of text; None where programs and records do not meet."""
    own = [program for program in figures.measured(report.programs) if program.is_own]
    programs = _by_shape(own)
    by_ratio: dict[float, dict[float, list[tuple[float, ProgramRecord]]]] = {}
    for row in trained_at(records, PARETOQ_SHARE):
        best: dict[float, float] = {}  # of the methods that trained these bits
        for (bits, _), loss in row.losses.items():
            best[bits] = min(loss, best.get(bits, math.inf))
        for bits, loss in best.items():
            if program := programs.get((row.shape, bits)):
                by_ratio.setdefault(row.ratio, {}).setdefault(bits, []).append((loss, program))
    answers, tables, drawings = [], [], []
    context = report.settings.contexts[0]
    for ratio, widths in sorted(by_ratio.items()):
        lines = {bits: line for bits, line in widths.items() if len(line) >= _LEAST_SIZES}
        if _BASE not in lines or len(lines) < 2:
            continue
        for cost in COSTS:
            ordered = sorted(lines.items(), reverse=True)
            curve = {bits: points for bits, line in ordered if (points := _curve(line, cost, context))}
            if _BASE not in curve:
                continue
            table, answer = _compare(curve, cost, ratio)
            answers.append(answer)
            tables.append(table)
            dots = [Dot(x, y, _words(bits)) for bits, points in curve.items() for x, y in points]
            title = f"Loss by {cost.name}, {ratio:g} tokens per parameter"
            drawings += curves(title, answer, (f"{cost.name}, {cost.unit}", "loss, nats"), dots)
    if not tables:
        return None
    circumstances = (
        f"Programs of the same shapes with random weights were measured on {report.device.cpu}, with "
        f"{report.settings.threads[0]} thread, behind {context} tokens. The last tenth of the training was "
        "at low bits."
    )
    question = "At equal bytes and at equal time, which width wins?"
    return Section("fronts", question, [circumstances, *answers], tables, drawings)


def _by_shape(own: Sequence[ProgramRecord]) -> dict[tuple[Shape | None, float | None], ProgramRecord]:
    found: dict[tuple[Shape | None, float | None], ProgramRecord] = {}
    for program in own:
        same = found.setdefault((_shape(program), program.bits), program)
        if same is not program and same.config is not None:
            raise ValueError(
                f"the report has two programs of one shape at {program.bits:g} bits, {same.name} and "
                f"{program.name}; give one with one of them"
            )
    return found


def _shape(program: ProgramRecord) -> Shape | None:
    config = program.config
    if config is None:
        return None
    return Shape(
        dim=config.dim, layers=config.n_layers, heads=config.n_heads, kv_heads=config.n_kv_heads,
        head_dim=config.head_dim, ffn_dim=config.ffn_dim, vocab_size=config.vocab_size,
    )  # fmt: skip


def _curve(
    line: Sequence[tuple[float, ProgramRecord]], cost: Cost, context: int
) -> list[tuple[float, float]]:
    """Cost and loss of each size, by rising cost."""
    costs = [(cost.read(program, context), loss) for loss, program in line]
    return sorted(point for point in costs if math.isfinite(point[0]))


def _compare(curve: dict[float, list[tuple[float, float]]], cost: Cost, ratio: float) -> tuple[Table, str]:
    """Compare losses at the costs of the 4-bit programs; a width is left out where it was not measured."""
    rows = [[f"{cost.name}, {cost.unit} ({ratio:g} tokens each)", *(_words(bits) for bits in curve)]]
    wins: dict[float, int] = {}
    for x, _ in curve[_BASE]:
        losses = {bits: _at(points, x) for bits, points in curve.items()}
        found = {bits: loss for bits, loss in losses.items() if loss is not None}
        best = min(found, key=lambda bits: found[bits])
        if len(found) > 1:  # else no other width was measured there
            wins[best] = wins.get(best, 0) + 1
        cells = ["" if (loss := losses[bits]) is None else f"{loss:.3f}" for bits in curve]
        rows.append([f"{x:{cost.format}}", *cells])
    compared = sum(wins.values())
    told = ", ".join(f"{_words(bits)} at {count} of {compared}" for bits, count in sorted(wins.items()))
    where = f"equal {cost.name}, {ratio:g} tokens for each parameter"
    return Table(rows), f"Lowest loss at {where}: {told or 'nothing compares'}."


def _words(bits: float) -> str:
    return "1 bit" if bits == 1 else f"{bits:g} bits"


def _at(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """Interpolate the loss at a cost; None beyond what was measured."""
    costs, losses = zip(*points, strict=True)
    if not costs[0] * (1 - 1e-9) <= x <= costs[-1] * (1 + 1e-9):
        return None
    return float(np.interp(math.log(x), np.log(costs), losses))
