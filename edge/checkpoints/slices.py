"""Slice a checkpoint of 8 bits to fewer, as MatQuant does, or prepare it for a program that does so later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.lazy import Lazy, Rows, reader_of
from edge.formats import Grid, grid_for_bits
from edge.formats.elastic import LOW, MIDDLE, split
from edge.formats.slices import PARENT_BITS, sliced
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import is_quantized_linear


def is_parent(checkpoint: Checkpoint) -> bool:
    """Returns True if the checkpoint can be sliced: its linears are codes of 8 bits."""
    return checkpoint.plan.default.bits == PARENT_BITS and bool(checkpoint.quantized)


def slice_grid(bits: int, extra: bool) -> Grid:
    """The grid of a slice, by the bits that it is stored with."""
    return grid_for_bits(bits + 1 if extra and bits < PARENT_BITS else bits, asymmetric=True)


def elastic_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Split every linear of the default width into the parts of an elastic weight; others stay as they are.

    ``quantized`` has the base under the linear's own name, and the rest under names that end with MIDDLE and
    LOW (``edge/formats/elastic.py``).

    Raises:
        ValueError: the checkpoint is no parent, or was trained with extra levels, for which 2 bits of a base
            are too few.
    """
    if not is_parent(checkpoint):
        raise ValueError(
            f"--bits elastic needs a parent of {PARENT_BITS} bits, and this model has {checkpoint.plan}: "
            f"make one with python -m edge.quantize --method matquant --bits {PARENT_BITS} --asymmetric"
        )
    if checkpoint.nesting is not None and checkpoint.nesting.extra:
        raise ValueError(
            "this parent was trained with --extra-precision, whose slices have one level more than an "
            "elastic program can hold: export each width by itself"
        )
    parts: dict[str, Rows[QuantizedWeight]] = {}
    for name in _default_linears(checkpoint):
        for ending, part in (("", "base"), (MIDDLE, "middle"), (LOW, "low")):
            parts[name + ending] = _part_rows(checkpoint, name, part)
    kept = {name: reader_of(checkpoint.quantized, name) for name in checkpoint.quantized}
    return replace(checkpoint, quantized=Lazy(kept) | Lazy(parts), formulas={})


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
    return _with_slices(checkpoint, dict.fromkeys(_default_linears(checkpoint), bits), bits)


def mixed_slices(checkpoint: Checkpoint, widths: Sequence[int]) -> Checkpoint:
    """Slice the linears of each layer to that layer's width in bits (MatQuant's Mix'n'Match).

    The most frequent width becomes the default of the plan.

    Raises:
        ValueError: the checkpoint is no parent, or the widths are not one for each layer, 1 to 8.
    """
    layers = checkpoint.config.n_layers
    if not is_parent(checkpoint):
        raise ValueError(
            f"only a parent of {PARENT_BITS} bits has slices, and this model has {checkpoint.plan}"
        )
    if len(widths) != layers:
        raise ValueError(f"the model has {layers} layers, and {len(widths)} widths were given")
    if wrong := [width for width in widths if not 1 <= width <= PARENT_BITS]:
        raise ValueError(f"a slice has 1 to {PARENT_BITS} bits, not {wrong[0]}")
    bits_of = {name: widths[layer_of(name)] for name in _default_linears(checkpoint)}
    default = max(set(widths), key=lambda width: (list(widths).count(width), width))
    return replace(_with_slices(checkpoint, bits_of, default), nesting=None)


def layer_of(linear: str) -> int:
    """Return the number of the layer that a linear of this full name belongs to."""
    return int(linear.removeprefix("layers.").split(".")[0])


def _with_slices(checkpoint: Checkpoint, bits_of: Mapping[str, int], default: int) -> Checkpoint:
    """Put slices of so many bits in the place of some linears."""
    extra, old = checkpoint.nesting is not None and checkpoint.nesting.extra, checkpoint.plan
    codes = Lazy({name: _sliced_rows(checkpoint, name, bits, extra) for name, bits in bits_of.items()})
    values = Lazy({f"{name}.weight": _values(codes, name) for name in bits_of})
    kept = {name: reader_of(checkpoint.quantized, name) for name in checkpoint.quantized}
    weights = {name: reader_of(checkpoint.weights, name) for name in checkpoint.weights}
    grid = slice_grid(default, extra)
    others = {name: slice_grid(bits, extra) for name, bits in bits_of.items() if bits != default}
    return replace(
        checkpoint,
        plan=replace(old, default=grid, others={**old.others, **others}),
        quantized=Lazy(kept) | codes,
        weights=Lazy(weights) | values,
        formulas={},
    )


def _default_linears(checkpoint: Checkpoint) -> list[str]:
    """List the linears that have the checkpoint's default width."""
    plan, linears = checkpoint.plan, filter(is_quantized_linear, checkpoint.quantized)
    return [name for name in linears if plan.of(name) is plan.default]


def _part_rows(checkpoint: Checkpoint, name: str, part: str) -> Rows[QuantizedWeight]:
    parent = reader_of(checkpoint.quantized, name)
    return lambda rows: getattr(split(parent(rows)), part)


def _sliced_rows(checkpoint: Checkpoint, name: str, bits: int, extra: bool) -> Rows[QuantizedWeight]:
    parent = reader_of(checkpoint.quantized, name)
    return lambda rows: sliced(parent(rows), bits, extra)


def _values(codes: Lazy[QuantizedWeight], name: str) -> Rows:
    return lambda rows: codes.rows(name, rows).dequantize()
