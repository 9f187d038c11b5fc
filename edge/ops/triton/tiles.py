"""Choose tiles by shape. The table is a guess until someone measures on a GPU: ``benchmark --tune``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.ops.triton.layout import LANES, PLANES, chunk_columns, padded_columns

#: Programs per multiprocessor that a product of few tokens is split into.
_PROGRAMS_EACH = 2
_MOST_SPLIT_TOKENS = 64
_MOST_SPLITS = 16


@dataclass(frozen=True)
class Tiles:
    """The share of a product that a program computes, and how.

    Attributes:
        tokens, rows: of the outputs.
        chunks: of columns, in one step.
        splits: programs that share the columns of the same outputs.
        warps, stages: of Triton: threads / 32, and steps that are loaded ahead.
    """

    tokens: int
    rows: int
    chunks: int
    splits: int = 1
    warps: int = 4
    stages: int = 3


#: By the most tokens that they are for. Decode: few tokens, long steps, columns split. Then prefill.
TABLE = (
    (8, Tiles(8, 64, 2, stages=4)),
    (16, Tiles(16, 64, 2, stages=4)),
    (32, Tiles(32, 64, 2)),
    (64, Tiles(64, 64, 1)),
    (1 << 31, Tiles(128, 128, 1, warps=8)),
)


def choose_tiles(
    m: int, n: int, k: int, bits: int, group_size: int | None, processors: int, shared_bytes: int
) -> Tiles:
    """Choose tiles for m tokens and a weight [n, k].

    Args:
        processors: multiprocessors of the GPU.
        shared_bytes: shared memory that a program may use.
    """
    tiles = next(tiles for most, tiles in TABLE if m <= most)
    tiles = replace(tiles, chunks=min(tiles.chunks, most_chunks(bits, group_size)))
    if group_size is not None:
        tiles = replace(tiles, tokens=min(tiles.tokens, 64))  # two sums of each output fill the registers
    while loaded_bytes(tiles, bits) > shared_bytes:
        tiles = _smaller(tiles)
    if m > _MOST_SPLIT_TOKENS:
        return tiles
    programs = -(-m // tiles.tokens) * -(-n // tiles.rows)
    wanted = -(-_PROGRAMS_EACH * processors // programs)
    return replace(tiles, splits=max(1, min(wanted, steps_of(k, bits, tiles.chunks), _MOST_SPLITS)))


def loaded_bytes(tiles: Tiles, bits: int) -> int:
    """Count the bytes of shared memory that steps loaded ahead take, at most: activations and words."""
    columns = tiles.chunks * chunk_columns(PLANES[bits][0])
    words = 2 * tiles.rows * LANES * tiles.chunks * len(PLANES[bits])
    return tiles.stages * (2 * columns * tiles.tokens + words)


def _smaller(tiles: Tiles) -> Tiles:
    """Take less shared memory: load fewer steps ahead, then make them shorter, then take fewer tokens."""
    if tiles.stages > 2:
        return replace(tiles, stages=tiles.stages - 1)
    if tiles.chunks > 1:
        return replace(tiles, chunks=tiles.chunks // 2)
    if tiles.tokens == TABLE[0][1].tokens:
        raise ValueError("this GPU has too little shared memory for the kernels")
    return replace(tiles, tokens=tiles.tokens // 2)


def most_chunks(bits: int, group_size: int | None) -> int:
    """Count the chunks that a step may have so that their sums share a scale; 4 without groups."""
    return 4 if group_size is None else max(1, group_size // chunk_columns(PLANES[bits][0]))


def steps_of(k: int, bits: int, chunks: int) -> int:
    """Count the steps of a row."""
    return -(-padded_columns(k, bits) // (chunks * chunk_columns(PLANES[bits][0])))


def is_whole(k: int, bits: int, chunks: int) -> bool:
    """Tell whether rows of k columns are whole steps, without padding."""
    return k % (chunks * chunk_columns(PLANES[bits][0])) == 0 and k == padded_columns(k, bits)
