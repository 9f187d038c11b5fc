"""Measure how often a law's intervals hold the constants that records were made by.

Records are made by each law, with noise and constants that the fit does not know. Intervals that hold 9 of 10
should hold their constant in 9 of 10 sets of records.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.cli import flag, main_guard, parse_flags
from edge.scaling.fit.data import ways_of
from edge.scaling.fit.fit import fit
from edge.scaling.laws import LAWS, Law
from runtime_tests.scaling.synthetic import made_by, true_constants


@dataclass(frozen=True)
class CoverageFlags:
    """Flags of ``python -m runtime_tests.scaling.coverage``."""

    law: str = flag("laws, with commas", default="full,post,onset,each,precision,ours")
    seeds: int = flag("sets of records of each law", default=32)
    noise: float = flag("standard deviation of the records' logarithm", default=0.002)
    starts: int = flag("random starts of each search", default=8)
    bootstrap: int = flag("resamplings for intervals", default=100)


def coverage(law: Law, flags: CoverageFlags) -> dict[str, float]:
    """Compute the share of intervals, over all seeds, that hold each constant."""
    true = true_constants(law)
    held: dict[str, list[bool]] = {}
    for seed in track(range(flags.seeds), law.name, transient=True):
        records = made_by(law, true, flags.noise, seed)
        found = fit(law, records, flags.starts, flags.bootstrap, ways_of(law, records)[0], seed)
        for name, interval in found.constants.items():
            held.setdefault(name, []).append(interval.low <= true[name] <= interval.high)
    return {name: float(np.mean(values)) for name, values in held.items()}


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(CoverageFlags, argv, "runtime_tests.scaling.coverage", str(__doc__))
    table = Table("law", "constants", "held", "least held")
    for name in flags.law.split(","):
        shares = coverage(LAWS[name], flags)
        worst = min(shares, key=lambda one: shares[one])
        mean = float(np.mean(list(shares.values())))
        table.add_row(name, str(len(shares)), f"{mean:.2f}", f"{worst} {shares[worst]:.2f}")
    Console(soft_wrap=True).print(table)
    return 0


if __name__ == "__main__":
    main_guard(main)
