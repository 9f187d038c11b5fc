"""Read and write packed checkpoints: weights as codes, in the layout that the ops read.

``config.json`` has ``"packed": 2`` beside ``w_bits``. ``model.safetensors`` has, for each linear, the
embedding and a head of its own, either ``<name>.packed`` (a table of ``edge/ops/packing.py``, codes or
halves) or ``<name>.weight``; and the norms in float32. Training writes this form for methods that end with
codes. The embedded models use its small form: every linear is packed, and an embedding that was not trained
on a grid is stored as int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.hf_config import CONFIG_NAME, config_to_hf, read_hf_config
from edge.checkpoints.hf_grids import (
    PACKED_KEY,
    PACKED_VERSION,
    POST_TRAINING_KEY,
    is_imported,
    nesting_from_hf,
    nesting_to_hf,
    plan_to_hf,
)
from edge.checkpoints.hub import local_directory
from edge.checkpoints.hugging_face import (
    checked_tokenizer,
    load_checkpoint,
    norms_as_multiplied,
    parse_config,
    quantized_linear_shapes,
    weight_shapes,
)
from edge.checkpoints.imported.load import load_imported_checkpoint
from edge.checkpoints.lazy import Lazy, Rows, reader_of, rows_of
from edge.checkpoints.tensor_files import (
    HEAD_WEIGHT,
    PACKED_SUFFIX,
    StoredTensors,
    check_dtypes,
    check_names,
    check_shapes,
    float32_reader,
    hf_name,
)
from edge.checkpoints.write import norms_on_disk, save_checkpoint, write_directory
from edge.formats import GRIDS, Grid
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import EMBEDDING, HEAD, is_quantized_linear
from edge.ops.packed_header import PackedHeader
from edge.ops.packing import pack, pack_half, read_header
from edge.ops.rows import unpack_rows
from edge.quantizers import paretoq
from edge.quantizers.embedding import EMBEDDING_GRIDS, quantize_embedding
from edge.quantizers.plan import Plan

ASSETS = Path(__file__).resolve().parent.parent / "assets"


def embedded_models() -> tuple[str, ...]:
    """Names of the models that come with the package: ``default`` (full precision), ``default/2bit``, ..."""
    directories = sorted(path.parent for path in ASSETS.glob(f"*/*/{CONFIG_NAME}"))
    return ("default", *(path.relative_to(ASSETS).as_posix() for path in directories))


def model_directory(name: str | Path) -> Path:
    """Find the directory of an embedded model, a directory, or a hub id, which is downloaded.

    Raises:
        ValueError: there is no such model, a directory has its name too, or the hub cannot be reached.
    """
    if str(name) in embedded_models():
        refuse_shadowed(str(name))
        name = ASSETS / ("default/16bit" if str(name) == "default" else str(name))
    return local_directory(name)


def refuse_shadowed(name: str) -> None:
    """Raise ValueError if a checkpoint in the current directory has the name of an embedded model."""
    here = Path(name)
    if (here / CONFIG_NAME).is_file() and here.resolve() != (ASSETS / name).resolve():
        raise ValueError(
            f"{name} is an embedded model and a directory here: say ./{name} for the directory, or rename it"
        )


def open_model(name: str | Path) -> Checkpoint:
    """Open an embedded model by name, a directory of any form, or a hub id.

    Raises:
        ValueError: it is none of these, or a file is wrong.
    """
    directory = model_directory(name)
    hf = read_hf_config(directory)
    if PACKED_KEY in hf:
        return load_packed_checkpoint(directory)
    if is_imported(hf):
        return load_imported_checkpoint(directory)
    return _as_the_reference_divides(load_checkpoint(directory))


def open_start(name: str | Path) -> Checkpoint:
    """Open a model that training may start from: one with all that is not on a grid as it was trained.

    Raises:
        ValueError: see ``open_model``; or it is in the small form, whose embedding is rounded.
    """
    directory = model_directory(name)
    if PACKED_KEY not in read_hf_config(directory):
        return load_checkpoint(directory)
    checkpoint = load_packed_checkpoint(directory)
    if EMBEDDING + PACKED_SUFFIX in StoredTensors(directory):
        raise ValueError(
            f"{directory} is a packed checkpoint, made for export; give the one that it was packed from"
        )
    return checkpoint


def _as_the_reference_divides(checkpoint: Checkpoint) -> Checkpoint:
    """Quantise latent weights of 16 bits in that dtype, as ParetoQ's evaluation does; others stay latent."""
    if checkpoint.latent_dtype == torch.float32:
        return checkpoint
    codes = Lazy({name: _reference_codes(checkpoint, name) for name in checkpoint.alphas})
    values = Lazy({f"{name}.weight": _values_of(codes, name) for name in codes})
    weights = Lazy({name: reader_of(checkpoint.weights, name) for name in checkpoint.weights}) | values
    return replace(checkpoint, alphas={}, quantized=codes, weights=weights)


