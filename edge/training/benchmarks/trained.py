"""Time one training step: forward, backward and AdamW."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from edge.model.decoder import Decoder
from edge.training.loss import NextTokenLoss


class Trained:
    """A model with its optimiser.

    Args:
        compiled: through torch.compile, a graph for each model: formats differ in constants.
        bf16: matrix products in bfloat16 (autocast).
    """

    def __init__(self, model: Decoder, compiled: bool = False, bf16: bool = False) -> None:
        module = NextTokenLoss(model.train())
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
        self.module = torch.compile(module, dynamic=False) if compiled else module
        self.bf16 = bf16

    def step(self, tokens: Tensor) -> float:
        """Take a step on tokens [B, context + 1] int64; return its seconds."""
        started = time.perf_counter()
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.module(tokens)["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        loss.item()  # waits for a GPU
        return time.perf_counter() - started


def refuse_long_context(context: int, positions: int) -> None:
    """Raise a ValueError if the model has too few positions."""
    if context > positions:
        raise ValueError(f"--context {context} is beyond the model's {positions} positions")
