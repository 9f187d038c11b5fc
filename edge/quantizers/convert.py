"""Between a checkpoint, its model, and the model's quantisation-aware form."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edge.formats import FULL_PRECISION, WeightFormat
from edge.model.checkpoint import ALPHA_SUFFIX, Checkpoint
from edge.model.mobilellm import MobileLLM, named_linears, replace_module
from edge.model.tensor_files import first_of
from edge.quantizers.paretoq import ALPHA_FLOOR, QATLinear


def prepare_qat(model: MobileLLM, fmt: WeightFormat, alphas: dict[str, Tensor] | None = None) -> MobileLLM:
    """Puts a QATLinear in place of every linear that ParetoQ quantises, keeping its weight.

    Args:
        alphas: learned scales [out, 1] by linear name; where given they are used untouched,
            else alpha starts from the weights.

    Returns:
        the same model, changed in place.

    Raises:
        ValueError: ``alphas`` is given and lacks a linear.
    """
    linears = named_linears(model)
    missing = set() if alphas is None else linears.keys() - alphas.keys()
    if missing:
        raise ValueError(f"no learned scale for {first_of(missing)}")
    for name, linear in linears.items():
        alpha = None if alphas is None else alphas[name]
        replace_module(model, name, QATLinear(linear.weight.detach(), fmt, alpha))
    return model


def qat_linears(model: MobileLLM) -> dict[str, QATLinear]:
    """Every quantisation-aware linear by its full name; none in a full-precision model."""
    return {name: module for name, module in named_linears(model).items() if isinstance(module, QATLinear)}


def build_model(checkpoint: Checkpoint) -> MobileLLM:
    """The model of a checkpoint, in evaluation mode; quantisation-aware when the checkpoint is.

    Its parameters are the checkpoint's own tensors, so training it changes them.
    """
    with torch.device("meta"):
        model = MobileLLM(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=True, assign=True)
    if checkpoint.fmt.is_quantized:
        prepare_qat(model, checkpoint.fmt, checkpoint.alphas)
    return model.eval()


def to_checkpoint(model: MobileLLM, tokenizer: Path | None) -> Checkpoint:
    """The model's state as a checkpoint, sharing its tensors.

    An alpha that training drove to zero or below is written as the floor it acts as; others are untouched.
    """
    linears = qat_linears(model)
    alphas = {name: _writable_alpha(linear.weight_clip_val.detach()) for name, linear in linears.items()}
    weights = {n: t.detach() for n, t in model.state_dict().items() if not n.endswith(ALPHA_SUFFIX)}
    fmt = next(iter(linears.values())).fmt if linears else FULL_PRECISION
    return Checkpoint(model.config, weights, fmt, alphas, tokenizer)


def _writable_alpha(alpha: Tensor) -> Tensor:
    return torch.where(alpha <= 0, torch.full_like(alpha, ALPHA_FLOOR), alpha)
