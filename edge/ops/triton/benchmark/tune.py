"""Search tiles for a shape: time many, and say which is best."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from edge.ops.triton.benchmark.clock import Clock
from edge.ops.triton.launch import launch, limits
from edge.ops.triton.tiles import Tiles, choose_tiles, loaded_bytes, most_chunks, steps_of
from edge.ops.triton.weight import GpuWeight

_ROUNDS = 7


def tuned(weight: GpuWeight, x: Tensor, clock: Clock) -> list[tuple[float, Tiles]]:
    """Time tiles for x [m, k] float16 or bfloat16; microseconds, the best first, then those of the table.

    Tiles that give another result than the table's, or that Triton refuses, are left out.
    """
    processors, shared_bytes = limits(x.device)
    m, group = x.shape[0], weight.group_size
    usual = choose_tiles(m, weight.n, weight.k, weight.bits, group, processors, shared_bytes)
    wanted = _run(weight, x, usual)
    timed = []
    for tiles in _candidates(usual.tokens, weight, shared_bytes):
        try:
            close = torch.allclose(
                _run(weight, x, tiles), wanted, rtol=0.01, atol=0.01 * float(wanted.abs().max())
            )
            if close:
                timed.append((_median(weight, x, tiles, clock), tiles))
        except (RuntimeError, ValueError):  # too many registers, or too much shared memory
            continue
    timed.sort(key=lambda entry: entry[0])
    return [timed[0], (_median(weight, x, usual, clock), usual)]


def _candidates(tokens: int, weight: GpuWeight, shared_bytes: int) -> Iterator[Tiles]:
    chunk_counts = [c for c in (1, 2, 4) if c <= most_chunks(weight.bits, weight.group_size)]
    for rows, chunks, splits, warps, stages in product(
        (16, 32, 64, 128), chunk_counts, (1, 2, 4, 8, 16), (2, 4, 8), (2, 3, 4, 5)
    ):
        tiles = Tiles(tokens, rows, chunks, splits, warps, stages)
        fits = loaded_bytes(tiles, weight.bits) <= shared_bytes
        if fits and splits <= steps_of(weight.k, weight.bits, chunks):
            yield tiles


def _run(weight: GpuWeight, x: Tensor, tiles: Tiles) -> Tensor:
    assert not isinstance(weight.zero, Tensor)
    group = weight.group_size or 0
    parts = (weight.words, weight.scale, None, weight.zero, weight.k, weight.bits, group)
    return launch(x, None, *parts, x.dtype, tiles)


def _median(weight: GpuWeight, x: Tensor, tiles: Tiles, clock: Clock) -> float:
    replay = clock.captured(lambda: _run(weight, x, tiles))
    return sorted(clock.microseconds(replay) for _ in range(_ROUNDS))[_ROUNDS // 2]
