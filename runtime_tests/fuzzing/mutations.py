"""Mutate JSON values and bytes, the same way for the same dice."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

#: Values that readers break at: limits of integers and floats, other types, names of paths, markup.
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 255, 2**15, 2**24, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, -(2**63),
    2**70, 0.0, -0.0, 0.5, 1e-320, 1e39, 1e308, math.nan, math.inf, -math.inf, "", " ", "0", "1e5", "a" * 300,
    "\0", "\n", "\ud800", "é", "../x", "/", "..", "<script>fuzz</script>", "</style>", "{{ 1 }}", "%s", [],
    {}, [[]], [0], [None], {"": 0}, {"a": {"a": {}}},
)  # fmt: skip


def mutated_json(value: Any, dice: random.Random) -> Any:
    """Return a copy of a JSON value with one to three changes."""
    changed = copy.deepcopy(value)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        places = list(_places(changed))
        if not places:
            break
        parent, key = dice.choice(places)
        change = dice.random()
        if change < 0.5:
            parent[key] = copy.deepcopy(dice.choice(ODD))
        elif change < 0.65:
            parent[key] = _near(parent[key], dice)
        elif change < 0.75:
            other, name = dice.choice(places)
            parent[key] = copy.deepcopy(other[name])
        elif change < 0.85:
            del parent[key]
        elif change < 0.95 and isinstance(parent, dict):
            parent[dice.choice((f"{key}x", "", "é", key.upper(), "__class__"))] = parent[key]
        else:
            parent[key] = dice.choice(([parent[key]], {"a": parent[key]}))
    return changed


def mutated_bytes(data: bytes, dice: random.Random) -> bytes:
    """Return a copy of some bytes: bits flipped, cut, a piece twice, overwritten or inserted."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(changed) + 1)
        length = dice.choice((1, 2, 4, 8, dice.randrange(1, 65)))
        change = dice.randrange(5)
        if change == 0:
            del changed[at:]
        elif change == 1:
            del changed[at : at + length]
        elif change == 2:
            changed[at:at] = changed[dice.randrange(len(changed) + 1) :][:length]
        elif change == 3:
            changed[at : at + length] = dice.choice((b"\0", b"\xff", b"[", b'"', dice.randbytes(1))) * length
        elif at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value, as container and key."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _near(value: Any, dice: random.Random) -> Any:
    """Return a value of the same type that is a little different."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return dice.choice((value + 1, value - 1, -value, 2 * value, value // 2, float(value), str(value)))
    if isinstance(value, float):
        return dice.choice((-value, 2 * value, value * 1e30, int(value) if math.isfinite(value) else 0))
    if isinstance(value, str):
        at = dice.randrange(len(value) + 1)
        return dice.choice(
            (value[:at], value + "x", value[:at] + dice.choice('\0/"<\n') + value[at:], value * 2)
        )
    return value
