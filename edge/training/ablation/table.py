"""What was found, as tables and as a picture."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from edge.formats import FULL_PRECISION
from edge.training.ablation.results import CONTINUED, FULL, Results
from edge.training.ablation.variants import VARIANTS

TABLE, PICTURE = "table.md", "table.png"
NONE = "-"


class Reference(NamedTuple):
    """A full-precision model to hold others against: its loss in nats per token, and how it was rounded."""

    words: str
    loss: float
    rounded: str


def write_tables(results: Results, directory: Path) -> None:
    """``table.md`` and ``table.png``, each whole or not at all."""
    partial = directory / (TABLE + ".partial")
    partial.write_text(markdown(results))
    os.replace(partial, directory / TABLE)
    partial = directory / (PICTURE + ".partial")
    picture(results).savefig(partial, format="png", dpi=144)
    os.replace(partial, directory / PICTURE)


def markdown(results: Results) -> str:
    """Held-out perplexities, a line per bit width; what of RTN's loss came back; what is missing."""
    names = [v.name for v in VARIANTS if any(r.variant == v.name for r in results.found)]
    references = _references(results)
    said = "; ".join(f"{r.words} {math.exp(r.loss):.3f}" for r in references)
    lines = [f"Held-out perplexity. In full precision: {said}.", ""]
    lines += _table(results, names, lambda bits, name: _perplexity(results.losses(bits, name)))
    trained = [v.name for v in VARIANTS if v.is_trained and v.name in names]
    which = f" (against full precision {' / '.join(r.words for r in references)})"
    if trained and any(results.losses(b, r.rounded) for b in _widths(results) for r in references):
        lines += ["", f"Share of the log-perplexity that rounding loses which training wins back{which}:", ""]
        lines += _table(results, trained, lambda bits, name: _won_back(results, bits, name, references))
    if trained:
        lines += ["", f"Nats per token that stay missing{which}:", ""]
        lines += _table(results, trained, lambda bits, name: _missing(results, bits, name, references))
    if any(results.moves(bits, name) for bits in _widths(results) for name in trained):
        unrounded = _moved(results.moves(FULL_PRECISION.bits, CONTINUED))
        moved = f"Weights moved, |W - W0| / |W0| from full precision (itself trained on: {unrounded}):"
        lines += ["", moved, ""]
        lines += _table(results, trained, lambda bits, name: _moved(results.moves(bits, name)))
    lines += ["", *_notes(results, names)]
    return "\n".join(lines) + "\n"


def _references(results: Results) -> list[Reference]:
    kinds = (("as it was", FULL, "RTN"), ("trained on for as many steps", CONTINUED, "RTN of trained on"))
    losses = ((words, results.losses(FULL_PRECISION.bits, name), rounded) for words, name, rounded in kinds)
    return [Reference(words, statistics.mean(found), rounded) for words, found, rounded in losses if found]


def _widths(results: Results) -> list[float]:
    return sorted({r.bits for r in results.found if r.bits != FULL_PRECISION.bits}, reverse=True)


def _table(results: Results, names: list[str], cell: Callable[[float, str], str]) -> Iterator[str]:
    yield f"| bits | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for bits in _widths(results):
        yield f"| {bits:g} | {' | '.join(cell(bits, name) for name in names)} |"


def _perplexity(losses: list[float]) -> str:
    if not losses:
        return NONE
    mean, low, high = (math.exp(loss) for loss in (statistics.mean(losses), min(losses), max(losses)))
    return f"{mean:.3f}" if len(losses) == 1 else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _won_back(results: Results, bits: float, name: str, references: list[Reference]) -> str:
    losses = results.losses(bits, name)
    if not losses:
        return NONE
    loss = statistics.mean(losses)
    return " / ".join(_share(results.losses(bits, r.rounded), r.loss, loss) for r in references)


def _share(rounded: list[float], full: float, trained: float) -> str:
    if not rounded or rounded[0] <= full:
        return NONE
    return f"{(rounded[0] - trained) / (rounded[0] - full):.1%}"


def _moved(found: list[float]) -> str:
    return f"{statistics.mean(found):.1%}" if found else NONE


def _missing(results: Results, bits: float, name: str, references: list[Reference]) -> str:
    losses = results.losses(bits, name)
    if not losses:
        return NONE
    return " / ".join(f"{statistics.mean(losses) - reference.loss:+.3f}" for reference in references)


def _notes(results: Results, names: list[str]) -> Iterator[str]:
    for variant in VARIANTS:
        if variant.name in names:
            yield f"- {variant.name}: {variant.words}."
    seeds = len({r.seed for r in results.found})
    if seeds > 1:
        yield f"- Geometric mean over {seeds} seeds of the order of the data, and in brackets the range."
    yield f"- {'; '.join(f'{name} {_short(value)}' for name, value in results.settings.items())}."
    for result in results.found:
        if result.failure:
            yield f"- {result.bits:g} bits, {result.variant}, seed {result.seed}: {result.failure}."


def _short(value: object) -> str:
    """Without the folders that lead to files."""
    return " ".join("/".join(Path(word).parts[-2:]) for word in str(value).split())


def picture(results: Results) -> Figure:
    """Held-out perplexity by bits and variant; full precision as dashed lines.

    What was only rounded may lie far above the rest: the picture ends half a nat above the worst of that, and
    says what is beyond.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    widths, references, ceiling = _widths(results)[::-1], _references(results), _ceiling(results)
    beyond: dict[int, list[str]] = {}
    for variant, marker in zip(VARIANTS, "oxs^hDv", strict=True):
        means = {i: results.losses(bits, variant.name) for i, bits in enumerate(widths)}
        points = {i: math.exp(statistics.mean(losses)) for i, losses in means.items() if losses}
        if points:
            axes.plot(*zip(*points.items(), strict=True), marker=marker, mfc="none", label=variant.name)
        for place, value in points.items():
            if value > ceiling:
                beyond.setdefault(place, []).append(f"{variant.name} {value:,.0f} \u2191")
    for place, said in beyond.items():
        side = "right" if place == len(widths) - 1 else "left"
        axes.annotate(
            "\n".join(said), (place, ceiling), (0, -4), textcoords="offset points",
            ha=side, va="top", fontsize="small",
        )  # fmt: skip
    for reference, style in zip(references, ("--", ":"), strict=False):
        words = f"full precision {reference.words}"
        axes.axhline(math.exp(reference.loss), color="black", linestyle=style, label=words)
    axes.set_xticks(range(len(widths)), [f"{b:g}" for b in widths])
    axes.set_xlabel("bits")
    axes.set_ylabel("held-out perplexity")
    axes.set_yscale("log")
    if beyond:
        axes.set_ylim(top=ceiling)
    axes.yaxis.set_major_locator(MaxNLocator() if beyond else LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", linewidth=0.3)
    if results.found:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _ceiling(results: Results) -> float:
    """The perplexity half a nat above the worst of what was trained; endless where nothing was."""
    trained = [v.name for v in VARIANTS if v.is_trained]
    losses = [loss for bits in _widths(results) for name in trained for loss in results.losses(bits, name)]
    references = [reference.loss for reference in _references(results)]
    return math.exp(max(losses + references) + 0.5) if losses else math.inf
