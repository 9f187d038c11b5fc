"""What a report answers, in sentences made of its figures."""

from __future__ import annotations

from edge.latency.report.figures import (
    by_model,
    comparable_qualities,
    complete_rounds,
    decode,
    is_own,
    measured,
    own_4bit,
    size_ratio,
    speed_up,
)
from edge.latency.schema import ProgramRecord, Report
from edge.latency.report.words import count, least_most, listed, weights_words

NO_SPEED = (
    "An emulator has no speed. It shows that the programs run and are right on this instruction set; "
    "how fast they are can only be measured on a device."
)
#: Programs of a model, and the one among them that speed-ups are over.
Pairs = list[tuple[ProgramRecord, ProgramRecord]]


def title(report: Report) -> str:
    return f"Latency on {report.device.name}, {report.started[:10]}"


def unfinished(report: Report) -> str | None:
    """What a reader must know first of a report that was cut off; None of a finished one."""
    if report.finished:
        return None
    if report.device.kind == "emulator":
        return "Unfinished: some programs have not been checked yet."
    rounds = count(report.settings.rounds, "round")
    return f"Unfinished: {complete_rounds(report)} of {rounds} exist for every program; figures may change."


def answer(report: Report) -> list[str]:
    """One short paragraph: our bit widths beside our own 4 bits, these beside the others, and the quality."""
    if report.device.kind == "emulator":
        return [NO_SPEED, *_weights(report)]
    if not measured(report.programs):
        return ["No program has been measured.", *_weights(report)]
    bases = [(programs, own_4bit(programs)) for programs in map(measured, by_model(report).values())]
    own = [(p, base) for programs, base in bases if base for p in programs if is_own(p) and p is not base]
    others = [(base, p) for programs, base in bases if base for p in programs if not is_own(p)]
    settings = report.settings
    circumstances = f"{count(settings.threads[0], 'thread')}, behind {settings.contexts[0]} tokens"
    where = f"On {report.device.cpu}, {circumstances}, {_models(own + others)}"
    sentences = _beside_4bit(report, own, where)
    sentences += _beside_others(report, others, "" if sentences else where)
    if not sentences:
        sentences = ["Our own 4 bits were not measured beside another program, so no speed-up can be told."]
    return [*sentences, *_qualities(report), *_weights(report)]


def _beside_4bit(report: Report, pairs: Pairs, where: str) -> list[str]:
    clauses: list[str] = []
    for label, group in _by_label(pairs, of=0):
        if found := _decode_ratios(report, group):
            ratios = least_most(found)
            sizes = least_most(size_ratio(program, base) for program, base in group)
            clauses.append(
                f"{label} {ratios} with {sizes} of the bytes"
                if clauses
                else f"{label} decodes {ratios} as fast as our 4 bits with {sizes} of their bytes"
            )
    return [f"{where}, {'; '.join(clauses)}."] if clauses else []


def _beside_others(report: Report, pairs: Pairs, where: str) -> list[str]:
    """Our 4 bits beside the others' fastest: that over which they gain the least."""
    groups = _by_label(pairs, of=1)
    found = [(label, _decode_ratios(report, group)) for label, group in groups]
    known = [(label, ratios) for label, ratios in found if ratios]
    if not known:
        return []
    label, ratios = min(known, key=lambda each: min(each[1]))
    fastest = ", the fastest of the others" if len(known) > 1 else ""
    whose = f"{where}, our" if where else "Our"
    return [f"{whose} 4 bits decode {least_most(ratios)} as fast as {label}{fastest}."]


def _qualities(report: Report) -> list[str]:
    sentences = []
    for group in comparable_qualities(report.programs):
        each = [f"{p.label} {p.quality.perplexity:.2f}" for p in group if p.quality and is_own(p)]
        sentences += [f"Perplexity of {group[0].model}: {', '.join(each)}."] if each else []
    return sentences


def _weights(report: Report) -> list[str]:
    groups: dict[str, list[str]] = {}
    for model, programs in by_model(report).items():
        groups.setdefault(weights_words(programs), []).append(model)
    note = ", which give a program its speed and size but no quality"
    return [
        f"{'All models have' if len(groups) == 1 and len(models) > 1 else listed(models) + ':'} "
        f"{words}{note * (words == 'random weights')}."
        for words, models in groups.items()
    ]


def _models(pairs: Pairs) -> str:
    models = list(dict.fromkeys(program.model for program, _ in pairs))
    return f"over {len(models)} models" if len(models) > 1 else "".join(models)


def _by_label(pairs: Pairs, of: int) -> list[tuple[str, Pairs]]:
    """Pairs by the label of their first or second, over all models."""
    groups: dict[str, Pairs] = {}
    for pair in pairs:
        groups.setdefault(pair[of].label, []).append(pair)
    return list(groups.items())


def _decode_ratios(report: Report, pairs: Pairs) -> list[float]:
    """Every model's at the headline, where both speeds are known."""
    metric, threads = decode(report.settings.contexts[0]), report.settings.threads[0]
    ratios = [speed_up(program, base, threads, metric) for program, base in pairs]
    return [ratio.median for ratio in ratios if ratio]
