"""Convert between checkpoints, float models and QAT models."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.formats import WeightFormat
from edge.model.decoder import Decoder
from edge.quantizers.paretoq import ALPHA_FLOOR, LearnedGrid
from edge.quantizers.prepare import plan_of, prepare_qat, weights_of


def build_model(checkpoint: Checkpoint) -> Decoder:
    """Build a checkpoint's model in evaluation mode, with learned grids if the checkpoint has them.

    Its parameters are the checkpoint's own tensors, so training it changes them.
    """
    with torch.device("meta"):
        model = Decoder(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=True, assign=True)
    if checkpoint.plan.is_quantized:
        prepare_qat(model, checkpoint.plan, checkpoint.alphas)
    return model.eval()


def to_checkpoint(model: Decoder, tokenizer: Path | None, default: WeightFormat | None = None) -> Checkpoint:
    """Turn a model into a checkpoint that shares its tensors.

    An alpha that training drove to zero or below is written as the floor that it acts as.

    Args:
        default: default of the plan, see ``plan_of``.
    """
    grids = {name: module for name, module in model.named_modules() if isinstance(module, LearnedGrid)}
    alphas = {name: _positive(grid.alpha.detach()) for name, grid in grids.items()}
    return Checkpoint(model.config, weights_of(model), plan_of(model, default), alphas, tokenizer)


def _positive(alpha: Tensor) -> Tensor:
    return torch.where(alpha <= 0, torch.full_like(alpha, ALPHA_FLOOR), alpha)
