"""Figures made from a report's samples: medians, speed-ups, roofline shares, Pareto fronts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from edge.formats import grid_for_bits
from edge.latency.schema import ProgramRecord, Report, Run, Settings, Trace

#: The format that other widths are compared with: the bits of a mixed program may be 4 too.
OWN_4BIT = grid_for_bits(4)


@dataclass(frozen=True)
class Spread:
    """Repetitions of one figure."""

    median: float
    least: float
    most: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Median, least and most of the known values; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))


def alone(value: float) -> Spread:
    """A figure without repetitions."""
    return Spread(value, value, value, 1)


@dataclass(frozen=True)
class Metric:
    """A figure that every run has.

    Attributes:
        name: as in a table's head.
        pick: its value in a run, None where that run does not tell.
        more_is_better: of the value itself.
    """

    name: str
    unit: str
    pick: Callable[[Run], float | None]
    more_is_better: bool


def _of_decode(name: str, unit: str, field: str, context: int) -> Metric:
    def pick(run: Run) -> float | None:
        sample = run.decode.get(context)
        return None if sample is None else getattr(sample, field)

    return Metric(f"{name} at {context}", unit, pick, unit == "tok/s")


decode = partial(_of_decode, "decode", "tok/s", "tokens_per_second")
decode_p50 = partial(_of_decode, "decode p50", "ms", "ms_p50")
decode_p90 = partial(_of_decode, "decode p90", "ms", "ms_p90")


def token_time(context: int) -> Metric:
    """Mean time of a decoded token."""
    rate = decode(context)

    def pick(run: Run) -> float | None:
        value = rate.pick(run)
        return None if value is None else 1e3 / value

    return Metric(f"token time at {context}", "ms", pick, False)


def prefill(prompt: int) -> Metric:
    return Metric(f"prefill of {prompt}", "tok/s", lambda run: run.prefill.get(prompt), True)


LOAD = Metric("load", "ms", lambda run: run.load_ms, False)
FIRST_TOKEN = Metric("first token", "ms", lambda run: run.first_token_ms, False)
PEAK_MEMORY = Metric("peak memory", "bytes", lambda run: run.peak_resident_bytes, False)


def metrics(settings: Settings) -> list[Metric]:
    """Every figure of a run, the headlines first."""
    decodes = [metric(c) for c in settings.contexts for metric in (decode, decode_p50, decode_p90)]
    return [*decodes, *(prefill(p) for p in settings.prompts), LOAD, FIRST_TOKEN, PEAK_MEMORY]


def samples(program: ProgramRecord, threads: int, metric: Metric) -> dict[int, float]:
    """Values of a figure by round."""
    values = {run.round: metric.pick(run) for run in program.runs if run.threads == threads}
    return {index: value for index, value in values.items() if value is not None}


def figure(program: ProgramRecord, threads: int, metric: Metric) -> Spread | None:
    return spread(samples(program, threads, metric).values())


def speed_up(program: ProgramRecord, base: ProgramRecord, threads: int, metric: Metric) -> Spread | None:
    """Spread of the rounds' own ratios to ``base``, above 1 for better.

    A ratio within a round cancels what slowed the whole machine in that round.
    """
    ours, theirs = samples(program, threads, metric), samples(base, threads, metric)
    ratios = [ours[index] / theirs[index] for index in ours.keys() & theirs.keys()]
    return spread(ratios if metric.more_is_better else (1 / ratio for ratio in ratios))


def by_model(report: Report) -> dict[str, list[ProgramRecord]]:
    """Group a report's programs by model, in its order."""
    models: dict[str, list[ProgramRecord]] = {}
    for program in report.programs:
        models.setdefault(program.model, []).append(program)
    return models


def measured_by_model(report: Report) -> dict[str, list[ProgramRecord]]:
    """Group the programs with runs by model; models without any are left out."""
    found = {model: measured(programs) for model, programs in by_model(report).items()}
    return {model: programs for model, programs in found.items() if programs}


def measured(programs: Iterable[ProgramRecord]) -> list[ProgramRecord]:
    """Keep programs with runs; one that failed is left out, whatever it measured before."""
    return [p for p in programs if p.runs and p.failure is None]


def complete_rounds(report: Report) -> int:
    """Count the rounds that every program which did not fail has at every thread count."""
    threads = report.settings.threads
    alive = [program for program in report.programs if program.failure is None]
    counts = [sum(run.threads == t for run in program.runs) for program in alive for t in threads]
    return min(counts, default=0)


def trace_at(program: ProgramRecord, threads: int) -> Trace | None:
    return next((trace for trace in program.traces if trace.threads == threads), None)


def own_4bit(programs: Sequence[ProgramRecord]) -> ProgramRecord | None:
    """Our own 4-bit program among a model's, or None."""
    return next((p for p in programs if p.is_own and p.format == OWN_4BIT.name), None)


def opponents(programs: Sequence[ProgramRecord]) -> list[ProgramRecord]:
    """Programs that a model's others are compared with: our own 4 bits, and every other recipe."""
    return [p for p in programs if not p.is_own or p is own_4bit(programs)]


def size_ratio(program: ProgramRecord, base: ProgramRecord) -> float:
    """Ratio of the files' bytes."""
    return program.file_bytes / base.file_bytes


def comparable_qualities(
    programs: Iterable[ProgramRecord], across_models: bool = False
) -> list[list[ProgramRecord]]:
    """Group programs with perplexities on the same text, tokens and blocks; two at least.

    Args:
        across_models: put those of several models together; as many tokens of a text mean one tokenizer.
    """
    groups: dict[tuple, list[ProgramRecord]] = {}
    for program in programs:
        quality = program.quality
        if quality is not None and program.failure is None:
            key = ("" if across_models else program.model, quality.text, quality.tokens, quality.block)
            groups.setdefault(key, []).append(program)
    return [group for group in groups.values() if len(group) > 1]


def bytes_per_token(program: ProgramRecord, context: int, settings: Settings) -> float:
    """Bytes that a decoded token must read: the whole file, and the KV cache up to its mean position."""
    position = context + settings.generated / 2
    return program.file_bytes + program.kv_bytes_per_position * position


def roofline_share(program: ProgramRecord, threads: int, context: int, settings: Settings) -> Spread | None:
    """Time of a pure read of a token's bytes over the token's time; 1 where memory is the limit.

    The read was measured on the program's own file right after each run, with as many threads.
    """
    scale = bytes_per_token(program, context, settings) / program.file_bytes
    runs = [run for run in program.runs if run.threads == threads and context in run.decode]
    return spread(
        run.read_seconds * scale * run.decode[context].tokens_per_second for run in runs if run.read_seconds
    )


def read_bandwidth(program: ProgramRecord, threads: int) -> Spread | None:
    """Bytes/s of those pure reads."""
    runs = [run for run in program.runs if run.threads == threads]
    return spread(program.file_bytes / run.read_seconds for run in runs if run.read_seconds)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell for each point (cost, quality loss), lower is better, that no other dominates it."""

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    return [not any(dominates(other, point) for other in points) for point in points]


@dataclass(frozen=True)
class Headline:
    """The programs that a report's first picture and table show."""

    model: str
    programs: list[ProgramRecord]
    has_quality: bool


def headline(report: Report) -> Headline:
    """Choose the first model whose perplexities compare, else the first that was measured."""
    for group in comparable_qualities(measured(report.programs)):
        if any(program.is_own for program in group):
            return Headline(group[0].model, group, True)
    for model, programs in measured_by_model(report).items():
        return Headline(model, programs, False)
    return Headline("", [], False)
