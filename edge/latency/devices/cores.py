"""Sets of cores: parsing, printing, choosing, and the ``taskset`` command."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PART = re.compile(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*")  # four digits: more cores than any machine has


def parse_cores(text: str) -> list[int]:
    """Parse a list such as "4-7,0" into its numbers, ascending, each once.

    Raises:
        ValueError: it is no such list.
    """
    cores: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first:
            raise ValueError(f"{text!r} names no cores; write them like 4-7 or 0,2,4-7")
        cores.update(range(first, last + 1))
    return sorted(cores)


def spell_cores(cores: Sequence[int]) -> str:
    """Format cores as ``parse_cores`` reads them, neighbours joined as in "4-7"."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def chosen_cores(wanted: list[int] | None, allowed: list[int], device: str) -> list[int]:
    """Choose the wanted cores, or all that are allowed. Raises ValueError for one that is not."""
    lacking = sorted(set(wanted or []) - set(allowed))
    if lacking:
        raise ValueError(f"{device} does not offer core {spell_cores(lacking)}, only {spell_cores(allowed)}")
    return allowed if wanted is None else wanted


def on_cores(cores: list[int] | None) -> list[str]:
    """The words before a command that keep it on these cores; none for None.

    A mask in hexadecimal is what util-linux and Android's toybox both take.
    """
    return [] if cores is None else ["taskset", f"{sum(1 << core for core in cores):x}"]
