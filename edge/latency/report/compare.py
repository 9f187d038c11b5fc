"""Comparison of two reports: changes beyond a bound and beyond noise."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.latency.report.figures import FIRST_TOKEN, PEAK_MEMORY, Metric, metrics, samples
from edge.latency.report.significance import LEVEL, is_testable, p_above
from edge.latency.report.words import count
from edge.latency.schema import ProgramRecord, Report, Settings, read_report

#: "within noise" is beyond the bound by the medians, but not by the test.
Verdict = Literal["worse", "better", "within noise", "within bound"]
#: A verdict rests on the permutation test, or on the bound alone: too few rounds for the test, or no noise.
Evidence = Literal["tested", "too few rounds", "no noise"]


@dataclass(frozen=True)
class Change:
    """One figure of one program in both reports; ``old`` and ``new`` are medians.

    Attributes:
        p: of the test that led to "worse" or "better", where there was one.
    """

    program: str
    what: str
    unit: str
    old: float
    new: float
    verdict: Verdict
    evidence: Evidence
    p: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Changes between two reports, and what cannot be compared.

    Attributes:
        left_out: figures that the settings make incomparable, in words.
    """

    old: Report
    new: Report
    bound: float
    changes: list[Change]
    left_out: list[str]

    def with_verdict(self, verdict: Verdict) -> list[Change]:
        return [change for change in self.changes if change.verdict == verdict]

    @property
    def newly_failing(self) -> list[ProgramRecord]:
        return [now for before, now in pairs(self.old, self.new) if now.failure and not before.failure]

    @property
    def newly_running(self) -> list[ProgramRecord]:
        return [now for before, now in pairs(self.old, self.new) if before.failure and not now.failure]

    @property
    def regressions(self) -> int:
        return len(self.with_verdict("worse")) + len(self.newly_failing)


def compare(old: Report, new: Report, bound: float) -> Comparison:
    """Compare every figure that both reports have; ``bound`` is the share by which it may get worse.

    Raises:
        ValueError: the reports cannot be compared, or the bound is no share.
    """
    if not 0 < bound < 1:
        raise ValueError(f"--bound must lie between 0 and 1, such as 0.05 for 5 %; not {bound:g}")
    _refuse_unlike(old, new)
    common, left_out = _comparable(old.settings, new.settings)
    changes = [
        _change(now.name, figure, bound)
        for before, now in pairs(old, new)
        for figure in _figures(before, now, old.settings.threads, common)
    ]
    return Comparison(old, new, bound, changes, left_out)


def pairs(old: Report, new: Report) -> Iterator[tuple[ProgramRecord, ProgramRecord]]:
    """Pair the programs of one name."""
    before = {program.name: program for program in old.programs}
    for program in new.programs:
        if program.name in before:
            yield before[program.name], program


def read_finished(path: Path) -> Report:
    """Read a report. Raises ValueError where it is unfinished and so lacks figures."""
    report = read_report(path)
    if not report.finished:
        again = "give the command that began it again" if report.device_kind.open else "measure it again"
        raise ValueError(f"{path} is unfinished: {again}, and compare then")
    return report


def _refuse_unlike(old: Report, new: Report) -> None:
    if not (old.device_kind.has_speed and new.device_kind.has_speed):
        raise ValueError("an emulated device has no speeds to compare")
    common = list(pairs(old, new))
    if not common:
        raise ValueError("the reports have no program of the same name, so there is nothing to compare")
    for before, now in common:
        for what in ("parameters", "weights"):
            was, is_now = getattr(before, what), getattr(now, what)
            if was != is_now:
                raise ValueError(
                    f"{now.name} is another program in each report: its {what} were {was} and are {is_now}"
                )


def _comparable(old: Settings, new: Settings) -> tuple[list[Metric], list[str]]:
    """Split the figures into those that mean the same under both settings, and the others' names."""
    same_tokens = old.generated == new.generated
    same_peak = same_tokens and (old.prompts, old.contexts) == (new.prompts, new.contexts)
    wanted, left_out = [], []
    for metric in metrics(old):
        if (
            (metric.name.startswith("decode") and not same_tokens)
            or (metric is FIRST_TOKEN and old.prompts[0] != new.prompts[0])
            or (metric is PEAK_MEMORY and not same_peak)
            or metric.name not in {other.name for other in metrics(new)}
        ):
            left_out.append(metric.name)
        else:
            wanted.append(metric)
    return wanted, left_out


@dataclass(frozen=True)
class _Figure:
    """Values of one figure in two reports: one per round, or the only one."""

    what: str
    unit: str
    old: Sequence[float]
    new: Sequence[float]
    more_is_better: bool = False
    has_noise: bool = False


def _figures(
    before: ProgramRecord, now: ProgramRecord, threads: Sequence[int], common: list[Metric]
) -> Iterator[_Figure]:
    yield _Figure("file", "bytes", [before.file_bytes], [now.file_bytes])
    if before.quality is not None and now.quality is not None:
        was, is_now = before.quality, now.quality
        if (was.text, was.tokens, was.block) == (is_now.text, is_now.tokens, is_now.block):
            yield _Figure(f"perplexity, {now.quality.text}", "", [was.perplexity], [is_now.perplexity])
    if before.failure or now.failure:
        return
    for number in threads:
        for metric in common:
            old, new = (list(samples(program, number, metric).values()) for program in (before, now))
            if old and new:
                what = f"{metric.name}, {count(number, 'thread')}"
                yield _Figure(what, metric.unit, old, new, metric.more_is_better, has_noise=True)


def _change(program: str, figure: _Figure, bound: float) -> Change:
    """Judge a figure: beyond the bound by its medians and, where there are enough rounds, by the test."""
    was, is_now = statistics.median(figure.old), statistics.median(figure.new)
    is_up = is_now > was
    factor = 1 + bound if is_up else 1 - bound
    is_beyond = is_now > was * factor if is_up else is_now < was * factor
    p: float | None = None
    evidence: Evidence = "no noise"
    if figure.has_noise:
        evidence = "tested" if is_testable(figure.new, figure.old) else "too few rounds"
    if figure.has_noise and is_beyond:
        # The lower set is scaled: the old one up, or the new one back.
        p = p_above(figure.new, figure.old, factor) if is_up else p_above(figure.old, figure.new, 1 / factor)
    verdict: Verdict = "within bound"
    if is_beyond:
        is_shown = p is None or p < LEVEL
        towards: Verdict = "better" if is_up == figure.more_is_better else "worse"
        verdict = towards if is_shown else "within noise"
    return Change(program, figure.what, figure.unit, was, is_now, verdict, evidence, p)
