"""Compare the losses of widths at equal bytes and at equal decode time, after equal text.

Losses come from the records, bytes and times from programs of the same shapes that were measured on a device.
Between two sizes of a width, loss is taken as linear in the logarithm of bytes or time. Sizes are compared
that were trained on about as many tokens, as the published models were: with as many for each parameter, the
larger ones would owe part of their lower loss to more text.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.latency.report import figures
from edge.latency.report.words import count
from edge.latency.schema import ProgramRecord, Report, Settings
from edge.scaling.analysis.charts import Dot, curves
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.analysis.widths import Row, trained_at
from edge.scaling.laws.fraction import PARETOQ_SHARE
from edge.scaling.records import Record, Shape

#: Sizes that a width needs to be compared, and the width that the others are compared with.
_LEAST_SIZES, _BASE = 2, 4.0
#: Numbers of tokens within this factor count as equal.
_ALIKE = 1.25
#: Loss of a size, and the program that was measured.
Point = tuple[float, ProgramRecord]


def _file(program: ProgramRecord, settings: Settings) -> float:
    return program.file_bytes / 1e3


def _linears(program: ProgramRecord, settings: Settings) -> float:
    if program.config is None or program.linear_bits_per_weight is None:
        return math.nan
    return program.config.linear_parameters * program.linear_bits_per_weight / 8e3


def _rounds(program: ProgramRecord, settings: Settings) -> list[float]:
    """Microseconds of a token in each round, at the report's first context and number of threads."""
    context, threads = settings.contexts[0], settings.threads[0]
    runs = [run for run in program.runs if run.threads == threads and context in run.decode]
    return [1e6 / run.decode[context].tokens_per_second for run in runs]


def _token(program: ProgramRecord, settings: Settings) -> float:
    rounds = _rounds(program, settings)
    return statistics.median(rounds) if rounds else math.nan


@dataclass(frozen=True)
class Cost:
    """Define one cost of a program; ``read`` takes it from a measured program and a report's settings."""

    name: str
    unit: str
    format: str
    read: Callable[[ProgramRecord, Settings], float]


COSTS = (
    Cost("bytes of the file", "kB", ".1f", _file),
    Cost("bytes of the linears", "kB", ".1f", _linears),
    Cost("time of a token", "us", ".1f", _token),
)


def section(records: Sequence[Record], report: Report) -> Section | None:
    """Answer for each amount of text; None where programs and records do not meet."""
    programs = _by_shape([program for program in figures.measured(report.programs) if program.is_own])
    answers, tables, drawings = [], [], []
    noise = Noise(records)
    for rows in _of_alike_text(trained_at(records, PARETOQ_SHARE)):
        lines: dict[float, list[Point]] = {}
        for row in rows:
            for bits, loss in row.best.items():
                if program := programs.get((row.shape, bits)):
                    lines.setdefault(bits, []).append((loss, program))
        text = _tokens(rows)
        for cost in COSTS:
            curve = {
                bits: points
                for bits, line in sorted(lines.items(), reverse=True)
                if len(points := _curve(line, cost, report.settings)) >= _LEAST_SIZES
            }
            if _BASE not in curve or len(curve) < 2:
                continue
            answers.append(_answer(curve, cost, text, noise))
            tables.append(_table(curve, cost, text))
            dots = [Dot(x, y, _words(bits)) for bits, points in curve.items() for x, y in points]
            axes = (f"{cost.name}, {cost.unit}", "loss, nats")
            drawings += curves(f"Loss by {cost.name}, {text}", answers[-1], axes, dots)
    if not tables:
        return None
    question = "At equal bytes and at equal time, which width wins?"
    answers.insert(0, _circumstances(report, list(programs.values())))
    return Section("fronts", question, answers, tables, drawings)


def _circumstances(report: Report, programs: Sequence[ProgramRecord]) -> str:
    settings = report.settings
    rounds = [found for program in programs if len(found := _rounds(program, settings)) > 1]
    spread = statistics.median(max(found) / min(found) - 1 for found in rounds) if rounds else math.nan
    return (
        f"Programs of the same shapes with random weights were measured on {report.device.cpu}, with "
        f"{count(settings.threads[0], 'thread')}, behind {settings.contexts[0]} tokens; the slowest round of "
        f"a program took {spread:.0%} more than the fastest, in the median. The last tenth of the training "
        "was at low bits. Sizes are compared that were trained on as many tokens, at the bytes or times of "
        "the 4-bit programs."
    )


def _of_alike_text(rows: Sequence[Row]) -> list[list[Row]]:
    """Collect the rows of about as many tokens, few tokens first."""
    found: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: row.tokens):
        is_new = all(row.shape != other.shape for other in found[-1]) if found else False
        if is_new and row.tokens <= _ALIKE * found[-1][0].tokens:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def _tokens(rows: Sequence[Row]) -> str:
    least, most = (f"{end(row.tokens for row in rows) / 1e6:.2g}" for end in (min, max))
    return f"{least} M tokens" if least == most else f"{least} to {most} M tokens"


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


def _curve(line: Sequence[Point], cost: Cost, settings: Settings) -> list[tuple[float, float]]:
    """Cost and loss of each size, by rising cost."""
    costs = [(cost.read(program, settings), loss) for loss, program in line]
    return sorted(point for point in costs if math.isfinite(point[0]))


def _table(curve: dict[float, list[tuple[float, float]]], cost: Cost, text: str) -> Table:
    """Losses at the costs of the 4-bit programs; empty where a width was not measured."""
    rows = [[f"{cost.name}, {cost.unit} ({text})", *(_words(bits) for bits in curve)]]
    for x, _ in curve[_BASE]:
        losses = [_at(points, x) for points in curve.values()]
        rows.append([f"{x:{cost.format}}", *("" if loss is None else f"{loss:.3f}" for loss in losses)])
    return Table(rows)


def _answer(curve: dict[float, list[tuple[float, float]]], cost: Cost, text: str, noise: Noise) -> str:
    """Count how often each width has less loss than 4 bits, or more, at the costs of the 4-bit programs."""
    told = []
    for bits, points in curve.items():
        found = [loss - base for x, base in curve[_BASE] if (loss := _at(points, x)) is not None]
        if bits != _BASE and found:
            margin = noise.between(1, 1)
            better, worse = sum(one < -margin for one in found), sum(one > margin for one in found)
            told.append(f"{_words(bits)} better in {better}, worse in {worse} of {len(found)}")
    compared = "; ".join(told) or "nothing compares"
    return f"At equal {cost.name}, {text}, against 4 bits {noise.words}: {compared}."


def _words(bits: float) -> str:
    return "1 bit" if bits == 1 else f"{bits:g} bits"


def _at(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """Interpolate the loss at a cost; None beyond what was measured."""
    costs, losses = zip(*points, strict=True)
    if not costs[0] * (1 - 1e-9) <= x <= costs[-1] * (1 + 1e-9):
        return None
    return float(np.interp(math.log(x), np.log(costs), losses))
