"""Elastic programs in Python, which the app must equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.runtime.load import Program

#: A width, or one for each layer, and the number of tokens that are computed at it.
Run = tuple[int | Sequence[int], int]


def ids_at(folder: Path, prompt: Sequence[int], runs: Iterable[Run]) -> list[int]:
    """Generate greedily behind a prompt in an empty KV cache, at these widths one after the other."""
    program, fed, ids = Program(folder / "model.pte"), list(prompt), []
    position = 0
    for bits, count in runs:
        program.set_width(bits)
        for _ in range(count):
            logits = program.forward(fed, position)
            position += len(fed)
            fed = [int(logits.argmax())]
            ids += fed
    return ids
