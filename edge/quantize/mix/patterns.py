"""Give each layer a width without measuring anything: the paper's four patterns (arXiv 2502.06786)."""

from __future__ import annotations

from collections.abc import Callable

#: Widths from few bits to many.
_STEPS = (2, 4, 8)


def pyramid(layers: int) -> list[int]:
    """Give few bits to both ends and most to the centre."""
    return [_step(1 - abs(2 * place - 1)) for place in _places(layers)]


def reverse_pyramid(layers: int) -> list[int]:
    """Give most bits to both ends and few to the centre."""
    return [_step(abs(2 * place - 1)) for place in _places(layers)]


def increasing(layers: int) -> list[int]:
    """Give few bits to the first layers and most to the last."""
    return [_step(place) for place in _places(layers)]


def decreasing(layers: int) -> list[int]:
    """Give most bits to the first layers and few to the last."""
    return increasing(layers)[::-1]


PATTERNS: dict[str, Callable[[int], list[int]]] = {
    "pyramid": pyramid,
    "reverse-pyramid": reverse_pyramid,
    "increasing": increasing,
    "decreasing": decreasing,
}


def _places(layers: int) -> list[float]:
    """List where each layer lies between 0, the first, and 1, the last."""
    return [layer / max(layers - 1, 1) for layer in range(layers)]


def _step(height: float) -> int:
    """Choose a width for a height from 0 to 1: a third of the heights each."""
    return _STEPS[min(int(height * len(_STEPS) + 1e-9), len(_STEPS) - 1)]
