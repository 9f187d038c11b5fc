"""Packed checkpoints: what the embedded models ship as. Small, and exact where exactness was learned.

``config.json`` has ``"packed": 1`` and ``w_bits``; ``model.safetensors`` has ``<linear>.packed`` per linear
(codes and effective alpha in the layout of ``edge/ops/packing.py``; half precision of linears that a mixed
model keeps), ``embed_tokens.packed`` (and ``lm_head.packed`` where the head is its own) on the learned grid
where there is one, else as an int8 table, and the norms in float32. Reading one gives the weights that the
codes stand for; quantising those again gives the same bytes, for linears and tables alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.hf_config import CONFIG_NAME, config_to_hf, read_hf_config
from edge.checkpoints.hub import local_directory
from edge.checkpoints.hugging_face import (
    EMBEDDING,
    HEAD,
    PACKED_KEY,
    Checkpoint,
    checked_tokenizer,
    load_checkpoint,
    parse_config,
    quantized_linear_shapes,
    save_checkpoint,
    weight_shapes,
)
from edge.checkpoints.tensor_files import as_float32, check_names, check_shapes, hf_name, read_tensors
from edge.checkpoints.write import write_directory
from edge.formats import BY_NAME, WeightFormat
from edge.ops.packing import dequantize, pack_codes, pack_half, read_header, unpack
from edge.quantizers import paretoq
from edge.quantizers.plan import Plan

PACKED_VERSION = 1
PACKED_SUFFIX = ".packed"
TABLE_FORMAT = BY_NAME["int8"]
#: Formats that a token embedding or head is stored in besides half precision.
TABLE_FORMATS = (TABLE_FORMAT, BY_NAME["int4"])
ASSETS = Path(__file__).resolve().parent.parent / "assets"


def table_alpha(weight: Tensor, fmt: WeightFormat) -> Tensor:
    """Scale [rows, 1] float32 of a table [rows, dim]: max|w| / top level, rounded up to 16 significant bits.

    A code (at most 7 bits) times such a scale is exact in float32, and the largest code of a row is always
    the top level, so a table that was dequantised quantises to the same codes and scales again.

    Raises:
        ValueError: a format that tables are not stored in, or values that are NaN or so close to the largest
            float32 that rounding up leaves its range.
    """
    if fmt not in TABLE_FORMATS:
        raise ValueError(f"tables are stored as {' or '.join(f.name for f in TABLE_FORMATS)}, not {fmt.name}")
    largest = weight.detach().float().abs().amax(dim=1, keepdim=True)  # [rows, 1]
    alpha = (largest / fmt.top_level).clamp_min(torch.finfo(torch.float32).tiny)  # zeros need a scale too
    bits = alpha.view(torch.int32)
    rounded = ((bits + 0xFF) & ~0xFF).view(torch.float32)  # of 24 significant bits the low 8 go, upwards
    if not bool(torch.isfinite(rounded * fmt.top_level).all()):
        raise ValueError("a table cannot hold NaN, or values at the end of float32's range")
    return rounded


def quantize_table(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor]:
    """Codes uint8 [rows, dim] and alpha float32 [rows, 1] of a table; symmetric: -128 (or -8) is unused."""
    alpha = table_alpha(weight, fmt)
    levels = torch.round(
        weight.detach().float() / alpha
    )  # within the top level, because alpha was rounded up
    return (levels - fmt.offset).to(torch.uint8), alpha


def embedded_models() -> tuple[str, ...]:
    """Names of the models that come with the package: ``default`` (full precision), ``default/2bit``, ..."""
    directories = sorted(path.parent for path in ASSETS.glob(f"*/*/{CONFIG_NAME}"))
    return ("default", *(path.relative_to(ASSETS).as_posix() for path in directories))


def model_directory(name: str | Path) -> Path:
    """Where a model's files lie: an embedded model by name, a directory, or a hub id, which is downloaded.

    Raises:
        ValueError: there is no such model, its name is that of a directory too, or the hub cannot be reached.
    """
    if str(name) in embedded_models():
        refuse_shadowed(str(name))
        name = ASSETS / ("default/16bit" if str(name) == "default" else str(name))
    return local_directory(name)


def refuse_shadowed(name: str) -> None:
    """ValueError where an embedded model's name is that of a checkpoint in this directory too."""
    here = Path(name)
    if (here / CONFIG_NAME).is_file() and here.resolve() != (ASSETS / name).resolve():
        raise ValueError(
            f"{name} is an embedded model and a directory here: say ./{name} for the directory, or rename it"
        )


def open_model(name: str | Path) -> Checkpoint:
    """The checkpoint a user means: an embedded model's name, a directory of either form, or a hub id.

    Raises:
        ValueError: none of these, or its files are not in order.
    """
    directory = model_directory(name)
    if PACKED_KEY in read_hf_config(directory):
        return load_packed_checkpoint(directory)
    return load_checkpoint(directory)


