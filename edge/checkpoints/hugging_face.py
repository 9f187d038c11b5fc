"""Read a Hugging Face Llama directory, full precision or with ParetoQ's learned scales.

A directory holds ``config.json``, ``model.safetensors`` (or shards and their index), and the tokenizer. A
checkpoint with learned scales adds ``<linear>.weight_clip_val`` [out, 1] for each quantised linear and
``w_bits`` in config.json, which is the form that ParetoQ's training writes (arXiv 2502.02631).
``hf_grids.py`` describes the keys for linears of other widths and for a quantised embedding and head.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.families import family_of
from edge.checkpoints.hf_config import CONFIG_NAME, config_from_hf, read_hf_config
from edge.checkpoints.hf_grids import PACKED_KEY, is_imported, plan_from_hf
from edge.checkpoints.hub import local_directory
from edge.checkpoints.lazy import Lazy, Rows, reader_of
from edge.checkpoints.on_grid import codes_on, recognise
from edge.checkpoints.tensor_files import (
    ALPHA_SUFFIX,
    EMBEDDING_WEIGHT,
    HEAD_WEIGHT,
    StoredTensors,
    as_float32,
    check_dtypes,
    check_names,
    check_shapes,
    float32_reader,
    hf_name,
)
from edge.formats import Grid
from edge.formats.weight import QuantizedWeight
from edge.model.config import ModelConfig
from edge.model.decoder import EMBEDDING, HEAD, Decoder, is_norm, is_quantized_linear
from edge.model.tokenizer import TOKENIZER_FILES, Tokenizer
from edge.quantizers.plan import Plan

#: Rows compared at a time.
_ROWS = 4096


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a Hugging Face directory or hub id, full precision or ParetoQ, single file or shards.

    The head counts as tied if it equals the embedding, or if the files have no tensor for it. MobileLLM is
    published without one, even where its config.json says that the head is not tied. Weights are read, and
    checked for NaN, when they are asked for.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    directory = local_directory(path)
    hf = read_hf_config(directory)
    if PACKED_KEY in hf:
        raise ValueError(
            f"{directory} is a packed checkpoint, made for export; give the one that it was packed from"
        )
    if is_imported(hf):
        raise ValueError(f"{directory} was quantised after its training; give the checkpoint from before")
    config, plan = parse_config(directory, hf)
    stored = StoredTensors(directory)
    alphas = {n.removesuffix(ALPHA_SUFFIX): stored[n] for n in stored if n.endswith(ALPHA_SUFFIX)}
    own = {n: n for n in stored if not n.endswith(ALPHA_SUFFIX)}  # name in Decoder to name in the files
    if config.tied_embedding and EMBEDDING_WEIGHT not in own and HEAD_WEIGHT in own:
        own[EMBEDDING_WEIGHT] = own.pop(HEAD_WEIGHT)  # the same table; some tools keep this name
    shapes = weight_shapes(config)
    check_names(directory, own, shapes.keys() - {HEAD_WEIGHT}, allowed={HEAD_WEIGHT})
    check_shapes(directory, {n: stored.shapes[key] for n, key in own.items()}, shapes)
    check_dtypes(directory, {n: stored.dtypes[key] for n, key in own.items()})
    as_stored = Lazy({n: reader_of(stored, key) for n, key in own.items()})
    on_grid = {} if alphas else _on_grid(directory, plan, as_stored)
    if on_grid:
        grids = {name: grid for name, (grid, _) in on_grid.items()}
        plan = Plan.from_grids(grids, max(grids.values(), key=list(grids.values()).count))
    else:
        _check_alpha_presence(directory, plan, alphas)
    plan = plan or Plan()
    learned = {} if on_grid else _grid_shapes(plan, {n: shapes[n] for n in own})
    latent_dtype = _dtype_of_division(stored.dtypes, alphas)
    alphas = _checked_alphas(directory, alphas, learned)
    config = settle_head(directory, config, as_stored, alphas, hf)
    names = [name for name in own if not (config.tied_embedding and name == HEAD_WEIGHT)]
    weights = Lazy({name: float32_reader(directory, as_stored, name) for name in names})
    weights = norms_as_multiplied(weights, config)
    codes = Lazy({name: _codes_reader(name, as_stored, *on_grid[name]) for name in on_grid})
    weights |= Lazy({f"{name}.weight": _values_reader(name, codes) for name in codes})
    tokenizer = checked_tokenizer(directory, config)
    return Checkpoint(config, weights, plan, alphas, codes, tokenizer, latent_dtype)


def norms_as_multiplied(weights: Lazy[Tensor], config: ModelConfig) -> Lazy[Tensor]:
    """Weights with those of norms as a ``Decoder`` multiplies by them; some families store 1 less."""
    if not family_of(config).norms_add_one:
        return weights
    return weights | Lazy({name: _plus_one(reader_of(weights, name)) for name in weights if is_norm(name)})


def _plus_one(reader: Rows[Tensor]) -> Rows[Tensor]:
    return lambda rows: reader(rows) + 1


def _codes_reader(name: str, tensors: Lazy[Tensor], grid: Grid, scale: Tensor) -> Rows[QuantizedWeight]:
    return lambda rows: codes_on(tensors.rows(f"{name}.weight", rows), scale[rows], grid)


def _values_reader(name: str, codes: Lazy[QuantizedWeight]) -> Rows[Tensor]:
    return lambda rows: codes.rows(name, rows).dequantize()


def parse_config(directory: Path, hf: dict[str, Any]) -> tuple[ModelConfig, Plan | None]:
    """Read the shape, and the grids if there is a ``w_bits``; errors name the file."""
    try:
        config = config_from_hf(hf)
        config = replace(config, eos_ids=(*config.eos_ids, *_other_end_tokens(directory, config)))
        return config, plan_from_hf(hf, linear_names(config))
    except ValueError as error:
        raise ValueError(f"{directory / CONFIG_NAME}: {error}") from error


def _other_end_tokens(directory: Path, config: ModelConfig) -> list[int]:
    """End tokens that only generation_config.json names; chat models end a message with another one."""
    path = directory / "generation_config.json"
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_bytes())
        named = found.get("eos_token_id") if isinstance(found, dict) else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} beside it is not JSON: {error}") from error
    ids = named if isinstance(named, list) else [] if named is None else [named]
    return [token for token in dict.fromkeys(ids) if token not in config.eos_ids]


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of a model with a head of its own, by name."""
    with torch.device("meta"):
        model = Decoder(replace(config, tied_embedding=False), positions=0)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def quantized_linear_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the linears that may be on a grid, by full name; from those of all weights."""
    by_linear = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in by_linear.items() if is_quantized_linear(name)}


def linear_names(config: ModelConfig) -> tuple[str, ...]:
    """Full names of the linears that may be on a grid."""
    return tuple(quantized_linear_shapes(weight_shapes(config)))


def checked_tokenizer(directory: Path, config: ModelConfig) -> Path | None:
    """The tokenizer file of a directory, or None if it has none.

    Raises:
        ValueError: it cannot be read, or its vocabulary is not the model's.
    """
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        return None
    tokenizer = Tokenizer(directory)
    check_vocabulary(tokenizer, config)
    return tokenizer.path


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """Check that a trained model's vocabulary is as large as its tokenizer's.

    It may have up to max(128, 2 %) rows more, because vocabularies are padded to round numbers.

    Raises:
        ValueError: it is smaller, or larger by more than that.
    """
    padding = max(128, config.vocab_size // 50)
    if not config.vocab_size - padding <= tokenizer.vocab_size <= config.vocab_size:
        raise ValueError(
            f"{tokenizer.path} has {tokenizer.vocab_size} entries and the model {config.vocab_size}: they do "
            f"not belong together (a model may have up to {padding} unused rows, never fewer than entries)"
        )


def _dtype_of_division(dtypes: Mapping[str, torch.dtype], alphas: Mapping[str, Tensor]) -> torch.dtype:
    """The dtype of a latent weight divided by its scale, as PyTorch promotes them; the widest of all."""
    found = [
        torch.promote_types(dtypes.get(f"{name}.weight", alpha.dtype), alpha.dtype)
        for name, alpha in alphas.items()
    ]
    return functools.reduce(torch.promote_types, found) if found else torch.float32


def _on_grid(directory: Path, plan: Plan | None, weights: Lazy[Tensor]) -> dict[str, tuple[Grid, Tensor]]:
    """Recognise linears that are on a grid already, as those of published ParetoQ models are."""
    names = [name for name in weights if is_quantized_linear(name.removesuffix(".weight"))]
    linears = Lazy({name.removesuffix(".weight"): reader_of(weights, name) for name in names})
    try:
        return recognise(linears, None if plan is None else plan.default)
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error


def _check_alpha_presence(directory: Path, plan: Plan | None, alphas: Mapping[str, Tensor]) -> None:
    """Check that learned scales and ``w_bits`` come together or not at all."""
    if alphas and plan is None:
        raise ValueError(
            f"{directory} has learned scales (weight_clip_val) but its {CONFIG_NAME} has no w_bits, which "
            "says what grid they are for; add it (0 is ternary, else 1, 2, 3 or 4)"
        )
    if alphas and plan is not None and not plan.is_quantized:
        raise ValueError(f"{directory} has learned scales (weight_clip_val), but w_bits 16 means unquantised")
    if plan is not None and plan.is_quantized and not alphas:
        w_bits = plan.default.paretoq_w_bits
        raise ValueError(
            f"{directory} has no learned scales (weight_clip_val), which w_bits {w_bits} needs, and its "
            "weights are on no grid: a program that loaded and saved it dropped the scales, so give the "
            "files from before"
        )


def _grid_shapes(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of the linears and tables that have learned scales, by full name."""
    linears = quantized_linear_shapes(shapes)
    found = {name: shape for name, shape in linears.items() if plan.of(name).is_quantized}
    if plan.embedding_format.is_quantized:
        found |= {name: shapes[f"{name}.weight"] for name in (EMBEDDING, HEAD) if f"{name}.weight" in shapes}
    return found


