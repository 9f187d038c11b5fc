"""Which plots a report has, and what each of them shows, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from edge.latency import figures
from edge.latency.report.figures import Metric, Spread
from edge.latency.report.plots.bars import token_times
from edge.latency.report.plots.dots import Mark, Panel, dots, height
from edge.latency.report.plots.drawing import Drawing
from edge.latency.report.plots.lines import Line, curves
from edge.latency.report.plots.pareto import Point, front
from edge.latency.report.plots.roofline import Rate, roofline
from edge.latency.schema import ProgramRecord, Report
from edge.latency.report.words import count, least_most, listed, number, percent, weights_tag, weights_words


def speed_ups(report: Report) -> list[list[Drawing]]:
    """Decode, prefill and size over our own 4 bits, then the speeds at every other thread count."""
    settings = report.settings
    rows = []
    for threads in settings.threads:
        row = []
        for metric in (figures.decode(settings.contexts[0]), figures.prefill(settings.prompts[0])):
            marks = _over_4bit(report, partial(figures.speed_up, threads=threads, metric=metric))
            title = f"Speed of {metric.name}, {count(threads, 'thread')}"
            row += _ratios(title, "times as fast as our 4 bits", marks)
        rows.append(row)
    rows[0] += _ratios("Size of the file", "times the bytes of our 4 bits", _over_4bit(report, _size))
    return [row for row in rows if row]


def _over_4bit(report: Report, ratio: Callable[[ProgramRecord, ProgramRecord], Spread | None]) -> list[Mark]:
    marks = []
    for model, programs in figures.by_model(report).items():
        alive = figures.measured(programs)
        base = figures.own_4bit(alive)
        ratios = [(program, ratio(program, base)) for program in alive] if base else []
        marks += [Mark(p.label, model, figures.is_own(p), found) for p, found in ratios if found]
    return marks


def _size(program: ProgramRecord, base: ProgramRecord) -> Spread:
    return _alone(figures.size_ratio(program, base))


def _ratios(title: str, axis: str, marks: list[Mark]) -> list[Drawing]:
    """Nothing where there is only the 4 bits themselves."""
    rows = dict.fromkeys(mark.row for mark in marks)
    return [dots(title, _ranges(marks), [Panel(axis, marks, "ratio")])] if len(rows) > 1 else []


def _ranges(marks: Sequence[Mark]) -> str:
    """From the least model's to the most: each of ours but the 4 bits, then the others together."""
    rows: dict[str, list[float]] = {}
    for mark in marks:
        rows.setdefault(mark.row if mark.own else "the others", []).append(mark.spread.median)
    told = {row: ratios for row, ratios in rows.items() if any(ratio != 1 for ratio in ratios)}
    return listed([f"{row} {least_most(ratios)}" for row, ratios in told.items()]) + "."


def rates(report: Report) -> list[list[Drawing]]:
    """Tokens/s of every program, a drawing for every model."""
    settings = report.settings
    metrics = [figures.decode(settings.contexts[0]), figures.prefill(settings.prompts[0])]
    drawings = []
    for model, programs in figures.by_model(report).items():
        panels = [Panel(f"{m.name}, {m.unit}", _by_threads(report, programs, m)) for m in metrics]
        panels = [panel for panel in panels if panel.marks]
        if panels:
            drawings.append(dots(_of(model, programs), _fastest(panels[0]), panels))
    return [drawings] if drawings else []


def _by_threads(report: Report, programs: Sequence[ProgramRecord], metric: Metric) -> list[Mark]:
    found = [
        (program, threads, figures.figure(program, threads, metric))
        for program in figures.measured(programs)
        for threads in report.settings.threads
    ]
    return [Mark(p.label, count(t, "thread"), figures.is_own(p), rate) for p, t, rate in found if rate]


def _fastest(panel: Panel) -> str:
    """Of ours and of the others, at the first thread count."""
    first = [mark for mark in panel.marks if mark.series == panel.marks[0].series]
    best = []
    for own, whose in ((True, "of ours"), (False, "of the others")):
        if marks := [mark for mark in first if mark.own == own]:
            mark = max(marks, key=lambda each: each.spread.median)
            best.append(f"{mark.row} {whose} with {number(mark.spread.median)} tok/s")
    return f"Fastest to decode with {first[0].series}: {listed(best)}."


def lengths(report: Report) -> list[list[Drawing]]:
    """Decode over context, then prefill over the prompt's length, for every model; only where several."""
    settings = report.settings
    rows = [
        _lengths(report, "decode", "tokens of context", settings.contexts, figures.decode),
        _lengths(report, "prefill", "tokens of prompt", settings.prompts, figures.prefill),
    ]
    return [row for row in rows if row]


def _lengths(
    report: Report, what: str, axis: str, values: Sequence[int], metric: Callable[[int], Metric]
) -> list[Drawing]:
    threads = report.settings.threads[0]
    drawings = []
    for model, programs in figures.by_model(report).items():
        alive = figures.measured(programs)
        lines = [_line(program, alive, threads, values, metric) for program in alive]
        lines = [line for line in lines if len(line.points) > 1]
        if any(line.own for line in lines):  # the others alone answer nothing
            title = f"{_of(model, programs)}: {what}, {count(threads, 'thread')}"
            drawings.append(curves(title, _change(lines), values, axis, lines))
    return drawings


