"""Checkpoints: Hugging Face Llama directories, in and out, with ParetoQ's learned scales where there are any.

On disk: ``config.json``, ``model.safetensors`` (or shards behind an index), and the tokenizer. A
quantisation-aware checkpoint adds ``<linear>.weight_clip_val`` [out, 1] per quantised linear and
``w_bits`` in config.json, which is the form ParetoQ publishes (arXiv 2502.02631). Linears of another
width, and a quantised embedding and head, are named there too (``edge/checkpoints/hf_config.py``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.hf_config import CONFIG_NAME, config_from_hf, config_to_hf, plan_from_hf, read_hf_config
from edge.checkpoints.hub import local_directory
from edge.checkpoints.tensor_files import as_float32, check_names, check_shapes, hf_name, read_tensors
from edge.checkpoints.write import write_directory
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, is_quantized_linear
from edge.model.tokenizer import TOKENIZER_FILES, Tokenizer
from edge.quantizers.plan import Plan, mean_bits
from edge.text import first_of

ALPHA_SUFFIX = ".weight_clip_val"
HEAD = "lm_head.weight"
EMBEDDING = "embed_tokens.weight"
#: config.json of a packed checkpoint (``edge/checkpoints/packed.py``) has this key.
PACKED_KEY = "packed"


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to read them; tensors are float32 under the names of ``Decoder``.

    Attributes:
        plan: the formats whose grids ``alphas`` are for; nothing is quantised when there are none.
        alphas: learned scales [rows, 1] by the full name of the linear or table.
        tokenizer: the tokenizer file, where the directory has one.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    plan: Plan = field(default_factory=Plan)
    alphas: dict[str, Tensor] = field(default_factory=dict)
    tokenizer: Path | None = None

    @property
    def bits(self) -> float:
        """Mean bits per weight of the linears, as their formats are named."""
        linears = {name.removesuffix(".weight"): weight for name, weight in self.weights.items()}
        return mean_bits(
            (self.plan.of(name), weight.numel())
            for name, weight in linears.items()
            if is_quantized_linear(name)
        )


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a Hugging Face directory or hub id, full precision or ParetoQ, single file or shards.

    The head counts as tied when the file has none (MobileLLM is published so, whatever its JSON says) and
    when it equals the embedding.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    directory = local_directory(path)
    hf = read_hf_config(directory)
    if PACKED_KEY in hf:
        raise ValueError(
            f"{directory} is a packed checkpoint, made for export; give the one that it was packed from"
        )
    config, plan = parse_config(directory, hf)
    tensors = read_tensors(directory)
    alphas = {n.removesuffix(ALPHA_SUFFIX): t for n, t in tensors.items() if n.endswith(ALPHA_SUFFIX)}
    weights = {n: t for n, t in tensors.items() if not n.endswith(ALPHA_SUFFIX)}
    if config.tied_embedding and EMBEDDING not in weights and HEAD in weights:
        weights[EMBEDDING] = weights.pop(HEAD)  # one table under two names; some tools keep the second
    shapes = weight_shapes(config)
    check_names(directory, weights, shapes.keys() - {HEAD}, allowed={HEAD})
    check_shapes(directory, weights, shapes)
    _check_alpha_presence(directory, plan, alphas)
    plan = plan or Plan()
    weights = {n: as_float32(directory, n, t) for n, t in weights.items()}
    alphas = _checked_alphas(directory, alphas, _grid_shapes(plan, {n: shapes[n] for n in weights}))
    config = _settle_head(directory, config, weights, alphas, hf)
    return Checkpoint(config, weights, plan, alphas, checked_tokenizer(directory, config))


def save_checkpoint(
    checkpoint: Checkpoint, directory: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Writes a Hugging Face directory; it appears whole or not at all. Alphas are always float32.

    Raises:
        ValueError: the directory cannot be written or holds something else; a weight is NaN or beyond dtype.
    """
    tensors = {name: tensor.detach().to(dtype) for name, tensor in checkpoint.weights.items()}
    beyond = [hf_name(name) for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if beyond:
        raise ValueError(f"{first_of(beyond)}: NaN, or values that {dtype} cannot hold; nothing was written")
    tensors |= {name + ALPHA_SUFFIX: alpha.detach().float() for name, alpha in checkpoint.alphas.items()}
    hf = config_to_hf(checkpoint.config, checkpoint.plan)
    write_directory(directory, tensors, hf, checkpoint.tokenizer)


def parse_config(directory: Path, hf: dict[str, Any]) -> tuple[ModelConfig, Plan | None]:
    """The shape, and the formats where ``w_bits`` gives them; errors name the file."""
    try:
        config = config_from_hf(hf)
        return config, plan_from_hf(hf, linear_names(config))
    except ValueError as error:
        raise ValueError(f"{directory / CONFIG_NAME}: {error}") from error


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of a model with its own head, by name."""
    with torch.device("meta"):
        model = Decoder(replace(config, tied_embedding=False, max_seq_len=1))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def quantized_linear_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of ``weight_shapes`` that a weight format applies to, by linear name."""
    by_linear = {name.removesuffix(".weight"): shape for name, shape in shapes.items()}
    return {name: shape for name, shape in by_linear.items() if is_quantized_linear(name)}


def linear_names(config: ModelConfig) -> tuple[str, ...]:
    """The full name of every linear that a weight format applies to."""
    return tuple(quantized_linear_shapes(weight_shapes(config)))


def checked_tokenizer(directory: Path, config: ModelConfig) -> Path | None:
    """The tokenizer file of a directory, or None where it has none.

    Raises:
        ValueError: it cannot be read, or its vocabulary is not the model's.
    """
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        return None
    tokenizer = Tokenizer(directory)
    check_vocabulary(tokenizer, config)
    return tokenizer.path


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """ValueError unless a trained model's vocabulary is as large as its tokenizer's.

    It may have up to max(128, 2 %) rows more, because vocabularies are padded to round numbers.
    """
    padding = max(128, config.vocab_size // 50)
    if not config.vocab_size - padding <= tokenizer.vocab_size <= config.vocab_size:
        raise ValueError(
            f"{tokenizer.path} has {tokenizer.vocab_size} entries and the model {config.vocab_size}: they do "
            f"not belong together (a model may have up to {padding} unused rows, never fewer than entries)"
        )


def _check_alpha_presence(directory: Path, plan: Plan | None, alphas: Mapping[str, Tensor]) -> None:
    """Learned scales and ``w_bits`` come together or not at all."""
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
            f"{directory} has no learned scales (weight_clip_val), but w_bits {w_bits} says so; "
            "remove w_bits if it is a full-precision checkpoint"
        )


def _grid_shapes(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Those of a checkpoint's weights that have learned scales, by the name of the linear or table."""
    linears = quantized_linear_shapes(shapes)
    found = {name: shape for name, shape in linears.items() if plan.of(name).is_quantized}
    if plan.embedding_format.is_quantized:
        found |= {n.removesuffix(".weight"): shapes[n] for n in (EMBEDDING, HEAD) if n in shapes}
    return found


def _checked_alphas(
    directory: Path, alphas: Mapping[str, Tensor], grids: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    on_disk = {name + ALPHA_SUFFIX: alpha for name, alpha in alphas.items()}
    expected = {name + ALPHA_SUFFIX: (rows, 1) for name, (rows, _) in grids.items()}
    check_names(directory, on_disk, expected)
    check_shapes(directory, on_disk, expected)
    values = {n: as_float32(directory, n, alpha) for n, alpha in on_disk.items()}
    bad = [hf_name(n) for n, alpha in values.items() if not bool((alpha > 0).all())]
    if bad:
        raise ValueError(f"{directory}: learned scales must be positive in every row; not so {first_of(bad)}")
    return {n.removesuffix(ALPHA_SUFFIX): alpha for n, alpha in values.items()}


def _settle_head(
    directory: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    alphas: dict[str, Tensor],
    hf: Mapping[str, Any],
) -> ModelConfig:
    """Decides from the tensors whether the head is tied, and drops one that repeats the embedding."""
    head = weights.get(HEAD)
    if head is None:
        if not config.tied_embedding:
            # MobileLLM and ParetoQ share the embedding whatever tie_word_embeddings says; of other
            # models a head that is said to exist and does not was lost.
            if hf.get("model_type") != "mobilellm" and "w_bits" not in hf:
                raise ValueError(
                    f"{directory}: {HEAD} is missing, and {CONFIG_NAME} does not say that the embedding is "
                    "its table; add the tensor, or set tie_word_embeddings to true if it does"
                )
            warnings.warn(f"{directory} has no {HEAD}; the token embedding serves as its head", stacklevel=3)
        return replace(config, tied_embedding=True)
    if torch.equal(head, weights[EMBEDDING]) and _same_scales(alphas):
        del weights[HEAD]
        alphas.pop(HEAD.removesuffix(".weight"), None)
        return replace(config, tied_embedding=True)
    if config.tied_embedding:
        raise ValueError(
            f"{directory}: {CONFIG_NAME} says that head and embedding are tied, but {HEAD} differs from "
            f"{hf_name(EMBEDDING)}; set tie_word_embeddings to false, or remove the tensor"
        )
    return config


def _same_scales(alphas: Mapping[str, Tensor]) -> bool:
    """Whether head and embedding have one grid, where they have any."""
    embedding, head = (alphas.get(name.removesuffix(".weight")) for name in (EMBEDDING, HEAD))
    return embedding is None or head is None or torch.equal(embedding, head)
