"""Sentences that answer a report's questions with its figures."""

from __future__ import annotations

from edge.latency.report import figures
from edge.latency.report.words import count, least_most, listed, percent, times, weights_words
from edge.latency.schema import ProgramRecord, Report

NO_SPEED = (
    "An emulator has no speed. It shows that the programs run and are right on this instruction set; "
    "how fast they are can only be measured on a device."
)
NOTHING_MEASURED = "No program has been measured."
#: How much more perplexity than the 4 bits' the recommended width may have.
MARGIN = 0.05


def title(report: Report) -> str:
    return f"Latency on {report.device.name}, {report.started[:10]}"


def unfinished(report: Report) -> str | None:
    """A warning for a report that was cut off; None for a finished one."""
    if report.finished:
        return None
    if not report.device_kind.has_speed:
        return "Unfinished: some programs have not been checked yet."
    rounds = count(report.settings.rounds, "round")
    done = figures.complete_rounds(report)
    reason = f", because {report.stopped}" if report.stopped else ""
    return f"Unfinished: {done} of {rounds} exist for every program{reason}; figures may change."


def choice(report: Report) -> ProgramRecord | None:
    """Choose the width to ship: the fastest with at most MARGIN more perplexity than the 4 bits.

    None where no perplexities compare, or our 4 bits are not among them.
    """
    chosen = figures.headline(report)
    base = figures.own_4bit(chosen.programs)
    if base is None or not chosen.has_quality:
        return None
    good = [p for p in chosen.programs if p.is_own and _more_perplexity(p, base) <= MARGIN]
    return max([p for p in good if _speed(report, p)], key=lambda p: _speed(report, p), default=None)


def verdict(report: Report) -> str:
    """Say which width to ship, or which is the fastest where no quality is known."""
    if not report.device_kind.has_speed:
        return NO_SPEED
    chosen = figures.headline(report)
    own = [p for p in chosen.programs if p.is_own and _speed(report, p)]
    if not own:
        return NOTHING_MEASURED if not chosen.programs else "None of our own programs was measured."
    fastest = max(own, key=lambda p: _speed(report, p))
    base, best = figures.own_4bit(own), choice(report)
    of = f" of {chosen.model}" if len(figures.by_model(report)) > 1 else ""
    if best is None:
        unknown = "" if base else " Our own 4 bits were not measured, so no speed-up can be told."
        unknown += "" if chosen.has_quality else " Its quality is not known."
        return f"Fastest: {fastest.label}{of}{_beside(report, fastest, base)}.{unknown}"
    if best is not base:
        margin = f"the fastest with at most {percent(MARGIN)} more perplexity than 4 bits"
        return f"Ship {best.label}{of}: {margin}{_beside(report, best, base)}."
    if fastest is base:
        return f"Ship {best.label}{of}: no width is faster."
    reason = f"every faster width has over {percent(MARGIN)} more perplexity"
    return f"Ship {best.label}{of}: {reason}. Fastest: {fastest.label}{_beside(report, fastest, base)}."


def _speed(report: Report, program: ProgramRecord) -> float:
    """Decoding at the headline in tokens/s; 0 where it was not measured."""
    rate = figures.figure(program, report.settings.threads[0], figures.decode(report.settings.contexts[0]))
    return rate.median if rate else 0.0


def _more_perplexity(program: ProgramRecord, base: ProgramRecord) -> float:
    """Share by which its perplexity is above the base's."""
    assert program.quality is not None
    assert base.quality is not None
    return program.quality.perplexity / base.quality.perplexity - 1


def _beside(report: Report, program: ProgramRecord, base: ProgramRecord | None) -> str:
    """Speed, bytes and perplexity beside the 4 bits', to follow a name."""
    if base is None or program is base:
        return ""
    metric, threads = figures.decode(report.settings.contexts[0]), report.settings.threads[0]
    ratio = figures.speed_up(program, base, threads, metric)
    facts = [f"{times(ratio.median)} as fast as 4 bits"] if ratio else []
    facts.append(f"{times(figures.size_ratio(program, base))} the bytes")
    if program.quality and base.quality:
        facts.append(f"perplexity {program.quality.perplexity:.2f} instead of {base.quality.perplexity:.2f}")
    return f", {', '.join(facts)}"


def remarks(report: Report) -> list[str]:
    """Sentences on our 4 bits beside the fastest other runtime, and on the models' weights."""
    metric, threads = figures.decode(report.settings.contexts[0]), report.settings.threads[0]
    ratios: dict[str, list[float]] = {}
    for programs in figures.measured_by_model(report).values():
        base = figures.own_4bit(programs)
        for other in (program for program in programs if base and not program.is_own):
            if found := base and figures.speed_up(base, other, threads, metric):
                ratios.setdefault(other.label, []).append(found.median)
    sentences = []
    if ratios:
        label = min(ratios, key=lambda each: min(ratios[each]))
        fastest = ", the fastest of the others" if len(ratios) > 1 else ""
        sentences.append(f"Our 4 bits decode {least_most(ratios[label])} as fast as {label}{fastest}.")
    groups: dict[str, list[str]] = {}
    for model, programs in figures.by_model(report).items():
        groups.setdefault(weights_words(programs), []).append(model)
    note = ", which give a program its speed and size but no quality"
    return sentences + [
        f"{listed(models)}: {words}{note * (words == 'random weights')}." for words, models in groups.items()
    ]
