"""What was found, as JSON that a later call goes on from, as tables, and as a picture."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from edge.formats import FULL_PRECISION
from edge.training.ablation.variants import VARIANTS

RESULTS, TABLE, PICTURE = "results.json", "table.md", "table.png"
#: The full-precision model itself, and the same trained on for the low-bit runs' share.
FULL, CONTINUED = "full precision", "trained on"
NONE = "-"


@dataclass(frozen=True)
class Result:
    """One model: held-out perplexity, or why there is none."""

    bits: float
    variant: str
    seed: int
    steps: int
    perplexity: float | None
    failure: str | None = None


@dataclass
class Results:
    """Everything that one directory of runs found.

    Attributes:
        settings: what all runs have in common; results of others are never mixed in.
    """

    settings: dict[str, Any]
    found: list[Result] = field(default_factory=list)

    def losses(self, bits: float, variant: str) -> list[float]:
        """Held-out loss in nats per token, one per seed."""
        rows = (r for r in self.found if (r.bits, r.variant) == (bits, variant))
        return [math.log(r.perplexity) for r in rows if r.perplexity is not None]

    def has(self, bits: float, variant: str, seed: int) -> bool:
        """Whether it was measured; what failed is tried again."""
        return any((r.bits, r.variant, r.seed) == (bits, variant, seed) for r in self.found if not r.failure)

    def add(self, result: Result) -> None:
        key = (result.bits, result.variant, result.seed)
        self.found = [r for r in self.found if (r.bits, r.variant, r.seed) != key] + [result]


def read_results(directory: Path, settings: dict[str, Any]) -> Results:
    """What a directory holds already; ValueError where that is of other settings."""
    path = directory / RESULTS
    if not path.is_file():
        return Results(settings)
    try:
        held = json.loads(path.read_text())
        found = [Result(**result) for result in held["results"]]
        before = held["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged; remove it, finished runs are measured again") from error
    for name in sorted(before.keys() | settings.keys()):
        if before.get(name) != settings.get(name):
            raise ValueError(
                f"{directory} was begun with {name} {before.get(name)}, not {settings.get(name)}; "
                "give the same again, or another --output"
            )
    return Results(settings, found)


def write_results(results: Results, directory: Path) -> None:
    """``results.json``, ``table.md`` and ``table.png``, each whole or not at all."""
    held = {"settings": results.settings, "results": [asdict(result) for result in results.found]}
    _write(directory / RESULTS, (json.dumps(held, indent=2) + "\n").encode())
    _write(directory / TABLE, markdown(results).encode())
    partial = directory / (PICTURE + ".partial")
    picture(results).savefig(partial, format="png", dpi=144)
    os.replace(partial, directory / PICTURE)


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def markdown(results: Results) -> str:
    """Held-out perplexities, a line per bit width; then how much of what rounding lost came back."""
    names = [v.name for v in VARIANTS if any(r.variant == v.name for r in results.found)]
    (full,) = results.losses(FULL_PRECISION.bits, FULL) or [math.nan]
    lines = [f"Held-out perplexity; full precision {math.exp(full):.3f}{_continued(results)}.", ""]
    lines += _table(results, names, _perplexity)
    trained = [v.name for v in VARIANTS if v.is_trained and v.name in names]
    if trained:
        lines += ["", "Share of the log-perplexity that RTN loses which training wins back:", ""]
        lines += _table(results, trained, lambda r, b, n: _recovered(r, b, n, full))
    lines += ["", *_notes(results, names)]
    return "\n".join(lines) + "\n"


def _table(results: Results, names: list[str], cell: Any) -> Iterator[str]:
    yield f"| bits | {' | '.join(names)} |"
    yield "|---" * (len(names) + 1) + "|"
    for bits in sorted({r.bits for r in results.found if r.bits != FULL_PRECISION.bits}, reverse=True):
        yield f"| {bits:g} | {' | '.join(cell(results, bits, name) for name in names)} |"


def _perplexity(results: Results, bits: float, name: str) -> str:
    losses = results.losses(bits, name)
    if not losses:
        return NONE
    text = f"{math.exp(statistics.mean(losses)):.3f}"
    return (
        text if len(losses) == 1 else f"{text} ({math.exp(min(losses)):.3f} to {math.exp(max(losses)):.3f})"
    )


def _recovered(results: Results, bits: float, name: str, full: float) -> str:
    rounded, losses = results.losses(bits, "RTN"), results.losses(bits, name)
    if not rounded or not losses:
        return NONE
    return f"{(rounded[0] - statistics.mean(losses)) / (rounded[0] - full):.1%}"


def _continued(results: Results) -> str:
    losses = results.losses(FULL_PRECISION.bits, CONTINUED)
    return f", trained on as long as the low bits {math.exp(statistics.mean(losses)):.3f}" if losses else ""


def _notes(results: Results, names: list[str]) -> Iterator[str]:
    for variant in VARIANTS:
        if variant.name in names:
            yield f"- {variant.name}: {variant.words}."
    seeds = len({r.seed for r in results.found})
    if seeds > 1:
        yield f"- Geometric mean over {seeds} seeds of the order of the data, and in brackets the range."
    yield f"- {'; '.join(f'{name} {value}' for name, value in results.settings.items())}."
    for result in results.found:
        if result.failure:
            yield f"- {result.bits:g} bits, {result.variant}, seed {result.seed}: {result.failure}."


def picture(results: Results) -> Figure:
    """Nats per token above full precision, by bits and variant."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    widths = sorted({r.bits for r in results.found if r.bits != FULL_PRECISION.bits})
    (full,) = results.losses(FULL_PRECISION.bits, FULL) or [math.nan]
    for variant, marker in zip(VARIANTS, "ox^sDv", strict=True):
        known = [b for b in widths if results.losses(b, variant.name)]
        above = [statistics.mean(results.losses(b, variant.name)) - full for b in known]
        if known:
            axes.plot([widths.index(b) for b in known], above, marker=marker, label=variant.name)
    axes.set_xticks(range(len(widths)), [f"{b:g}" for b in widths])
    axes.set_xlabel("bits")
    axes.set_ylabel("nats per token above full precision")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.grid(axis="y", linewidth=0.3)
    if any(results.losses(bits, variant.name) for bits in widths for variant in VARIANTS):
        axes.legend(frameon=False)
    return figure
