"""Sentences that answer a report's questions with its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
#: Programs of a model, and the one among them that speed-ups are over.
Pairs = list[tuple[ProgramRecord, ProgramRecord]]


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
    return f"Unfinished: {done} of {rounds} exist for every program; figures may change."


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
        unknown = "" if chosen.has_quality else " Its quality is not known."
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
    facts = [f"{times(ratio)} as fast as 4 bits" for ratio in _decode_ratios(report, [(program, base)])]
    facts.append(f"{times(figures.size_ratio(program, base))} the bytes")
    if program.quality and base.quality:
        facts.append(f"perplexity {program.quality.perplexity:.2f} instead of {base.quality.perplexity:.2f}")
    return f", {', '.join(facts)}"


def answer(report: Report) -> list[str]:
    """Sentences on our widths beside our own 4 bits, these beside the others, and the quality."""
    if not report.device_kind.has_speed:
        return [NO_SPEED, *_weights(report)]
    models = figures.measured_by_model(report).values()
    if not models:
        return [NOTHING_MEASURED, *_weights(report)]
    bases = [(programs, base) for programs in models if (base := figures.own_4bit(programs))]
    own = [(p, base) for programs, base in bases for p in programs if p.is_own and p is not base]
    others = [(base, p) for programs, base in bases for p in programs if not p.is_own]
    settings = report.settings
    names = list(dict.fromkeys(program.model for program, _ in own + others))
    over = f"over {len(names)} models" if len(names) > 1 else "".join(names)
    conditions = f"{count(settings.threads[0], 'thread')}, behind {settings.contexts[0]} tokens"
    where = f"On {report.device.cpu}, {conditions}, {over}"
    sentences = _beside_4bit(report, own, where)
    sentences += _beside_others(report, others, "" if sentences else where)
    if not sentences:
        sentences = ["Our own 4 bits were not measured beside another program, so no speed-up can be told."]
    return [*sentences, *_qualities(report), *_weights(report)]


def _beside_4bit(report: Report, pairs: Pairs, where: str) -> list[str]:
    clauses: list[str] = []
    for label, group in _groups(pairs, lambda pair: pair[0].label).items():
        if found := _decode_ratios(report, group):
            sizes = least_most(figures.size_ratio(program, base) for program, base in group)
            words = ("", "with", "the") if clauses else ("decodes ", "as fast as our 4 bits with", "their")
            clauses.append(f"{label} {words[0]}{least_most(found)} {words[1]} {sizes} of {words[2]} bytes")
    return [f"{where}, {'; '.join(clauses)}."] if clauses else []


def _beside_others(report: Report, pairs: Pairs, where: str) -> list[str]:
    """Our 4 bits beside the fastest of the others: that over which they gain the least."""
    groups = _groups(pairs, lambda pair: pair[1].label)
    known = {label: ratios for label, group in groups.items() if (ratios := _decode_ratios(report, group))}
    if not known:
        return []
    label = min(known, key=lambda each: min(known[each]))
    fastest = ", the fastest of the others" if len(known) > 1 else ""
    whose = f"{where}, our" if where else "Our"
    return [f"{whose} 4 bits decode {least_most(known[label])} as fast as {label}{fastest}."]


def _qualities(report: Report) -> list[str]:
    sentences = []
    for group in figures.comparable_qualities(report.programs):
        each = [f"{p.label} {p.quality.perplexity:.2f}" for p in group if p.quality and p.is_own]
        sentences += [f"Perplexity of {group[0].model}: {', '.join(each)}."] if each else []
    return sentences


def _weights(report: Report) -> list[str]:
    models = figures.by_model(report)
    groups = _groups(models, lambda model: weights_words(models[model]))
    note = ", which give a program its speed and size but no quality"
    return [
        f"{'All models have' if len(groups) == 1 and len(names) > 1 else listed(names) + ':'} "
        f"{words}{note * (words == 'random weights')}."
        for words, names in groups.items()
    ]


def _groups(values: Iterable, key: Callable) -> dict[str, list]:
    """Values by their key, in order."""
    groups: dict[str, list] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _decode_ratios(report: Report, pairs: Pairs) -> list[float]:
    """Decoding speed-ups at the headline, where both speeds are known."""
    metric, threads = figures.decode(report.settings.contexts[0]), report.settings.threads[0]
    ratios = [figures.speed_up(program, base, threads, metric) for program, base in pairs]
    return [ratio.median for ratio in ratios if ratio]
