"""Put a model on ParetoQ's learned grids, and read the grids and weights of any model back."""

from __future__ import annotations

from collections import Counter

from torch import Tensor

from edge.formats import FULL_PRECISION, Grid, grid_for_bits
from edge.model.decoder import EMBEDDING, HEAD, Decoder, named_linears, replace_module
from edge.quantizers.base import Method, grid_of
from edge.quantizers.paretoq import QATLinear
from edge.quantizers.plan import Plan
from edge.quantizers.qat_tables import QATEmbedding, QATHead, TiedQATHead
from edge.text import first_of

_MODULES: dict[str, type[QATEmbedding] | type[QATHead]] = {EMBEDDING: QATEmbedding, HEAD: QATHead}


class ParetoQ(Method):
    """``--method paretoq``: a learned scale per output channel (arXiv 2502.02631)."""

    name = "paretoq"

    def grid(self, bits: float | str, choices: tuple[float, ...] | None = None) -> Grid:
        return grid_for_bits(bits, choices)

    def prepare(self, model: Decoder, plan: Plan) -> Decoder:
        return prepare_qat(model, plan)


class FixedAlpha(ParetoQ):
    """``--method paretoq-fixed-alpha``: the same, with alpha left where it starts; for comparison."""

    name = "paretoq-fixed-alpha"

    def prepare(self, model: Decoder, plan: Plan) -> Decoder:
        for linear in qat_linears(super().prepare(model, plan)).values():
            linear.weight_clip_val.requires_grad_(False)
        return model


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
    for name, grid in grids.items():
        weight = model.get_submodule(name).get_parameter("weight").detach()
        alpha = None if alphas is None else alphas[name]
        replace_module(model, name, _MODULES.get(name, QATLinear)(weight, grid, alpha))
    if plan.embedding_format.is_quantized and tied:
        replace_module(model, HEAD, TiedQATHead())
    return model


def qat_linears(model: Decoder) -> dict[str, QATLinear]:
    """Every linear with a learned grid by its full name; none in a full-precision model."""
    return {name: module for name, module in named_linears(model).items() if isinstance(module, QATLinear)}


def plan_of(model: Decoder, default: Grid | None = None) -> Plan:
    """Read the grids of a model's parts.

    Args:
        default: the plan's default, if any linear has it; else it is the grid of most quantised linears.
    """
    grids = {name: grid_of(linear) for name, linear in named_linears(model).items()}
    if default is None or default not in grids.values():
        counts = Counter(grid for grid in grids.values() if grid.is_quantized)
        default = counts.most_common(1)[0][0] if counts else FULL_PRECISION
    return Plan.from_grids(grids, default, grid_of(model.embed_tokens))


def weights_of(model: Decoder) -> dict[str, Tensor]:
    """Read weights and biases by name, without gradient; quantised modules give weights before rounding."""
    tensors = model.state_dict()
    return {name: tensor.detach() for name, tensor in tensors.items() if name.endswith((".weight", "_bias"))}