def _reference_codes(checkpoint: Checkpoint, name: str) -> Rows[QuantizedWeight]:
    grid, alpha = _expected_grid(checkpoint.plan, name), checkpoint.alphas[name]
    weight = reader_of(checkpoint.weights, f"{name}.weight")
    return lambda rows: paretoq.quantize_in(weight(rows), alpha[rows], grid, checkpoint.latent_dtype)


def _values_of(codes: Mapping[str, QuantizedWeight], name: str) -> Rows[Tensor]:
    return lambda rows: rows_of(codes, name, rows).dequantize()


def save_packed_checkpoint(checkpoint: Checkpoint, directory: str | Path) -> None:
    """Write the small form, whole or not at all; a full-precision checkpoint is written in float16.

    Raises:
        ValueError: the directory cannot be written, a scale is so large that weights overflow float32, or a
            head is on a grid of its own.
    """
    plan = checkpoint.plan
    if not plan.is_quantized:
        save_checkpoint(checkpoint, directory, torch.float16)
        return
    if plan.head_format is not None:
        raise ValueError("the packed form holds no head on a grid of its own; export the checkpoint as it is")
    tensors = norms_on_disk(dict(checkpoint.weights), checkpoint.config)
    for name in _tables(tensors):
        tensors[name + PACKED_SUFFIX] = _pack(checkpoint, name, tensors.pop(f"{name}.weight"))
    hf = config_to_hf(checkpoint.config) | plan_to_hf(plan) | {PACKED_KEY: PACKED_VERSION}
    hf |= nesting_to_hf(checkpoint.nesting)
    hf |= {} if checkpoint.post_training is None else {POST_TRAINING_KEY: checkpoint.post_training}
    write_directory(directory, tensors, hf, checkpoint.tokenizer)


def load_packed_checkpoint(directory: Path) -> Checkpoint:
    """Read a packed checkpoint: ``quantized`` are its codes, ``weights`` their values.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    hf = read_hf_config(directory)
    config, plan = parse_config(directory, hf)
    plan = _packed_plan(directory, hf, plan)
    shapes = weight_shapes(config)
    if config.tied_embedding:
        del shapes[HEAD_WEIGHT]
    tensors = StoredTensors(directory)
    packed = [name for name in _tables(shapes) if name + PACKED_SUFFIX in tensors]
    plain = {name: shape for name, shape in shapes.items() if name.removesuffix(".weight") not in packed}
    check_names(directory, tensors, plain.keys() | {name + PACKED_SUFFIX for name in packed})
    check_shapes(directory, {name: tensors.shapes[name] for name in plain}, plain)
    check_dtypes(directory, {name: tensors.dtypes[name] for name in plain})
    read = {name: float32_reader(directory, tensors, name) for name in plain}
    quantized: dict[str, Rows[QuantizedWeight]] = {}
    grids = {name: plan.of(name) for name in quantized_linear_shapes(shapes)}
    for name in packed:
        table = _PackedOnDisk(directory, name, tensors)
        grid = table.checked_grid(shapes[f"{name}.weight"], _expected_grid(plan, name))
        read[f"{name}.weight"] = table.values
        if name in grids:
            grids[name] = grid
        if grid.is_quantized and _is_learned(plan, name):
            quantized[name] = table.codes
    plan = Plan.from_grids(grids, _default_of(plan, grids), plan.embedding_format)
    tokenizer = checked_tokenizer(directory, config)
    weights = norms_as_multiplied(Lazy(read), config)
    how = hf.get(POST_TRAINING_KEY)
    after = how if isinstance(how, dict) else None
    nesting = nesting_from_hf(hf)
    return Checkpoint(
        config, weights, plan, {}, Lazy(quantized), tokenizer, post_training=after, nesting=nesting
    )


def _tables(weights: Mapping[str, object]) -> list[str]:
    """Full names of the linears, embedding and head among a model's weights."""
    names = [name.removesuffix(".weight") for name in weights]
    return [name for name in names if is_quantized_linear(name) or name in (EMBEDDING, HEAD)]


