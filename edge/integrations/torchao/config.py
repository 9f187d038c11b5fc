"""The configs that ``torchao.quantization.quantize_`` takes, and what they do to a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from torchao.core.config import ALLOWED_AO_MODULES, AOBaseConfig
from torchao.quantization.transform_module import register_quantize_module_handler

from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, Grid, grid_for_bits
from edge.formats.slices import PARENT_BITS
from edge.integrations.torchao.modules import (
    PreparedEmbedding,
    PreparedLinear,
    PreparedNested,
    converted,
    rounded,
)
from edge.integrations.torchao.tensor import LowBitTensor
from edge.quantizers.base import OnGrid

Step = Literal["prepare", "convert"]
STEPS: tuple[Step, ...] = ("prepare", "convert")


def _check_step(step: str) -> None:
    if step not in STEPS:
        raise ValueError(f"step must be 'prepare', before training, or 'convert', after it, not {step!r}")


@dataclass
class ParetoQConfig(AOBaseConfig):
    """ParetoQ (arXiv 2502.02631): prepare puts learned grids in, convert packs the trained weights.

    Attributes:
        bits: of the linears: 1, 1.58, 2, 3 or 4.
        step: "prepare" before training, "convert" after it.
        embedding_bits: 4 or 8, for embeddings that ``filter_fn`` lets through; None keeps them.

    Raises:
        ValueError: bits or step that there are not.
    """

    bits: float = 2
    step: Step = "prepare"
    embedding_bits: int | None = None

    def __post_init__(self) -> None:
        _check_step(self.step)
        if not self.grid.is_quantized:
            raise ValueError("16 bits quantise nothing; choose 1, 1.58, 2, 3 or 4")
        if self.embedding_bits is not None:
            grid_for_bits(self.embedding_bits, EMBEDDING_BITS_CHOICES)

    @property
    def grid(self) -> Grid:
        return grid_for_bits(self.bits, BITS_CHOICES)


@dataclass
class MatQuantConfig(AOBaseConfig):
    """MatQuant (arXiv 2502.06786): prepare makes a parent of 8 bits, convert packs it or one of its slices.

    ``set_width(model, bits)`` chooses the slice that a prepared model computes with; train the sum of the
    losses at the widths that you want, such as 8, 4 and 2.

    Attributes:
        step: "prepare" before training, "convert" after it.
        bits: of the slice that is packed; 8 is the parent.
        extra_precision: slices with one level more, which take one bit more in memory.
    """

    step: Step = "prepare"
    bits: int = PARENT_BITS
    extra_precision: bool = False

    def __post_init__(self) -> None:
        _check_step(self.step)
        if not 2 <= self.bits <= PARENT_BITS:
            raise ValueError(f"a slice has 2 to {PARENT_BITS} bits, not {self.bits}")


@dataclass
class PostTrainingConfig(AOBaseConfig):
    """Round to the nearest of even levels, or pack what ``edge.quantize`` put on a grid, GPTQ's included.

    Attributes:
        bits: of plain linears, which are rounded; a linear that is on a grid keeps its own.
    """

    bits: float = 4

    @property
    def grid(self) -> Grid:
        return grid_for_bits(self.bits, asymmetric=True)

    def __post_init__(self) -> None:
        if not self.grid.is_quantized:
            raise ValueError("16 bits quantise nothing; choose fewer")


def linears(model: nn.Module, *keep: str) -> Callable[[nn.Module, str], bool]:
    """Choose a model's linears for ``quantize_``, but for its output head and those named by ``keep``.

    A linear is kept if one of these is a part of its name between dots, or several: "classifier",
    "layers.0.mlp". The head is what ``get_output_embeddings`` of a
    transformers model gives, or a linear that shares its weight with an embedding. The output projection of
    ``nn.MultiheadAttention``, which is no module of its own to it, is kept too.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    kept = {  # by name, so that the filter serves copies of the model too
        name
        for name, module in model.named_modules()
        if module is head or id(getattr(module, "weight", None)) in embeddings
    }

    def chosen(module: nn.Module, name: str) -> bool:
        is_kept = name in kept or any(f".{part}." in f".{name}." for part in keep)
        is_inlined = isinstance(module, NonDynamicallyQuantizableLinear)
        return isinstance(module, nn.Linear) and not is_kept and not is_inlined

    return chosen


