"""What a report's samples amount to: medians, speed-ups, roofline shares, Pareto fronts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edge.formats import format_for_bits
from edge.latency.schema import ProgramRecord, Report, Run, Settings, Trace

#: What bit widths are compared with; of a mixed program the mean may be 4 too, its format is not.
OWN_4BIT = format_for_bits(4)


@dataclass(frozen=True)
class Spread:
    """Repetitions of one figure."""

    median: float
    least: float
    most: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))


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


def decode(context: int) -> Metric:
    def pick(run: Run) -> float | None:
        sample = run.decode.get(context)
        return None if sample is None else sample.tokens_per_second

    return Metric(f"decode at {context}", "tok/s", pick, True)


def decode_p90(context: int) -> Metric:
    def pick(run: Run) -> float | None:
        sample = run.decode.get(context)
        return None if sample is None else sample.ms_p90

    return Metric(f"decode p90 at {context}", "ms", pick, False)


def decode_p50(context: int) -> Metric:
    def pick(run: Run) -> float | None:
        sample = run.decode.get(context)
        return None if sample is None else sample.ms_p50

    return Metric(f"decode p50 at {context}", "ms", pick, False)


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
    """A figure's value by round."""
    values = {run.round: metric.pick(run) for run in program.runs if run.threads == threads}
    return {index: value for index, value in values.items() if value is not None}


def figure(program: ProgramRecord, threads: int, metric: Metric) -> Spread | None:
    return spread(samples(program, threads, metric).values())


def speed_up(program: ProgramRecord, base: ProgramRecord, threads: int, metric: Metric) -> Spread | None:
    """How many times better than ``base``, above 1 for better: the spread of the rounds' own ratios.

    Ratios within a round cancel what slowed the machine as a whole in that round.
    """
    ours, theirs = samples(program, threads, metric), samples(base, threads, metric)
    ratios = [ours[index] / theirs[index] for index in ours.keys() & theirs.keys()]
    return spread(ratios if metric.more_is_better else (1 / ratio for ratio in ratios))


def by_model(report: Report) -> dict[str, list[ProgramRecord]]:
    """The programs of each model, in the report's order."""
    models: dict[str, list[ProgramRecord]] = {}
    for program in report.programs:
        models.setdefault(program.model, []).append(program)
    return models


def measured(programs: Iterable[ProgramRecord]) -> list[ProgramRecord]:
    """Those with runs that count: a program that failed is left out, whatever it had measured before."""
    return [p for p in programs if p.runs and p.failure is None]


def complete_rounds(report: Report) -> int:
    """Rounds that every program has at every thread count; those that failed do not count."""
    threads = report.settings.threads
    alive = [program for program in report.programs if program.failure is None]
    counts = [sum(run.threads == t for run in program.runs) for program in alive for t in threads]
    return min(counts, default=0)


def trace_at(program: ProgramRecord, threads: int) -> Trace | None:
    return next((trace for trace in program.traces if trace.threads == threads), None)


def is_own(program: ProgramRecord) -> bool:
    """Whether it is one of ours, and not there as an opponent only."""
    return program.recipe == "lowbit"


def own_4bit(programs: Sequence[ProgramRecord]) -> ProgramRecord | None:
    """Our own 4-bit program of a model, which bit widths are compared with."""
    return next((p for p in programs if is_own(p) and p.format == OWN_4BIT.name), None)


def opponents(programs: Sequence[ProgramRecord]) -> list[ProgramRecord]:
    """What a model's programs are compared with: our own 4 bits, and every other runtime's."""
    return [p for p in programs if not is_own(p) or p is own_4bit(programs)]


def size_ratio(program: ProgramRecord, base: ProgramRecord) -> float:
    """Of the files' bytes."""
    return program.file_bytes / base.file_bytes


def comparable_qualities(programs: Iterable[ProgramRecord]) -> list[list[ProgramRecord]]:
    """Programs of one model whose perplexities compare: on the same text, tokens and blocks; at least two."""
    groups: dict[tuple, list[ProgramRecord]] = {}
    for program in programs:
        quality = program.quality
        if quality is not None and program.failure is None:
            key = (program.model, quality.text, quality.tokens, quality.block)
            groups.setdefault(key, []).append(program)
    return [group for group in groups.values() if len(group) > 1]


def bytes_per_token(program: ProgramRecord, context: int, settings: Settings) -> float:
    """What decoding a token must read at the least: the whole file, and the cache up to its mean position."""
    position = context + settings.generated / 2
    return program.file_bytes + program.kv_bytes_per_position * position


def roofline_share(program: ProgramRecord, threads: int, context: int, settings: Settings) -> Spread | None:
    """Time of a pure read of a token's bytes over the token's time, at most 1 where memory is the limit.

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
    """Which points no other point dominates, by (cost, quality loss): lower is better in both."""

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    return [not any(dominates(other, point) for other in points) for point in points]
