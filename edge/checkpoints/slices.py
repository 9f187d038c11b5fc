"""Slice a checkpoint of 8 bits to fewer, as MatQuant does (``edge/formats/slices.py``)."""

from __future__ import annotations

from dataclasses import replace

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.lazy import Lazy, Rows, reader_of
from edge.formats import Grid, grid_for_bits
from edge.formats.slices import PARENT_BITS, sliced
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import is_quantized_linear


def is_parent(checkpoint: Checkpoint) -> bool:
    """Returns True if the checkpoint can be sliced: its linears are codes of 8 bits."""
    return checkpoint.plan.default.bits == PARENT_BITS and bool(checkpoint.quantized)


def slice_grid(bits: int, extra: bool) -> Grid:
    """The grid of a slice, by the bits that it is stored with."""
    return grid_for_bits(bits + 1 if extra and bits < PARENT_BITS else bits, asymmetric=True)


def sliced_checkpoint(checkpoint: Checkpoint, width: float) -> Checkpoint:
    """Slice every linear of the default width; others, embedding and head stay as they are.

    A parent that was trained with extra levels gives slices with them.

    Raises:
        ValueError: the checkpoint is no parent, or has no slice of this width in bits.
    """
    bits = int(width)
    if bits != width:
        raise ValueError(f"a slice has whole bits, 1 to {PARENT_BITS}, not {width:g}")
    if not is_parent(checkpoint):
        raise ValueError(
            f"only a checkpoint of {PARENT_BITS} bits can be sliced, and this one has {checkpoint.plan}"
        )
    extra, old = checkpoint.nesting is not None and checkpoint.nesting.extra, checkpoint.plan
    linears = filter(is_quantized_linear, checkpoint.quantized)
    names = [name for name in linears if old.of(name) is old.default]
    codes = Lazy({name: _sliced_rows(checkpoint, name, bits, extra) for name in names})
    values = Lazy({f"{name}.weight": _values(codes, name) for name in names})
    kept = {name: reader_of(checkpoint.quantized, name) for name in checkpoint.quantized}
    weights = {name: reader_of(checkpoint.weights, name) for name in checkpoint.weights}
    return replace(
        checkpoint,
        plan=replace(old, default=slice_grid(bits, extra)),
        quantized=Lazy(kept) | codes,
        weights=Lazy(weights) | values,
        formulas={},
    )


def _sliced_rows(checkpoint: Checkpoint, name: str, bits: int, extra: bool) -> Rows[QuantizedWeight]:
    parent = reader_of(checkpoint.quantized, name)
    return lambda rows: sliced(parent(rows), bits, extra)


def _values(codes: Lazy[QuantizedWeight], name: str) -> Rows:
    return lambda rows: codes.rows(name, rows).dequantize()
