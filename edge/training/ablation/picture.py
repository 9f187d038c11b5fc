"""Draw an ablation's results."""

from __future__ import annotations

import math
import statistics

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from edge.training.ablation.results import Results, references_of, widths_of
from edge.training.ablation.variants import VARIANTS


def picture(results: Results) -> Figure:
    """Plot held-out perplexity by bits and variant, full precision as dashed lines.

    Variants that are only rounded may lie far above the rest. The picture ends half a nat above the worst
    trained one, and names those beyond.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    widths, references, ceiling = widths_of(results)[::-1], references_of(results), _ceiling(results)
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
    """Return the perplexity half a nat above the worst trained variant; infinity if there is none."""
    trained = [v.name for v in VARIANTS if v.is_trained]
    losses = [loss for bits in widths_of(results) for name in trained for loss in results.losses(bits, name)]
    references = [reference.loss for reference in references_of(results)]
    return math.exp(max(losses + references) + 0.5) if losses else math.inf