def _checked(module: nn.Module, config: str) -> nn.Module:
    """Refuse what no config here can quantise.

    Raises:
        ValueError: another kind of module, a weight without values, or one that is quantised already.
    """
    kind = type(module).__name__
    is_plain = type(module) in (nn.Linear, nn.Embedding) or isinstance(module, OnGrid)
    has_options = any(getattr(module, name, None) for name in ("max_norm", "sparse", "scale_grad_by_freq"))
    if not is_plain or has_options:
        options = " with max_norm, sparse or scale_grad_by_freq" if is_plain else ""
        raise ValueError(
            f"{config} quantises plain linears and embeddings, not {kind}{options}: leave it out by filter_fn"
        )
    if isinstance(module.weight, LowBitTensor):
        raise ValueError(f"this {kind} holds low-bit codes already; quantise a model once")
    if type(module.weight.data) is not torch.Tensor:
        held = type(module.weight.data).__name__
        raise ValueError(
            f"this {kind} was quantised by another method (its weight is {held}); start from full precision"
        )
    if module.weight.is_meta:
        raise ValueError(f"this {kind} is on the meta device and has no values; load the weights first")
    return module


def _fresh(module: nn.Module, config: str) -> nn.Module:
    if isinstance(_checked(module, config), OnGrid):
        raise ValueError(
            f"this {type(module).__name__} was prepared before; train it, then use step='convert'"
        )
    return module


@register_quantize_module_handler(ParetoQConfig)
def _paretoq(module: nn.Module, config: ParetoQConfig) -> nn.Module:
    _check_step(config.step)  # users set it between prepare and convert
    if config.step == "convert":
        return _converted_paretoq(module, config)
    module = _fresh(module, "ParetoQConfig")
    if isinstance(module, nn.Linear):
        return PreparedLinear(module, config.grid)
    assert isinstance(module, nn.Embedding)
    if config.embedding_bits is None:
        raise ValueError("an embedding needs embedding_bits, 4 or 8, or leave it out by filter_fn")
    return PreparedEmbedding(module, grid_for_bits(config.embedding_bits, EMBEDDING_BITS_CHOICES))


def _converted_paretoq(module: nn.Module, config: ParetoQConfig) -> nn.Module:
    module = _checked(module, "ParetoQConfig")
    grid = getattr(module, "grid", config.grid)
    if isinstance(module, PreparedNested):
        raise ValueError("this linear was prepared by MatQuantConfig; convert it with that")
    if isinstance(module, nn.Linear) and grid != config.grid:
        raise ValueError(
            f"this linear was prepared at {grid.bits:g} bits, not {config.bits:g}; convert it as it is"
        )
    return converted(module)


@register_quantize_module_handler(MatQuantConfig)
def _matquant(module: nn.Module, config: MatQuantConfig) -> nn.Module:
    _check_step(config.step)
    if config.step == "convert":
        if isinstance(_checked(module, "MatQuantConfig"), PreparedLinear | PreparedEmbedding):
            raise ValueError("this module was prepared by ParetoQConfig; convert it with that")
        return converted(module, config.bits)
    module = _fresh(module, "MatQuantConfig")
    if not isinstance(module, nn.Linear):
        raise ValueError("MatQuantConfig quantises nn.Linear; leave embeddings out by filter_fn")
    return PreparedNested(module, config.extra_precision)


@register_quantize_module_handler(PostTrainingConfig)
def _post_training(module: nn.Module, config: PostTrainingConfig) -> nn.Module:
    module = _checked(module, "PostTrainingConfig")
    if isinstance(module, OnGrid):
        return converted(module)
    if not isinstance(module, nn.Linear):
        raise ValueError("PostTrainingConfig quantises nn.Linear; leave embeddings out by filter_fn")
    return rounded(module, config.grid)


def set_width(model: nn.Module, bits: int) -> None:
    """Let a model that MatQuantConfig prepared compute with its slice of so many bits from now on.

    Raises:
        ValueError: nothing in it was prepared so, or there is no such slice.
    """
    nested = [module for module in model.modules() if isinstance(module, PreparedNested)]
    if not nested:
        raise ValueError("nothing in this model was prepared by MatQuantConfig")
    if not 2 <= bits <= PARENT_BITS:
        raise ValueError(f"no slice of {bits} bits: MatQuantConfig prepares slices of 2 to {PARENT_BITS}")
    for module in nested:
        module.bits = bits


ALLOWED_AO_MODULES.add(__name__)