def _is_learned(plan: Plan, name: str) -> bool:
    """Returns True if the model was trained on this table's grid, False if storage rounded to it."""
    return plan.embedding_format.is_quantized if name in (EMBEDDING, HEAD) else plan.of(name).is_quantized


def _expected_grid(plan: Plan, name: str) -> Grid:
    if name not in (EMBEDDING, HEAD):
        return plan.of(name)
    return plan.embedding_format if plan.embedding_format.is_quantized else EMBEDDING_GRIDS[0]


def _default_of(plan: Plan, grids: Mapping[str, Grid]) -> Grid:
    """The plan's default, or the grid of its width that the tables have."""
    same_width = [grid for grid in grids.values() if grid.bits == plan.default.bits]
    return same_width[0] if same_width else plan.default


def _packed_plan(directory: Path, hf: dict[str, Any], plan: Plan | None) -> Plan:
    version = hf.get(PACKED_KEY)
    if type(version) is not int or version != PACKED_VERSION:
        raise ValueError(
            f"{directory / CONFIG_NAME} says packed {version!r}; this version reads {PACKED_VERSION}, "
            "so pack the model again"
        )
    if plan is None or not plan.is_quantized:
        raise ValueError(f"{directory / CONFIG_NAME} says packed, so it needs a w_bits of 0 to 8")
    return plan


def _pack(checkpoint: Checkpoint, name: str, weight: Tensor) -> Tensor:
    """Pack a linear or table: its codes, its learned grid, or else int8 (embedding) or halves (linear)."""
    if name in checkpoint.quantized:
        return pack(checkpoint.quantized[name])
    grid = _expected_grid(checkpoint.plan, name)
    try:
        if name in checkpoint.alphas:
            return pack(_on_learned_grid(weight, checkpoint.alphas[name].detach().float(), grid))
        return pack(quantize_embedding(weight, grid)) if grid.is_quantized else pack_half(weight)
    except ValueError as error:
        raise ValueError(f"{hf_name(name)}: {error}") from error


def _on_learned_grid(weight: Tensor, alpha: Tensor, grid: Grid) -> QuantizedWeight:
    stored = paretoq.quantize(weight, alpha, grid)
    if not bool(torch.isfinite(stored.dequantize()).all()):
        raise ValueError("a learned scale is so large that float32 cannot hold its weights")
    return stored


class _PackedOnDisk:
    """A packed table of a directory's files, by the full name of its linear or table."""

    def __init__(self, directory: Path, name: str, tensors: StoredTensors) -> None:
        self.key, self.tensors = name + PACKED_SUFFIX, tensors
        self.where = f"{directory}: {hf_name(self.key)}"

    def checked_grid(self, shape: tuple[int, ...], expected: Grid) -> Grid:
        """Check the table's header; returns the grid of the expected width that it is on.

        Raises:
            ValueError: the header is damaged, or is another one than config.json implies.
        """
        try:
            header = read_header(self.tensors[self.key])
            found = _grid_of(header, expected.bits)
            if (header.n, header.k) != shape or found is None:
                seen = f"{header.encoding.name} [{header.n}, {header.k}]"
                wanted = f"{expected.name} {list(shape)}"
                raise ValueError(f"the table is {seen} where config.json implies {wanted}")
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error
        return found

    def codes(self, rows: slice) -> QuantizedWeight:
        """Unpack rows; ValueError if they are damaged."""
        stored = self._unpack(rows)
        assert isinstance(stored, QuantizedWeight)
        return stored

    def values(self, rows: slice) -> Tensor:
        """The float32 weights of rows."""
        stored = self._unpack(rows)
        return stored.dequantize() if isinstance(stored, QuantizedWeight) else stored.float()

    def _unpack(self, rows: slice) -> QuantizedWeight | Tensor:
        try:
            stored = unpack_rows(self.tensors[self.key], rows)
            if isinstance(stored, QuantizedWeight) and not bool(stored.dequantize().isfinite().all()):
                raise ValueError("its row scales must be positive and finite")
            return stored
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from error


def _grid_of(header: PackedHeader, bits: float) -> Grid | None:
    """The grid of this width that a table's encoding and zero belong to."""
    candidates = (g for g in GRIDS if g.bits == bits and g.encoding_of(header.group_size) is header.encoding)
    return next((g for g in candidates if g.zero == header.zero), None)
