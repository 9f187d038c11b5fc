"""Between a checkpoint, its model, and the model's quantisation-aware form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor, nn

from edge.checkpoints.hugging_face import EMBEDDING, HEAD, Checkpoint
from edge.formats import FULL_PRECISION, WeightFormat
from edge.model.decoder import Decoder, named_linears, replace_module
from edge.quantizers.paretoq import ALPHA_FLOOR, LearnedGrid, QATLinear
from edge.quantizers.plan import Plan
from edge.quantizers.qat_tables import QATEmbedding, QATHead, TiedQATHead
from edge.text import first_of


def prepare_qat(model: Decoder, plan: Plan, alphas: dict[str, Tensor] | None = None) -> Decoder:
    """Puts a module with a learned grid in place of every linear and table that is quantised.

    Args:
        alphas: learned scales [rows, 1] by the full name of the linear or table; where given they are used
            untouched, else alpha starts from the weights.

    Returns:
        the same model, changed in place; it keeps its weights.

    Raises:
        ValueError: ``alphas`` is given and lacks one.
    """
    grids = {name: plan.of(name) for name in named_linears(model) if plan.of(name).is_quantized}
    if plan.embedding_format.is_quantized:
        own_head = () if model.lm_head.weight is None else (_module_name(HEAD),)
        grids |= dict.fromkeys((_module_name(EMBEDDING), *own_head), plan.embedding_format)
    missing = set() if alphas is None else grids.keys() - alphas.keys()
    if missing:
        raise ValueError(f"no learned scale for {first_of(missing)}")
    for name, fmt in grids.items():
        weight = model.get_submodule(name).get_parameter("weight").detach()
        alpha = None if alphas is None else alphas[name]
        replace_module(model, name, _TABLES.get(name, QATLinear)(weight, fmt, alpha))
    if plan.embedding_format.is_quantized and model.lm_head.weight is None:
        replace_module(model, _module_name(HEAD), TiedQATHead())
    return model


def qat_linears(model: Decoder) -> dict[str, QATLinear]:
    """Every quantisation-aware linear by its full name; none in a full-precision model."""
    return {name: module for name, module in named_linears(model).items() if isinstance(module, QATLinear)}


def format_of(module: nn.Module) -> WeightFormat:
    """The format that a linear or table is trained in; FULL_PRECISION of a plain one."""
    return module.fmt if isinstance(module, LearnedGrid) else FULL_PRECISION


def plan_of(model: Decoder, default: WeightFormat | None = None) -> Plan:
    """The formats of a model's parts.

    Args:
        default: the plan's, where any linear has it; else the format that most quantised linears have.
    """
    formats = {name: format_of(linear) for name, linear in named_linears(model).items()}
    if default is None or default not in formats.values():
        counts = Counter(fmt for fmt in formats.values() if fmt.is_quantized)
        default = counts.most_common(1)[0][0] if counts else FULL_PRECISION
    return Plan.from_formats(formats, default, format_of(model.embed_tokens))


def build_model(checkpoint: Checkpoint) -> Decoder:
    """The model of a checkpoint, in evaluation mode; quantisation-aware when the checkpoint is.

    Its parameters are the checkpoint's own tensors, so training it changes them.
    """
    with torch.device("meta"):
        model = Decoder(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=True, assign=True)
    if checkpoint.plan.is_quantized:
        prepare_qat(model, checkpoint.plan, checkpoint.alphas)
    return model.eval()


def to_checkpoint(model: Decoder, tokenizer: Path | None, default: WeightFormat | None = None) -> Checkpoint:
    """The model's state as a checkpoint, sharing its tensors.

    An alpha that training drove to zero or below is written as the floor it acts as; others are untouched.

    Args:
        default: of the plan, see ``plan_of``.
    """
    grids = {name: module for name, module in model.named_modules() if isinstance(module, LearnedGrid)}
    alphas = {name: _writable_alpha(grid.alpha.detach()) for name, grid in grids.items()}
    return Checkpoint(model.config, weights_of(model), plan_of(model, default), alphas, tokenizer)


def weights_of(model: Decoder) -> dict[str, Tensor]:
    """The model's weights without gradient, by name; of what is on a learned grid, those before rounding."""
    tensors = model.state_dict()
    return {name: tensor.detach() for name, tensor in tensors.items() if name.endswith(".weight")}


def _module_name(weight: str) -> str:
    return weight.removesuffix(".weight")


_TABLES: dict[str, type[QATEmbedding] | type[QATHead]] = {
    _module_name(EMBEDDING): QATEmbedding,
    _module_name(HEAD): QATHead,
}


def _writable_alpha(alpha: Tensor) -> Tensor:
    return torch.where(alpha <= 0, torch.full_like(alpha, ALPHA_FLOOR), alpha)