def save_packed_checkpoint(checkpoint: Checkpoint, directory: str | Path) -> None:
    """Writes the packed form, whole or not at all; full precision becomes a plain directory in float16.

    Raises:
        ValueError: the directory cannot be written, or float32 cannot hold what a huge scale stands for.
    """
    plan = checkpoint.plan
    if not plan.is_quantized:
        save_checkpoint(checkpoint, directory, torch.float16)
        return
    tensors = dict(checkpoint.weights)
    for name, fmt in _formats(plan, {n: tuple(t.shape) for n, t in tensors.items()}).items():
        weight, alpha = tensors.pop(f"{name}.weight"), checkpoint.alphas.get(name)
        tensors[name + PACKED_SUFFIX] = _pack(name, weight, alpha, fmt)
    hf = config_to_hf(checkpoint.config, plan) | {PACKED_KEY: PACKED_VERSION}
    write_directory(directory, tensors, hf, checkpoint.tokenizer)


def load_packed_checkpoint(directory: Path) -> Checkpoint:
    """Reads the packed form: weights are the values that the codes stand for, alphas the packed scales.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    hf = read_hf_config(directory)
    config, plan = parse_config(directory, hf)
    plan = _packed_plan(directory, hf, plan)
    shapes = weight_shapes(config)
    if config.tied_embedding:
        del shapes[HEAD]
    formats = _formats(plan, shapes)
    tables = {name: shapes[f"{name}.weight"] for name in formats}
    norms = {n: s for n, s in shapes.items() if n.removesuffix(".weight") not in formats}
    tensors = read_tensors(directory)
    check_names(directory, tensors, norms.keys() | {n + PACKED_SUFFIX for n in tables})
    weights = {n: tensors[n] for n in norms}
    check_shapes(directory, weights, norms)
    weights = {n: as_float32(directory, n, t) for n, t in weights.items()}
    alphas = {}
    for name, shape in tables.items():
        weight, alpha = _unpack_table(directory, name, tensors[name + PACKED_SUFFIX], shape, formats[name])
        weights[f"{name}.weight"] = weight
        learned = plan.embedding_format if f"{name}.weight" in (EMBEDDING, HEAD) else formats[name]
        if learned.is_quantized:
            alphas[name] = alpha
    return Checkpoint(config, weights, plan, alphas, checked_tokenizer(directory, config))


def _formats(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, WeightFormat]:
    """What each of a model's linears and tables is packed as, by its full name."""
    tables = plan.embedding_format if plan.embedding_format.is_quantized else TABLE_FORMAT
    formats = {name: plan.of(name) for name in quantized_linear_shapes(shapes)}
    return formats | {n.removesuffix(".weight"): tables for n in (EMBEDDING, HEAD) if n in shapes}


def _packed_plan(directory: Path, hf: dict[str, Any], plan: Plan | None) -> Plan:
    version = hf.get(PACKED_KEY)
    if type(version) is not int or version != PACKED_VERSION:
        raise ValueError(
            f"{directory / CONFIG_NAME} says packed {version!r}; this version reads {PACKED_VERSION}, "
            "so pack the model again"
        )
    if plan is None or not plan.is_quantized:
        raise ValueError(f"{directory / CONFIG_NAME} says packed, so it needs a w_bits of 0 to 4")
    return plan


def _pack(name: str, weight: Tensor, alpha: Tensor | None, fmt: WeightFormat) -> Tensor:
    """A linear or table as its format says: on the learned grid where it has one."""
    if not fmt.is_quantized:
        try:
            return pack_half(weight)
        except ValueError as error:
            raise ValueError(f"{hf_name(name)}: {error}") from error
    if alpha is None:
        return pack_codes(*quantize_table(weight, fmt), fmt)
    alpha = paretoq.effective_alpha(alpha.detach().float())
    codes = paretoq.quantize_codes(weight.detach(), alpha, fmt)
    values = paretoq.dequantize(codes, alpha, fmt)
    again = paretoq.quantize_codes(values, alpha, fmt)
    if not torch.equal(again, codes) or not bool(torch.isfinite(values).all()):
        raise ValueError(f"{hf_name(name)}: a learned scale is so large that float32 cannot hold its weights")
    return pack_codes(codes, alpha, fmt)


def _unpack_table(
    directory: Path, name: str, packed: Tensor, shape: tuple[int, ...], fmt: WeightFormat
) -> tuple[Tensor, Tensor]:
    """Weight [n, k] float32 and alpha [n, 1] of a packed tensor; ValueError when damaged or another table."""
    try:
        header = read_header(packed)
        if (header.n, header.k) != shape or header.format is not fmt:
            found = f"{header.format.name} [{header.n}, {header.k}]"
            raise ValueError(f"the table is {found} where config.json implies {fmt.name} {list(shape)}")
        weight, (_, alpha) = dequantize(packed), unpack(packed)
        if not bool((alpha > 0).all()) or not bool(torch.isfinite(weight).all()):
            raise ValueError("its row scales must be positive and finite")
    except ValueError as error:
        raise ValueError(f"{directory}: {hf_name(name + PACKED_SUFFIX)}: {error}") from error
    return weight, alpha[:, None]
