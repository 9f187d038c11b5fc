"""Format values for messages."""

from __future__ import annotations

from collections.abc import Iterable


def first_of(names: Iterable[str], count: int = 3) -> str:
    """List the first few names in order, and say how many more there are."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - count} more" if len(ordered) > count else ""
    return ", ".join(ordered[:count]) + rest
