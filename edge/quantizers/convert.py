"""Between a plain model, its quantisation-aware form, and the packed tables that the ops read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from edge.formats import FULL_PRECISION, WeightFormat
from edge.model.checkpoint import ALPHA_SUFFIX, Checkpoint
from edge.model.mobilellm import MobileLLM, named_linears
from edge.quantizers.paretoq import QATLinear, effective_alpha


def prepare_qat(model: MobileLLM, fmt: WeightFormat, alphas: dict[str, Tensor] | None = None) -> MobileLLM:
    """Puts a QATLinear in place of every linear that ParetoQ quantises, keeping its weight.

    Args:
        alphas: learned scales [out, 1] by linear name; where given they are used untouched,
            else alpha starts from the weights.

    Returns:
        the same model, changed in place.
    """
    for name, linear in named_linears(model).items():
        alpha = None if alphas is None else alphas[name]
        _replace(model, name, QATLinear(linear.weight.detach(), fmt, alpha))
    return model


def qat_linears(model: MobileLLM) -> dict[str, QATLinear]:
    return {name: module for name, module in named_linears(model).items() if isinstance(module, QATLinear)}


def _replace(model: MobileLLM, name: str, module: QATLinear) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def build_model(checkpoint: Checkpoint) -> MobileLLM:
    """The model of a checkpoint, in evaluation mode; quantisation-aware when the checkpoint is."""
    with torch.device("meta"):
        model = MobileLLM(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=True, assign=True)
    model.reset_tables()
    if checkpoint.fmt.is_quantized:
        prepare_qat(model, checkpoint.fmt, checkpoint.alphas)
    return model.eval()


def to_checkpoint(model: MobileLLM, tokenizer: Path | None) -> Checkpoint:
    """The model's state as a checkpoint; alphas below the floor are written as the floor they act as."""
    linears = qat_linears(model)
    alphas = {name: effective_alpha(linear.weight_clip_val.detach()) for name, linear in linears.items()}
    weights = {n: t.detach() for n, t in model.state_dict().items() if not n.endswith(ALPHA_SUFFIX)}
    fmt = next(iter(linears.values())).fmt if linears else FULL_PRECISION
    return Checkpoint(model.config, weights, fmt, alphas, tokenizer)
