"""Define what methods share that quantise a trained model: a layer, its inputs, the protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge.model.decoder import Layer, replace_module
from edge.quantizers.base import QuantizedLinear
from edge.quantizers.nested import WeightedSlices
from edge.quantizers.placement import Target

#: Linears of a layer that read the same input, in the order in which inputs come to be.
SEQUENCE = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)


@dataclass(frozen=True)
class Block:
    """One layer of a model, and what reaches it.

    Attributes:
        name: its full name, ``layers.0``.
        layer: with float weights; a method changes it in place.
        targets: by the linear's name in the layer; a linear that has none keeps its weights.
        run: gives the residual stream [1, T, dim] behind a layer, of the stream in front of it.
        inputs: float32 [1, T, dim] for each text, behind the quantised layers; empty for a method that needs
            no calibration.
        float_inputs: the same behind the layers as they were; empty unless ``compares``.
        say: prints a sentence for the user.
    """

    name: str
    layer: Layer
    targets: Mapping[str, Target]
    run: Callable[[nn.Module, Tensor], Tensor]
    inputs: Sequence[Tensor] = ()
    float_inputs: Sequence[Tensor] = ()
    say: Callable[[str], None] = print

    def put(self, name: str, linear: QuantizedLinear) -> None:
        """Replace a linear of the layer."""
        replace_module(self.layer, name, linear)

    def weight(self, name: str) -> Tensor:
        """The weight [out, in] of a linear of the layer, without gradient."""
        return self.layer.get_submodule(name).get_parameter("weight").detach()

    @torch.no_grad()
    def watch(self, name: str, inputs: Sequence[Tensor], see: Callable[[Tensor], None]) -> None:
        """Run the layer on its inputs, and show what reaches one of its linears, [T, in] at a time.

        Raises:
            ValueError: activations are not finite.
        """

        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].flatten(0, -2)
            if not bool(torch.isfinite(x).all()):
                raise ValueError(
                    f"{self.name}.{name}: activations are NaN or infinite on the calibration text"
                )
            see(x)

        handle = self.layer.get_submodule(name).register_forward_pre_hook(hook)
        try:
            for x in inputs:
                self.run(self.layer, x)
        finally:
            handle.remove()


class PostTraining(ABC):
    """One way to quantise a trained model; a new one is a file and a row of ``post_methods.POST_METHODS``.

    Attributes:
        name: the word after ``--method``.
        needs_calibration: reads batches of tokens.
        compares: needs the inputs of the float layers too.
        learns_ranges: finds its own ranges, so that there is none to search for.
        slices: of the parent that the method makes; None for a model of one width.
    """

    name: str
    needs_calibration: bool = True
    compares: bool = False
    learns_ranges: bool = False
    slices: WeightedSlices | None = None

    def configured(self, options: Mapping[str, Any]) -> PostTraining:
        """This method with the flags that are not for every method, by name.

        Raises:
            ValueError: a flag is not for this method, or wrong.
        """
        for option in options:
            raise ValueError(f"--{option.replace('_', '-')} is not for --method {self.name}")
        return self

    @abstractmethod
    def quantize(self, block: Block) -> None:
        """Put a ``QuantizedLinear`` in place of every linear that has a target.

        Raises:
            ValueError: activations or weights that no grid can hold; names the linear.
        """
