"""Convert between checkpoints, float models and QAT models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.lazy import rows_of
from edge.formats import Grid
from edge.model.decoder import EMBEDDING, HEAD, Decoder, replace_module
from edge.quantizers.base import FixedOnGrid, QuantizedEmbedding, QuantizedHead, QuantizedLinear
from edge.quantizers.paretoq import ALPHA_FLOOR, LearnedGrid
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import plan_of, prepare_qat, weights_of

_TABLES: dict[str, type[QuantizedEmbedding] | type[QuantizedHead]] = {
    EMBEDDING: QuantizedEmbedding,
    HEAD: QuantizedHead,
}


def build_model(checkpoint: Checkpoint, positions: int | None = None) -> Decoder:
    """Build a checkpoint's model in evaluation mode, on its grids if it has any.

    Its parameters are the checkpoint's own tensors, unless those are lazy, so training it changes them.

    Args:
        positions: see ``Decoder``.
    """
    with torch.device("meta"):
        model = Decoder(checkpoint.config, positions)
    codes = {f"{name}.weight" for name in checkpoint.quantized}
    floats = {name: checkpoint.weights[name] for name in checkpoint.weights if name not in codes}
    missing, unexpected = model.load_state_dict(floats, strict=False, assign=True)
    assert (set(missing), unexpected) == (codes, []), (missing, unexpected)
    if checkpoint.alphas:
        prepare_qat(model, checkpoint.plan, checkpoint.alphas)
    for name, weight in checkpoint.quantized.items():
        grid = checkpoint.plan.of_table(name) if name in _TABLES else checkpoint.plan.of(name)
        replace_module(model, name, _TABLES.get(name, QuantizedLinear)(weight, grid))
    return model.eval()


def to_checkpoint(model: Decoder, tokenizer: Path | None, default: Grid | None = None) -> Checkpoint:
    """Turn a model into a checkpoint that shares its tensors.

    An alpha that training drove to zero or below is written as the floor that it acts as.

    Args:
        default: default of the plan, see ``plan_of``.
    """
    modules = dict(model.named_modules())
    learned = {name: module for name, module in modules.items() if isinstance(module, LearnedGrid)}
    return Checkpoint(
        model.config,
        weights_of(model),
        plan_of(model, default),
        {name: _positive(module.alpha.detach()) for name, module in learned.items()},
        {name: module.quantized() for name, module in modules.items() if isinstance(module, FixedOnGrid)},
        tokenizer,
    )


def with_latents(checkpoint: Checkpoint) -> Checkpoint:
    """Turn codes into latent weights on their levels, which training can move.

    They get learned scales if all have a scale for each row, on grids that ParetoQ trains. Else the values
    become a full-precision model.
    """
    if not all(_is_trainable(checkpoint, name) for name in checkpoint.quantized):
        return replace(checkpoint, plan=Plan(), alphas={}, quantized={})
    grids = {name: checkpoint.plan.of(name) for name in checkpoint.quantized}
    scales = {name: stored.scale for name, stored in checkpoint.quantized.items()}
    alphas = {name: (scales[name] / grid.spacing).clamp_min(ALPHA_FLOOR) for name, grid in grids.items()}
    return replace(checkpoint, alphas=checkpoint.alphas | alphas, quantized={})


def _is_trainable(checkpoint: Checkpoint, name: str) -> bool:
    stored, grid = rows_of(checkpoint.quantized, name, slice(1)), checkpoint.plan.of(name)
    return stored.group_size is None and not isinstance(stored.zero, Tensor) and grid.for_linears


def _positive(alpha: Tensor) -> Tensor:
    return torch.where(alpha <= 0, torch.full_like(alpha, ALPHA_FLOOR), alpha)
