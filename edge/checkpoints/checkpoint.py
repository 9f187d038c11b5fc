"""The checkpoint as a value: a model's shape, weights, grids and learned scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge.formats.slices import Nesting
from edge.formats.weight import QuantizedWeight
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, named_linears
from edge.quantizers.plan import Plan, mean_bits


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to read them; tensors are float32 under the names of ``Decoder``.

    Weights and codes of a checkpoint on disk are ``Lazy``: read anew at each access.

    Attributes:
        plan: the grids of ``alphas`` and ``quantized``; quantises nothing when there are none.
        alphas: learned scales [rows, 1] of latent weights, by the full name of the linear or table.
        quantized: weights that are codes already, by full name; ``weights`` has their values too.
        tokenizer: the tokenizer file, if the directory has one.
        post_training: how a model was quantised after its training; None if it was trained as it is.
        nesting: how a parent was trained to be sliced; None for other models.
        latent_dtype: in which latent weights and scales were stored: ParetoQ's reference divides in it.
        formulas: weights of a checkpoint that another project quantised, by full name: its format's own
            formula in its own dtype, which the exporter compares with the codes.
    """

    config: ModelConfig
    weights: Mapping[str, Tensor]
    plan: Plan = field(default_factory=Plan)
    alphas: dict[str, Tensor] = field(default_factory=dict)
    quantized: Mapping[str, QuantizedWeight] = field(default_factory=dict)
    tokenizer: Path | None = None
    latent_dtype: torch.dtype = torch.float32
    post_training: dict[str, Any] | None = None
    nesting: Nesting | None = None
    formulas: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def bits(self) -> float:
        """Mean bits per weight of the linears, as their grids are named."""
        with torch.device("meta"):
            model = Decoder(self.config, positions=0)
        return mean_bits(
            (self.plan.of(n), linear.weight.numel()) for n, linear in named_linears(model).items()
        )
