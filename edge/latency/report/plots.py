"""Plots of a report: which there are, their figures, and their findings in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from edge.latency.report import figures
from edge.latency.report.charts import Line, Mark, curves, dots, token_times
from edge.latency.report.figures import Metric, Spread
from edge.latency.report.planes import Point, Rate, front, roofline
from edge.latency.report.svg import Drawing
from edge.latency.report.words import count, least_most, listed, weights_tag, weights_words
from edge.latency.schema import ProgramRecord, Report

Programs = Sequence[ProgramRecord]


def headline(report: Report) -> Drawing | None:
    """Quality, or bytes where no qualities compare, against decoding speed, of the report's first answer."""
    chosen = figures.headline(report)
    if len(chosen.programs) < 2:
        return None
    threads, metric = report.settings.threads[0], figures.decode(report.settings.contexts[0])
    speeds = [(p, rate) for p in chosen.programs if (rate := figures.figure(p, threads, metric))]
    title = f"{chosen.model}: {'perplexity' if chosen.has_quality else 'file size'} and speed"
    return _front(title, "decode, tok/s (right is faster)", speeds, True, chosen.has_quality, 240)


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
    sizes = _over_4bit(report, lambda program, base: figures.alone(figures.size_ratio(program, base)))
    rows[0] += _ratios("Size of the file", "times the bytes of our 4 bits", sizes)
    return [row for row in rows if row]


def _over_4bit(report: Report, ratio: Callable[[ProgramRecord, ProgramRecord], Spread | None]) -> list[Mark]:
    marks = []
    for model, programs in figures.measured_by_model(report).items():
        base = figures.own_4bit(programs)
        ratios = [(program, ratio(program, base)) for program in programs] if base else []
        marks += [Mark(p.label, model, p.is_own, found) for p, found in ratios if found]
    return marks


def _ratios(title: str, axis: str, marks: list[Mark]) -> list[Drawing]:
    """One drawing; none where there is only the 4 bits themselves."""
    groups: dict[str, list[float]] = {}
    for mark in marks:
        groups.setdefault(mark.row if mark.own else "the others", []).append(mark.spread.median)
    told = [f"{row} {least_most(ratios)}" for row, ratios in groups.items() if set(ratios) != {1}]
    more_rows = len({mark.row for mark in marks}) > 1
    return [dots(title, f"{listed(told)}.", axis, marks, "ratio")] if more_rows else []


def rates(report: Report) -> list[list[Drawing]]:
    """Tokens/s of every program, decode and prefill for every model."""
    settings, rows = report.settings, []
    for model, programs in figures.measured_by_model(report).items():
        row = []
        for metric in (figures.decode(settings.contexts[0]), figures.prefill(settings.prompts[0])):
            found = [
                Mark(program.label, count(threads, "thread"), program.is_own, rate)
                for program in programs
                for threads in settings.threads
                if (rate := figures.figure(program, threads, metric))
            ]
            if found:
                title = f"{_of(model, programs)}: {metric.name}"
                row.append(dots(title, "", f"{metric.name}, tok/s", found))
        rows.append(row)
    return [row for row in rows if row]


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
    threads, drawings = report.settings.threads[0], []
    for model, programs in figures.measured_by_model(report).items():
        base, lines = figures.own_4bit(programs), []
        for program in programs:
            found = {value: figures.figure(program, threads, metric(value)) for value in values}
            points = {value: spread for value, spread in found.items() if spread}
            if len(points) > 1:
                lines.append(Line(program.label, program.is_own, program is base, points))
        if any(line.own for line in lines):
            title = f"{_of(model, programs)}: {what}, {count(threads, 'thread')}"
            drawings.append(curves(title, "", values, axis, lines))
    return drawings


