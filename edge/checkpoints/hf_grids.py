"""Read and write the grids in config.json.

ParetoQ's key ``w_bits`` is the width of every quantised linear (0 is ternary, 16 is none). Two keys are our
own: ``w_bits_by_linear`` for linears of another width, and ``embedding_w_bits`` for a quantised embedding and
head.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edge.checkpoints.hf_values import boolean, short_json
from edge.checkpoints.tensor_files import hf_name
from edge.formats import (
    EMBEDDING_BITS_CHOICES,
    FULL_PRECISION,
    LINEAR_GRIDS,
    SYMMETRIC,
    Grid,
    grid_for_bits,
)
from edge.formats.slices import Nesting
from edge.quantizers.plan import Plan
from edge.text import first_of

MIXED_KEY = "w_bits_by_linear"
EMBEDDING_KEY = "embedding_w_bits"
#: What ParetoQ's training writes for a model that it did not quantise; 16 means the same.
_NOT_QUANTIZED = 32
#: Marks a directory whose weights are packed (``packed.py``), and the version of that form.
PACKED_KEY, PACKED_VERSION = "packed", 2
#: An object that says how a model was quantised after its training, the method's name included.
POST_TRAINING_KEY = "post_training"
#: An object with ``widths`` and ``extra`` for a parent that was trained to be sliced (``formats/slices.py``).
NESTING_KEY = "nested"
#: Marks a directory that transformers saved quantised: by another project's method (``imported``), or by
#: ours, beside the keys above, which say the same.
QUANTIZATION_KEY, OWN_METHOD = "quantization_config", "paretoq"


def grid_from_hf(hf: dict[str, Any]) -> Grid | None:
    """Read the grid of ``w_bits``; None without that key."""
    return None if hf.get("w_bits") is None else _grid_of("w_bits", hf["w_bits"], _known(hf))


def plan_from_hf(hf: dict[str, Any], linears: Collection[str]) -> Plan | None:
    """Read the grids of the linears of these full names; None without ``w_bits``.

    Raises:
        ValueError: an unknown width or linear, or our own keys beside a ``w_bits`` that is absent or 16.
    """
    default, others, embedding = grid_from_hf(hf), hf.get(MIXED_KEY) or {}, hf.get(EMBEDDING_KEY)
    if default is None or not default.is_quantized:
        given = [key for key in (MIXED_KEY, EMBEDDING_KEY) if hf.get(key)]
        if given:
            raise ValueError(
                f"{given[0]} needs a w_bits of 0 to 4 beside it, not {short_json(hf.get('w_bits'))}"
            )
        return None if default is None else Plan(default)
    if not isinstance(others, dict):
        raise ValueError(f"{MIXED_KEY} must be an object, not {short_json(others)}")
    by_name = {hf_name(name): name for name in linears}
    unknown = others.keys() - by_name.keys()
    if unknown:
        raise ValueError(f"{MIXED_KEY} names linears that the model has not: {first_of(unknown)}")
    grids = {
        by_name[name]: _grid_of(f"{MIXED_KEY}: {name}:", bits, _known(hf)) for name, bits in others.items()
    }
    return Plan.from_grids(grids, default, _embedding_grid(embedding))


def plan_to_hf(plan: Plan) -> dict[str, Any]:
    """The keys of config.json for a plan; none if it quantises nothing."""
    hf: dict[str, Any] = {}
    if plan.is_quantized:
        hf["w_bits"] = plan.default.paretoq_w_bits
    if plan.others:
        hf[MIXED_KEY] = {hf_name(name): grid.paretoq_w_bits for name, grid in plan.others.items()}
    if plan.embedding_format.is_quantized:
        hf[EMBEDDING_KEY] = plan.embedding_format.paretoq_w_bits
    return hf


def is_imported(hf: dict[str, Any]) -> bool:
    """Tell whether another project's method quantised the model."""
    said = hf.get(QUANTIZATION_KEY)
    return said is not None and not (isinstance(said, dict) and said.get("quant_method") == OWN_METHOD)


def nesting_from_hf(hf: dict[str, Any]) -> Nesting | None:
    """Read how a parent was trained; None for other models.

    Raises:
        ValueError: the key holds something else.
    """
    said = hf.get(NESTING_KEY)
    if said is None:
        return None
    widths = said.get("widths") if isinstance(said, dict) else None
    if not isinstance(widths, list) or not all(type(bits) is int for bits in widths):
        raise ValueError(f"{NESTING_KEY} must be an object with a list of widths, not {short_json(said)}")
    try:
        return Nesting(tuple(widths), boolean(said, "extra", False))
    except ValueError as error:
        raise ValueError(f"{NESTING_KEY}: {error}") from error


def nesting_to_hf(nesting: Nesting | None) -> dict[str, Any]:
    """The key of config.json for a parent."""
    return {} if nesting is None else {NESTING_KEY: {"widths": list(nesting.widths), "extra": nesting.extra}}


def _embedding_grid(bits: Any) -> Grid:
    if bits is None:
        return FULL_PRECISION
    if type(bits) is not int:
        raise ValueError(f"{EMBEDDING_KEY} must be an integer, not {short_json(bits)}")
    return grid_for_bits(bits, EMBEDDING_BITS_CHOICES)


def _known(hf: dict[str, Any]) -> tuple[Grid, ...]:
    """The grids that linears may be on: those of training, and for codes all."""
    return SYMMETRIC if PACKED_KEY in hf else LINEAR_GRIDS


def _grid_of(what: str, w_bits: Any, grids: tuple[Grid, ...]) -> Grid:
    if w_bits == _NOT_QUANTIZED and type(w_bits) is int:
        return FULL_PRECISION
    for grid in grids:
        if grid.paretoq_w_bits == w_bits and type(w_bits) is int:
            return grid
    known = ", ".join(f"{f.paretoq_w_bits} ({f.name})" for f in grids)
    raise ValueError(f"{what} {w_bits!r} is unknown; known are {known}")
