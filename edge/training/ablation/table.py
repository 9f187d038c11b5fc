"""Write an ablation's results as Markdown tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from edge.files import staged_file, write_text
from edge.formats import FULL_PRECISION
from edge.training.ablation.picture import picture
from edge.training.ablation.results import CONTINUED, Reference, Results, references_of, widths_of
from edge.training.ablation.variants import VARIANTS

TABLE, PICTURE = "table.md", "table.png"
NONE = "-"


def write_tables(results: Results, directory: Path) -> None:
    """Write ``table.md`` and ``table.png``, each atomically."""
    write_text(directory / TABLE, markdown(results))
    with staged_file(directory / PICTURE) as staged:
        picture(results).savefig(staged, format="png", dpi=144)


def markdown(results: Results) -> str:
    """Return tables, a row per bit width: perplexity, share of RTN's loss won back, nats still missing."""
    names = [v.name for v in VARIANTS if any(r.variant == v.name for r in results.found)]
    references = references_of(results)
    said = "; ".join(f"{r.words} {math.exp(r.loss):.3f}" for r in references)
    lines = [f"Held-out perplexity. In full precision: {said}.", ""]
    lines += _table(results, names, lambda bits, name: _perplexity(results.losses(bits, name)))
    trained = [v.name for v in VARIANTS if v.is_trained and v.name in names]
    which = f" (against full precision {' / '.join(r.words for r in references)})"
    if trained and any(results.losses(b, r.rounded) for b in widths_of(results) for r in references):
        lines += ["", f"Share of the log-perplexity that rounding loses which training wins back{which}:", ""]
        lines += _table(results, trained, lambda bits, name: _won_back(results, bits, name, references))
    if trained:
        lines += ["", f"Nats per token that stay missing{which}:", ""]
        lines += _table(results, trained, lambda bits, name: _missing(results, bits, name, references))
    if any(results.moves(bits, name) for bits in widths_of(results) for name in trained):
        unrounded = _moved(results.moves(FULL_PRECISION.bits, CONTINUED))
        moved = f"Weights moved, |W - W0| / |W0| from full precision (itself trained on: {unrounded}):"
        lines += ["", moved, ""]
        lines += _table(results, trained, lambda bits, name: _moved(results.moves(bits, name)))
    lines += ["", *_notes(results, names)]
    return "\n".join(lines) + "\n"


def _table(results: Results, names: list[str], cell: Callable[[float, str], str]) -> Iterator[str]:
    yield f"| bits | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for bits in widths_of(results):
        yield f"| {bits:g} | {' | '.join(cell(bits, name) for name in names)} |"


def _perplexity(losses: list[float]) -> str:
    if not losses:
        return NONE
    mean, low, high = (math.exp(loss) for loss in (statistics.mean(losses), min(losses), max(losses)))
    return f"{mean:.3f}" if len(losses) == 1 else f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _won_back(results: Results, bits: float, name: str, references: list[Reference]) -> str:
    losses = results.losses(bits, name)
    shares = (_share(results.losses(bits, r.rounded), r.loss, statistics.mean(losses)) for r in references)
    return " / ".join(shares) if losses else NONE


def _share(rounded: list[float], full: float, trained: float) -> str:
    if not rounded or rounded[0] <= full:
        return NONE
    return f"{(rounded[0] - trained) / (rounded[0] - full):.1%}"


def _moved(found: list[float]) -> str:
    return f"{statistics.mean(found):.1%}" if found else NONE


def _missing(results: Results, bits: float, name: str, references: list[Reference]) -> str:
    losses = results.losses(bits, name)
    missing = (f"{statistics.mean(losses) - reference.loss:+.3f}" for reference in references)
    return " / ".join(missing) if losses else NONE


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
    """Shorten paths to their last folder and name."""
    return " ".join("/".join(Path(word).parts[-2:]) for word in str(value).split())