def _line(
    program: ProgramRecord,
    alive: Sequence[ProgramRecord],
    threads: int,
    values: Iterable[int],
    metric: Callable[[int], Metric],
) -> Line:
    found = {value: figures.figure(program, threads, metric(value)) for value in values}
    points = {value: spread for value, spread in found.items() if spread}
    return Line(program.label, figures.is_own(program), program is figures.own_4bit(alive), points)


def _change(lines: Sequence[Line]) -> str:
    """What the rate at the longest is of that at the shortest, over the programs."""
    parts = []
    for own, whose in ((True, "ours"), (False, "the others")):
        ratios = [
            line.points[max(line.points)].median / line.points[min(line.points)].median
            for line in lines
            if line.own == own
        ]
        if ratios:
            parts.append(f"{least_most(ratios)} for {whose}")
    return f"From the shortest to the longest, the rate becomes {listed(parts)}."


def fronts(report: Report) -> list[list[Drawing]]:
    """Perplexity against file size and against decoding, for programs whose perplexities compare."""
    threads, metric = report.settings.threads[0], figures.decode(report.settings.contexts[0])
    rows = []
    for group in figures.comparable_qualities(report.programs):
        sizes = [(program, _alone(program.file_bytes / 1e6)) for program in group]
        row = [_front("file size", "file, MB", sizes, False)]
        speeds = [(program, figures.figure(program, threads, metric)) for program in group]
        known = [(program, rate) for program, rate in speeds if rate]
        if len(known) > 1:
            what = f"{metric.name}, {count(threads, 'thread')}"
            row.append(_front(what, f"{metric.name}, tok/s", known, True))
        rows.append(row)
    return rows


def _alone(value: float) -> Spread:
    """A figure without repetitions."""
    return Spread(value, value, value, 1)


def _front(
    what: str,
    axis: str,
    amounts: Sequence[tuple[ProgramRecord, Spread]],
    more_is_better: bool,
) -> Drawing:
    sign = -1 if more_is_better else 1
    qualities = [p.quality.perplexity if p.quality else 0.0 for p, _ in amounts]
    costs = [(sign * amount.median, loss) for (_, amount), loss in zip(amounts, qualities, strict=True)]
    on_front = figures.pareto_front(costs)
    points = [
        Point(program.label, amount, loss, on)
        for (program, amount), loss, on in zip(amounts, qualities, on_front, strict=True)
    ]
    first = amounts[0][0]
    assert first.quality is not None
    text = f"{first.quality.text}, {first.quality.tokens} tokens in blocks of {first.quality.block}"
    title = f"{first.model}: perplexity and {what} ({text})"
    return front(title, _front_words(points, [p for p, _ in amounts]), axis, points, more_is_better)


def _front_words(points: Sequence[Point], programs: Sequence[ProgramRecord]) -> str:
    on = [point.name for point in points if point.on_front]
    off = [point.name for point in points if not point.on_front]
    words = f"On the front: {listed(on)}. " + (f"Dominated: {listed(off)}. " if off else "")
    return f"{words}{weights_words(programs).capitalize()}."


def times(report: Report) -> list[list[Drawing]]:
    """Where a token's time goes, for every model, at the first thread count."""
    threads = report.settings.threads[0]
    drawings = []
    for model, programs in figures.by_model(report).items():
        found = [
            (p.label, figures.is_own(p), figures.trace_at(p, threads)) for p in figures.measured(programs)
        ]
        traced = [(name, own, trace) for name, own, trace in found if trace]
        if traced:
            shares = [trace.group_ms.get("linears", 0) / trace.token_ms for _, own, trace in traced if own]
            finding = f"Linears take {_percents(shares)} of a token in ours." if shares else ""
            title = f"{_of(model, programs)}: a traced token, {count(threads, 'thread')}"
            drawings.append(token_times(title, finding, traced))
    return [drawings] if drawings else []


def rooflines(report: Report) -> list[list[Drawing]]:
    """Decoding below its limit, and the share of the limit that it reaches, at every thread count."""
    settings, context = report.settings, report.settings.contexts[0]
    rows = []
    for threads in settings.threads:
        points, marks = [], []
        for program in figures.measured(report.programs):
            share = figures.roofline_share(program, threads, context, settings)
            rate = figures.figure(program, threads, figures.decode(context))
            bandwidth = figures.read_bandwidth(program, threads)
            if share and rate and bandwidth:
                size, own = figures.bytes_per_token(program, context, settings), figures.is_own(program)
                points.append(Rate(program.model, own, size, rate.median, bandwidth.median / size))
                marks.append(Mark(program.label, program.model, own, share))
        if points:
            title = f"decode at {context}, {count(threads, 'thread')}"
            finding = _shares(marks)
            panel = Panel("share of its own limit", marks, "share")
            shares = dots(f"Share of the limit: {title}", finding, [panel])
            rows.append([roofline(f"Limit of memory: {title}", finding, points, height([panel])), shares])
    return rows


def _shares(marks: Sequence[Mark]) -> str:
    parts = []
    for own, whose in ((True, "Ours reach"), (False, "the others")):
        if shares := [mark.spread.median for mark in marks if mark.own == own]:
            parts.append(f"{whose} {_percents(shares)}")
    return f"{listed(parts)} of what a pure read of their bytes would allow."


def _percents(shares: Sequence[float]) -> str:
    least, most = percent(min(shares)), percent(max(shares))
    return least if least == most else f"{least} to {most}"


def _of(model: str, programs: Sequence[ProgramRecord]) -> str:
    return f"{model} ({weights_tag(programs)})"
