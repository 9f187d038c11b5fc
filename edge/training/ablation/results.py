"""What was found, kept as JSON that a later call goes on from."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = "results.json"
#: The full-precision model itself, and the same trained on for the low-bit runs' share.
FULL, CONTINUED = "full precision", "trained on"


@dataclass(frozen=True)
class Result:
    """One model: held-out perplexity, or why there is none.

    Attributes:
        moved: |W - W0| / |W0| in L1 norms over the weights (before rounding) of all quantised linears, in
            full precision of those that could be, W0 of the full-precision model; None where there is no
            such start or only rounded weights are known.
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

    def moves(self, bits: float, variant: str) -> list[float]:
        """How far training moved the weights, one per seed."""
        rows = (r for r in self.found if (r.bits, r.variant) == (bits, variant))
        return [r.moved for r in rows if r.moved is not None]

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
    """``results.json``, whole or not at all."""
    held = {"settings": results.settings, "results": [asdict(result) for result in results.found]}
    partial = directory / (RESULTS + ".partial")
    partial.write_text(json.dumps(held, indent=2) + "\n")
    os.replace(partial, directory / RESULTS)
