"""Results of an ablation, kept as JSON so that a later call continues."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from edge.files import write_text
from edge.formats import FULL_PRECISION

RESULTS = "results.json"
#: The full-precision model, and the same trained further with the low-bit runs' budget.
FULL, CONTINUED = "full precision", "trained on"


@dataclass(frozen=True)
class Result:
    """Held-out perplexity of one model, or why there is none.

    Attributes:
        moved: |W - W0| / |W0| in L1 norms over the weights (before rounding) of all quantised linears, W0
            those of the full-precision model; None without such a start or without weights before rounding.
    """

    bits: float
    variant: str
    seed: int
    steps: int
    perplexity: float | None
    failure: str | None = None
    moved: float | None = None


@dataclass
class Results:
    """All results in one directory.

    Attributes:
        settings: common to all runs; results of other settings are never mixed in.
    """

    settings: dict[str, Any]
    found: list[Result] = field(default_factory=list)

    def losses(self, bits: float, variant: str) -> list[float]:
        """Return the held-out losses in nats per token, one per seed."""
        rows = (r for r in self.found if (r.bits, r.variant) == (bits, variant))
        return [math.log(r.perplexity) for r in rows if r.perplexity is not None]

    def has(self, bits: float, variant: str, seed: int) -> bool:
        """Tell whether it was measured; failures are tried again."""
        return any((r.bits, r.variant, r.seed) == (bits, variant, seed) for r in self.found if not r.failure)

    def moves(self, bits: float, variant: str) -> list[float]:
        """Return how far training moved the weights, one per seed."""
        rows = (r for r in self.found if (r.bits, r.variant) == (bits, variant))
        return [r.moved for r in rows if r.moved is not None]

    def add(self, result: Result) -> None:
        """Add a result, in place of an earlier one of the same model."""
        key = (result.bits, result.variant, result.seed)
        self.found = [r for r in self.found if (r.bits, r.variant, r.seed) != key] + [result]


class Reference(NamedTuple):
    """A full-precision model to compare with: its name, loss (nats per token), and variant when rounded."""

    words: str
    loss: float
    rounded: str


def references_of(results: Results) -> list[Reference]:
    """Return the full-precision models that were measured."""
    kinds = (("as it was", FULL, "RTN"), ("trained on for as many steps", CONTINUED, "RTN of trained on"))
    losses = ((words, results.losses(FULL_PRECISION.bits, name), rounded) for words, name, rounded in kinds)
    return [Reference(words, statistics.mean(found), rounded) for words, found, rounded in losses if found]


def widths_of(results: Results) -> list[float]:
    """Return the low bit widths, highest first."""
    return sorted({r.bits for r in results.found if r.bits != FULL_PRECISION.bits}, reverse=True)


def read_results(directory: Path, settings: dict[str, Any]) -> Results:
    """Read a directory's results.

    Raises:
        ValueError: they are damaged, or of other settings.
    """
    path = directory / RESULTS
    if not path.is_file():
        return Results(settings)
    try:
        held = json.loads(path.read_text())
        found = [Result(**result) for result in held["results"]]
        before = dict(held["settings"].items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged; remove it, finished runs are measured again") from error
    for name in sorted(before.keys() | settings.keys()):
        if before.get(name) != settings.get(name):
            raise ValueError(
                f"{directory} was begun with {name} {before.get(name)}, not {settings.get(name)}; "
                "give the same again, or another --output"
            )
    return Results(settings, found)


def write_results(results: Results, directory: Path) -> None:
    """Write ``results.json`` atomically."""
    held = {"settings": results.settings, "results": [asdict(result) for result in results.found]}
    write_text(directory / RESULTS, json.dumps(held, indent=2) + "\n")