def _checked_alphas(
    directory: Path, alphas: Mapping[str, Tensor], grids: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    on_disk = {name + ALPHA_SUFFIX: alpha for name, alpha in alphas.items()}
    expected = {name + ALPHA_SUFFIX: (rows, 1) for name, (rows, _) in grids.items()}
    check_names(directory, on_disk, expected)
    check_shapes(directory, {name: tuple(alpha.shape) for name, alpha in on_disk.items()}, expected)
    check_dtypes(directory, {name: alpha.dtype for name, alpha in on_disk.items()})
    values = {n: as_float32(directory, n, alpha) for n, alpha in on_disk.items()}
    return {n.removesuffix(ALPHA_SUFFIX): alpha for n, alpha in values.items()}


def settle_head(
    directory: Path,
    config: ModelConfig,
    weights: Lazy[Tensor],
    alphas: dict[str, Tensor],
    hf: Mapping[str, Any],
) -> ModelConfig:
    """Decide from the tensors whether the head is tied, which one that repeats the embedding is too."""
    if HEAD_WEIGHT not in weights:
        if not config.tied_embedding:
            # MobileLLM and ParetoQ share the embedding whatever tie_word_embeddings says; another model
            # without the head that its config.json promises is incomplete.
            if hf.get("model_type") != "mobilellm" and "w_bits" not in hf:
                raise ValueError(
                    f"{directory}: {HEAD_WEIGHT} is missing, and {CONFIG_NAME} does not say that the "
                    "embedding is its table; add the tensor, or set tie_word_embeddings to true if it does"
                )
            message = f"{directory} has no {HEAD_WEIGHT}; the token embedding serves as its head"
            warnings.warn(message, stacklevel=3)
        return replace(config, tied_embedding=True)
    if _equal_tables(weights, HEAD_WEIGHT, EMBEDDING_WEIGHT) and _same_scales(alphas):
        alphas.pop(HEAD, None)
        return replace(config, tied_embedding=True)
    if config.tied_embedding:
        raise ValueError(
            f"{directory}: {CONFIG_NAME} says that head and embedding are tied, but {HEAD_WEIGHT} differs "
            f"from {hf_name(EMBEDDING_WEIGHT)}; set tie_word_embeddings to false, or remove the tensor"
        )
    return config


def _equal_tables(weights: Lazy[Tensor], one: str, other: str) -> bool:
    """Compare two tensors a few rows at a time."""
    first = 0
    while len(part := weights.rows(one, slice(first, first + _ROWS))):
        if not torch.equal(part, weights.rows(other, slice(first, first + _ROWS))):
            return False
        first += _ROWS
    return True


def _same_scales(alphas: Mapping[str, Tensor]) -> bool:
    """Tell whether head and embedding have the same learned scales, if both have any."""
    embedding, head = alphas.get(EMBEDDING), alphas.get(HEAD)
    return embedding is None or head is None or torch.equal(embedding, head)
