"""A comparison as Markdown: regressions first, then the circumstances."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

from edge.latency.report.compare import Change, Comparison, compare, pairs, read_finished
from edge.latency.report.figures import figure, metrics, read_bandwidth
from edge.latency.report.markdown import escaped
from edge.latency.report.significance import LEVEL
from edge.latency.report.words import count, number
from edge.latency.schema import Report


def main_compare(old: Path, new: Path, bound: float) -> int:
    """Print the comparison; returns 1 where something regressed. Raises ValueError as ``compare`` does."""
    comparison = compare(read_finished(old), read_finished(new), bound)
    print(markdown(comparison))
    return 1 if comparison.regressions else 0


def markdown(comparison: Comparison) -> str:
    worse, better = (comparison.with_verdict(verdict) for verdict in ("worse", "better"))
    bound = f"{100 * comparison.bound:g} %"
    lines = [f"# {count(comparison.regressions, 'regression')} beyond {bound}", ""]
    lines += [f"- {escaped(p.name)} fails now: {escaped(p.failure or '')}" for p in comparison.newly_failing]
    lines += [f"- {escaped(p.name)} failed before and runs now" for p in comparison.newly_running]
    for title, some in (("Worse", worse), ("Better", better)):
        if some:
            lines += ["", f"## {title}", "", *_table(some)]
    within, unsure = (len(comparison.with_verdict(v)) for v in ("within bound", "within noise"))
    lines += [
        "",
        f"{count(within + unsure, 'other figure')}: {within} changed by no more than {bound}, "
        f"{unsure} by more, which noise may explain: more rounds would tell.",
        "",
    ]
    lines += ["## How to read this", "", *(f"- {escaped(line)}" for line in _circumstances(comparison))]
    return "\n".join(lines)


def _table(some: list[Change]) -> list[str]:
    lines = [
        "| program | figure | old | new | new / old | by noise alone |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for c in sorted(some, key=lambda change: change.new / change.old):
        noise = c.evidence if c.p is None else f"p = {c.p:.2g}"
        values = [f"{number(value)} {c.unit}".strip() for value in (c.old, c.new)]
        cells = [escaped(c.program), escaped(c.what), *values, f"{c.new / c.old:.2f}", noise]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _circumstances(comparison: Comparison) -> Iterator[str]:
    """Differences of devices, versions, programs and machine speed, and the limits of the test."""
    old, new = comparison.old, comparison.new
    before, now = _facts(old), _facts(new)
    for what in sorted(before.keys() | now.keys()):
        was, is_now = before.get(what) or "none", now.get(what) or "none"
        if was != is_now:
            yield f"{what}: {was}, now {is_now}"
    names = [{program.name for program in report.programs} for report in (old, new)]
    for which, some in (("old", names[0] - names[1]), ("new", names[1] - names[0])):
        yield from (f"only in the {which} report: {name}" for name in sorted(some))
    if comparison.left_out:
        yield f"not compared, because the settings differ: {', '.join(comparison.left_out)}"
    yield from _drift(old, new)
    yield (
        "the reports are of two sessions, and the machine's own change between them is in every figure; only "
        "within a report do programs take turns"
    )
    tested = sum(change.evidence == "tested" for change in comparison.changes)
    if tested:
        yield (
            f"{count(tested, 'figure')} tested, one by one: of those that got worse by just the bound, "
            f"{100 * LEVEL:g} % are called regressions"
        )
    untold = sum(change.evidence == "too few rounds" for change in comparison.changes)
    if untold:
        yield f"too few rounds to tell noise in {count(untold, 'figure')}: there the bound alone decided"


def _facts(report: Report) -> dict[str, str]:
    """Facts that both reports should have in common, by name."""
    device = report.device.model_dump(exclude={"kind"})
    facts = {f"device {name.replace('_', ' ')}": value for name, value in device.items()}
    facts |= report.versions
    facts |= report.settings.model_dump()
    facts["kernels"] = sorted({run.kernel for p in report.programs for run in p.runs if run.kernel})
    return {name: _plain(value) for name, value in facts.items()}


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _drift(old: Report, new: Report) -> Iterator[str]:
    """Change of the machine itself, seen by pure reads and by the other runtimes."""
    running = [(a, b) for a, b in pairs(old, new) if not a.failure and not b.failure]
    headline = metrics(old.settings)[0]
    for threads in old.settings.threads:
        reads = [(read_bandwidth(a, threads), read_bandwidth(b, threads)) for a, b in running]
        others = [
            (figure(a, threads, headline), figure(b, threads, headline)) for a, b in running if not a.is_own
        ]
        for what, found in (
            ("pure reads of the programs", reads),
            (f"{headline.name} of the other runtimes", others),
        ):
            ratios = [b.median / a.median for a, b in found if a and b]
            if ratios:
                span = f"{min(ratios):.2f} to {max(ratios):.2f}x"
                yield f"{what}, {count(threads, 'thread')}: {statistics.median(ratios):.2f}x as fast ({span})"