def fronts(report: Report) -> list[list[Drawing]]:
    """Perplexity against bytes and against a token's time, for all programs whose perplexities compare.

    What lies on a front is best at equal bytes, or at equal time, whatever its model.
    """
    threads, metric = report.settings.threads[0], figures.token_time(report.settings.contexts[0])
    rows = []
    for group in figures.comparable_qualities(report.programs, across_models=True):
        quality = group[0].quality
        assert quality is not None
        text = f"({quality.text}, {quality.tokens} tokens in blocks of {quality.block})"
        models = listed(list(dict.fromkeys(program.model for program in group)))
        sizes = [(program, figures.alone(program.file_bytes / 1e6)) for program in group]
        times = [(program, time) for program in group if (time := figures.figure(program, threads, metric))]
        title = f"{models}: perplexity and {{}} {text}"
        row = [_front(title.format("file size"), "file, MB", sizes, False)]
        if len(times) > 1:
            what = f"{metric.name}, {count(threads, 'thread')}"
            row.append(_front(title.format(what), f"{metric.name}, ms", times, False))
        found = zip(("bytes", "time"), row, (sizes, times), strict=False)
        rows.append([_with_budget(drawing, what, amounts) for what, drawing, amounts in found])
    return rows


def _with_budget(drawing: Drawing, what: str, amounts: Sequence[tuple[ProgramRecord, Spread]]) -> Drawing:
    """Add who is best within the bytes, or the time, of our 4 bits."""
    programs = [program for program, _ in amounts]
    base = figures.own_4bit(programs)
    if base is None:
        return drawing
    budget = next(amount.median for program, amount in amounts if program is base)
    best = min((p for p, amount in amounts if amount.median <= budget), key=_perplexity)
    names = _names(programs)
    sentence = f"Within the {what} of {names[base.name]}, "
    if _perplexity(best) < _perplexity(base):
        values = f"{_perplexity(best):.2f} instead of {_perplexity(base):.2f}"
        sentence += f"{names[best.name]} has the least perplexity, {values}."
    else:
        sentence += "none has less perplexity."
    return replace(drawing, finding=f"{sentence} {drawing.finding}")


def _perplexity(program: ProgramRecord) -> float:
    assert program.quality is not None
    return program.quality.perplexity


def _names(programs: Programs) -> dict[str, str]:
    """Labels, or whole names where there are several models, by name."""
    has_several = len({program.model for program in programs}) > 1
    return {program.name: program.name if has_several else program.label for program in programs}


def _front(
    title: str,
    axis: str,
    amounts: Sequence[tuple[ProgramRecord, Spread]],
    more_is_better: bool,
    has_quality: bool = True,
    height: int = 200,
) -> Drawing:
    sign = -1 if more_is_better else 1
    programs = [program for program, _ in amounts]
    losses = [p.quality.perplexity if has_quality and p.quality else p.file_bytes / 1e6 for p in programs]
    costs = [(sign * amount.median, loss) for (_, amount), loss in zip(amounts, losses, strict=True)]
    base, names = figures.own_4bit(programs), _names(programs)
    points = [
        Point(names[program.name], amount, loss, is_on, program.is_own, program is base)
        for (program, amount), loss, is_on in zip(amounts, losses, figures.pareto_front(costs), strict=True)
    ]
    on, off = ([point.name for point in points if point.on_front == side] for side in (True, False))
    finding = f"On the front: {listed(on)}. " + (f"Dominated: {listed(off)}. " if off else "")
    finding += f"{weights_words(programs).capitalize()}."
    loss_axis = "perplexity, lower is better" if has_quality else "file, MB (lower is smaller)"
    return front(title, finding, (axis, loss_axis), points, more_is_better, height)


def times(report: Report) -> list[list[Drawing]]:
    """A token's time by group of ops, for every model, at the first thread count."""
    threads, drawings = report.settings.threads[0], []
    for model, programs in figures.measured_by_model(report).items():
        found = [(p.label, p.is_own, figures.trace_at(p, threads)) for p in programs]
        if traced := [(name, own, trace) for name, own, trace in found if trace]:
            title = f"{_of(model, programs)}: a traced token, {count(threads, 'thread')}"
            drawings.append(token_times(title, "", traced))
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
                size, own = figures.bytes_per_token(program, context, settings), program.is_own
                points.append(Rate(program.model, own, size, rate.median, bandwidth.median / size))
                marks.append(Mark(program.label, program.model, own, share))
        if points:
            title = f"decode at {context}, {count(threads, 'thread')}"
            shares = dots(f"Share of the limit: {title}", "", "share of its own limit", marks, "share")
            rows.append([roofline(f"Limit of memory: {title}", "", points), shares])
    return rows


def _of(model: str, programs: Programs) -> str:
    return f"{model} ({weights_tag(programs)})"
