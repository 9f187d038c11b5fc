"""Two reports beside each other: what changed, and whether that is more than noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.latency.figures import figure, is_own, measured, metrics, read_bandwidth, samples
from edge.latency.schema import ProgramRecord, Report, read_report
from edge.latency.significance import LEVEL, p_value
from edge.latency.words import count, number

Verdict = Literal["worse", "better", "as before"]


@dataclass(frozen=True)
class Change:
    """One figure of one program in both reports, by its medians.

    Attributes:
        ratio: how many times better the new one is; below 1 is worse.
        noise: the probability of such a difference by noise alone; None where there are too few rounds to
            tell, and 0 for what has no noise.
    """

    program: str
    what: str
    unit: str
    old: float
    new: float
    ratio: float
    noise: float | None

    def verdict(self, bound: float) -> Verdict:
        """By more than the bound, either way, and more than noise where that can be told."""
        if self.noise is not None and self.noise >= LEVEL:
            return "as before"
        if self.ratio < 1 - bound:
            return "worse"
        return "better" if self.ratio > 1 / (1 - bound) else "as before"


def main_compare(old_path: Path, new_path: Path, bound: float) -> int:
    """Prints the comparison as Markdown; 1 where something regressed.

    Raises:
        ValueError: a file is no report, the reports cannot be compared, or the bound is no share.
    """
    if not 0 < bound < 1:
        raise ValueError(f"--bound must lie between 0 and 1, such as 0.05 for 5 %; not {bound:g}")
    old, new = read_report(old_path), read_report(new_path)
    refuse_unlike(old, new)
    print(markdown(old, new, bound))
    return 1 if regressed(old, new, bound) else 0


def refuse_unlike(old: Report, new: Report) -> None:
    """Raises ValueError unless programs of one name are the same thing in both."""
    if "emulator" in (old.device.kind, new.device.kind):
        raise ValueError("an emulated device has no speeds to compare")
    pairs = list(_pairs(old, new))
    if not pairs:
        raise ValueError("the reports have no program of the same name, so there is nothing to compare")
    for before, now in pairs:
        for what in ("parameters", "weights", "recipe", "kv_cache"):
            if getattr(before, what) != getattr(now, what):
                raise ValueError(
                    f"{now.name} is not the same program in both reports: its {what.replace('_', ' ')} was "
                    f"{getattr(before, what)} and is {getattr(now, what)}"
                )


def changes(old: Report, new: Report) -> list[Change]:
    """Every figure that both reports have."""
    return [change for pair in _pairs(old, new) for change in _changes(*pair, old, new)]


def newly_failing(old: Report, new: Report) -> list[ProgramRecord]:
    return [now for before, now in _pairs(old, new) if before.failure is None and now.failure is not None]


def regressed(old: Report, new: Report, bound: float) -> bool:
    worse = any(change.verdict(bound) == "worse" for change in changes(old, new))
    return worse or bool(newly_failing(old, new))


def markdown(old: Report, new: Report, bound: float) -> str:
    """Regressions first, then what got better; what stayed is one line."""
    found = changes(old, new)
    groups = {verdict: [c for c in found if c.verdict(bound) == verdict] for verdict in ("worse", "better")}
    failing = newly_failing(old, new)
    lines = [f"# {count(len(groups['worse']) + len(failing), 'regression')} beyond {bound:.0%}", ""]
    lines += [f"- {program.name} fails now: {program.failure}" for program in failing]
    for title, verdict in (("Worse", "worse"), ("Better", "better")):
        if groups[verdict]:
            lines += [f"## {title}", "", *_table(groups[verdict]), ""]
    unchanged = len(found) - len(groups["worse"]) - len(groups["better"])
    lines += [
        f"{count(unchanged, 'other figure')} changed by less than {bound:.0%} or by no more than noise.",
        "",
    ]
    lines += ["## What else differs", "", *(f"- {line}" for line in circumstances(old, new))]
    return "\n".join(lines)


def circumstances(old: Report, new: Report) -> list[str]:
    """What a sceptic asks first: other devices, versions and programs, and how the machine itself changed."""
    lines = []
    before, now = _facts(old), _facts(new)
    for what in sorted(before.keys() | now.keys()):
        was, is_now = before.get(what) or "none", now.get(what) or "none"
        if was != is_now:
            lines.append(f"{what}: {was}, now {is_now}")
    names = [{program.name for program in report.programs} for report in (old, new)]
    lines += [f"only in the old report: {name}" for name in sorted(names[0] - names[1])]
    lines += [f"only in the new report: {name}" for name in sorted(names[1] - names[0])]
    lines += list(_drift(old, new))
    lines.append(
        "The reports are of two sessions, whose difference holds the machine's own; only within a report do "
        "programs take turns."
    )
    if any(change.noise is None for change in changes(old, new)):
        lines.append("There are too few rounds to tell noise in some figures; there the bound alone decided.")
    return lines


def _pairs(old: Report, new: Report) -> Iterator[tuple[ProgramRecord, ProgramRecord]]:
    before = {program.name: program for program in old.programs}
    for program in new.programs:
        if program.name in before:
            yield before[program.name], program


def _changes(before: ProgramRecord, now: ProgramRecord, old: Report, new: Report) -> Iterator[Change]:
    size = (before.file_bytes, now.file_bytes)
    yield Change(now.name, "file", "bytes", *size, size[0] / size[1], 0.0)
    if before.quality is not None and now.quality is not None:
        quality = (before.quality, now.quality)
        if len({(q.text, q.tokens, q.block) for q in quality}) == 1:
            was, is_now = (q.perplexity for q in quality)
            yield Change(now.name, f"perplexity, {quality[0].text}", "", was, is_now, was / is_now, 0.0)
    for threads in old.settings.threads:
        for metric in metrics(old.settings):
            values = [list(samples(program, threads, metric).values()) for program in (before, now)]
            if not all(values) or before.failure or now.failure:
                continue
            was, is_now = (statistics.median(v) for v in values)
            ratio = is_now / was if metric.more_is_better else was / is_now
            what = f"{metric.name}, {count(threads, 'thread')}"
            yield Change(now.name, what, metric.unit, was, is_now, ratio, p_value(*values))


def _table(some: list[Change]) -> list[str]:
    lines = [
        "| program | figure | old | new | times as good | by noise alone |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for c in sorted(some, key=lambda change: change.ratio):
        noise = "too few rounds" if c.noise is None else "no noise" if c.noise == 0 else f"p = {c.noise:.2g}"
        cells = [
            c.program,
            c.what,
            f"{number(c.old)} {c.unit}",
            f"{number(c.new)} {c.unit}",
            f"{c.ratio:.2f}",
            noise,
        ]
        lines.append("| " + " | ".join(cell.strip().replace("|", "\\|") for cell in cells) + " |")
    return lines


def _facts(report: Report) -> dict[str, str]:
    """What both reports should have in common, by its name."""
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
    """The machine seen by what no change of ours touches: pure reads, and the other runtimes."""
    pairs = [
        (a, b) for a, b in _pairs(old, new) if a in measured(old.programs) and b in measured(new.programs)
    ]
    for threads in old.settings.threads:
        reads = [(read_bandwidth(a, threads), read_bandwidth(b, threads)) for a, b in pairs]
        ratios = [b.median / a.median for a, b in reads if a and b]
        if ratios:
            yield _drift_words(f"pure reads of the programs, {count(threads, 'thread')}", ratios)
        metric = metrics(old.settings)[0]
        speeds = [(figure(a, threads, metric), figure(b, threads, metric)) for a, b in pairs if not is_own(a)]
        ratios = [b.median / a.median for a, b in speeds if a and b]
        if ratios:
            yield _drift_words(f"{metric.name} of the other runtimes, {count(threads, 'thread')}", ratios)


def _drift_words(what: str, ratios: list[float]) -> str:
    return f"{what}: {statistics.median(ratios):.2f}x as fast ({min(ratios):.2f} to {max(ratios):.2f}x)"
