"""Read and write packed checkpoints, the small form that the embedded models have.

``config.json`` has ``"packed": 1`` and ``w_bits``. ``model.safetensors`` has

- ``<linear>.packed`` for each linear: codes and scales in the layout of ``edge/ops/packing.py``, or half
  precision for a linear that a mixed model keeps;
- ``embed_tokens.packed``, and ``lm_head.packed`` for a head of its own: on the learned grid, or else int8;
- the norms in float32.

Weights that are read are the values of the codes; packing those again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.hf_config import CONFIG_NAME, config_to_hf, read_hf_config
from edge.checkpoints.hf_formats import plan_to_hf
from edge.checkpoints.hub import local_directory
from edge.checkpoints.hugging_face import (
    PACKED_KEY,
    checked_tokenizer,
    load_checkpoint,
    parse_config,
    quantized_linear_shapes,
    weight_shapes,
)
from edge.checkpoints.tensor_files import (
    HEAD_WEIGHT,
    as_float32,
    check_names,
    check_shapes,
    hf_name,
    read_tensors,
)
from edge.checkpoints.write import save_checkpoint, write_directory
from edge.formats import BY_NAME, WeightFormat
from edge.model.decoder import EMBEDDING, HEAD
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
    the top level. So a table that is dequantised and quantised again has the same codes and scales.

    Raises:
        ValueError: a format that tables are not stored in, or values that are NaN or so close to the largest
            float32 that rounding up leaves its range.
    """
    if fmt not in TABLE_FORMATS:
        raise ValueError(f"tables are stored as {' or '.join(f.name for f in TABLE_FORMATS)}, not {fmt.name}")
    largest = weight.detach().float().abs().amax(dim=1, keepdim=True)  # [rows, 1]
    alpha = (largest / fmt.top_level).clamp_min(torch.finfo(torch.float32).tiny)  # zeros need a scale too
    bits = alpha.view(torch.int32)
    rounded = ((bits + 0xFF) & ~0xFF).view(torch.float32)  # clears the low 8 of 24 significant bits, upwards
    if not bool(torch.isfinite(rounded * fmt.top_level).all()):
        raise ValueError("a table cannot hold NaN, or values at the end of float32's range")
    return rounded


def quantize_table(weight: Tensor, fmt: WeightFormat) -> tuple[Tensor, Tensor]:
    """Codes uint8 [rows, dim] and alpha float32 [rows, 1] of a table; symmetric: -128 (or -8) is unused."""
    alpha = table_alpha(weight, fmt)
    levels = torch.round(weight.detach().float() / alpha)  # at most the top level: alpha was rounded up
    return (levels - fmt.offset).to(torch.uint8), alpha


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
    """Open an embedded model by name, a directory of either form, or a hub id.

    Raises:
        ValueError: it is none of these, or a file is wrong.
    """
    directory = model_directory(name)
    if PACKED_KEY in read_hf_config(directory):
        return load_packed_checkpoint(directory)
    return load_checkpoint(directory)


def save_packed_checkpoint(checkpoint: Checkpoint, directory: str | Path) -> None:
    """Write the packed form, whole or not at all; a full-precision checkpoint is written in float16.

    Raises:
        ValueError: the directory cannot be written, or a scale is so large that weights overflow float32.
    """
    plan = checkpoint.plan
    if not plan.is_quantized:
        save_checkpoint(checkpoint, directory, torch.float16)
        return
    tensors = dict(checkpoint.weights)
    for name, fmt in _formats(plan, {n: tuple(t.shape) for n, t in tensors.items()}).items():
        weight, alpha = tensors.pop(f"{name}.weight"), checkpoint.alphas.get(name)
        tensors[name + PACKED_SUFFIX] = _pack(name, weight, alpha, fmt)
    hf = config_to_hf(checkpoint.config) | plan_to_hf(plan) | {PACKED_KEY: PACKED_VERSION}
    write_directory(directory, tensors, hf, checkpoint.tokenizer)


def load_packed_checkpoint(directory: Path) -> Checkpoint:
    """Read the packed form: weights are the values of the codes, alphas the packed scales.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    hf = read_hf_config(directory)
    config, plan = parse_config(directory, hf)
    plan = _packed_plan(directory, hf, plan)
    shapes = weight_shapes(config)
    if config.tied_embedding:
        del shapes[HEAD_WEIGHT]
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
        learned = plan.embedding_format if name in (EMBEDDING, HEAD) else formats[name]
        if learned.is_quantized:
            alphas[name] = alpha
    return Checkpoint(config, weights, plan, alphas, checked_tokenizer(directory, config))


def _formats(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, WeightFormat]:
    """The format that each linear and table of a model is packed in, by full name."""
    tables = plan.embedding_format if plan.embedding_format.is_quantized else TABLE_FORMAT
    formats = {name: plan.of(name) for name in quantized_linear_shapes(shapes)}
    return formats | {name: tables for name in (EMBEDDING, HEAD) if f"{name}.weight" in shapes}


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
    """Pack a linear or table, on its learned grid if it has one."""
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
    """Unpack weight [n, k] float32 and alpha [n, 1]; ValueError if the table is damaged or another one."""
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
