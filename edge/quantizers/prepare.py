"""Put a model on learned grids for quantisation-aware training, and read its formats and weights back."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn

from edge.formats import FULL_PRECISION, WeightFormat
from edge.model.decoder import EMBEDDING, HEAD, Decoder, named_linears, replace_module
from edge.quantizers.paretoq import LearnedGrid, QATLinear
from edge.quantizers.plan import Plan
from edge.quantizers.qat_tables import QATEmbedding, QATHead, TiedQATHead
from edge.text import first_of

_MODULES: dict[str, type[QATEmbedding] | type[QATHead]] = {EMBEDDING: QATEmbedding, HEAD: QATHead}


def prepare_qat(model: Decoder, plan: Plan, alphas: dict[str, Tensor] | None = None) -> Decoder:
    """Replace every linear and table that the plan quantises by a module with a learned grid.

    Args:
        alphas: learned scales [rows, 1] by the full name of the linear or table, used as they are; None
            starts them from the weights.

    Returns:
        the same model, changed in place; it keeps its weights.

    Raises:
        ValueError: ``alphas`` is given and lacks one.
    """
    grids = {name: plan.of(name) for name in named_linears(model) if plan.of(name).is_quantized}
    tied = model.lm_head.weight is None
    if plan.embedding_format.is_quantized:
        grids |= dict.fromkeys((EMBEDDING,) if tied else (EMBEDDING, HEAD), plan.embedding_format)
    missing = set() if alphas is None else grids.keys() - alphas.keys()
    if missing:
        raise ValueError(f"no learned scale for {first_of(missing)}")
    for name, fmt in grids.items():
        weight = model.get_submodule(name).get_parameter("weight").detach()
        alpha = None if alphas is None else alphas[name]
        replace_module(model, name, _MODULES.get(name, QATLinear)(weight, fmt, alpha))
    if plan.embedding_format.is_quantized and tied:
        replace_module(model, HEAD, TiedQATHead())
    return model


def qat_linears(model: Decoder) -> dict[str, QATLinear]:
    """Every linear with a learned grid by its full name; none in a full-precision model."""
    return {name: module for name, module in named_linears(model).items() if isinstance(module, QATLinear)}


def format_of(module: nn.Module) -> WeightFormat:
    """The format that a linear or table is trained in; FULL_PRECISION for a plain one."""
    return module.fmt if isinstance(module, LearnedGrid) else FULL_PRECISION


def plan_of(model: Decoder, default: WeightFormat | None = None) -> Plan:
    """The formats of a model's parts.

    Args:
        default: the plan's default, if any linear has it; else it is the format of most quantised linears.
    """
    formats = {name: format_of(linear) for name, linear in named_linears(model).items()}
    if default is None or default not in formats.values():
        counts = Counter(fmt for fmt in formats.values() if fmt.is_quantized)
        default = counts.most_common(1)[0][0] if counts else FULL_PRECISION
    return Plan.from_formats(formats, default, format_of(model.embed_tokens))


def weights_of(model: Decoder) -> dict[str, Tensor]:
    """The model's weights by name, without gradient; of a quantised module those before rounding."""
    tensors = model.state_dict()
    return {name: tensor.detach() for name, tensor in tensors.items() if name.endswith(".weight")}
