"""Encodings (how codes lie in bytes), grids (what a code means) and quantised weights."""

from edge.formats.grid import (
    ALL_BITS,
    BITS_CHOICES,
    BY_NAME,
    EMBEDDING_BITS_CHOICES,
    FULL_PRECISION,
    GRIDS,
    LINEAR_GRIDS,
    SYMMETRIC,
    Grid,
    grid_for_bits,
)

__all__ = [
    "ALL_BITS",
    "BITS_CHOICES",
    "BY_NAME",
    "EMBEDDING_BITS_CHOICES",
    "FULL_PRECISION",
    "GRIDS",
    "LINEAR_GRIDS",
    "SYMMETRIC",
    "Grid",
    "grid_for_bits",
]
