"""What is minimised: the cross entropy of each next token; with a teacher, also the distance to its own."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edge.model.decoder import Decoder, Layer


class NextTokenLoss(nn.Module):
    """What Trainer calls: mean cross entropy of each token given those before it, in nats.

    With a teacher, while training: (1 - weight) * cross entropy + weight * KL(teacher || model), per token
    (Hinton et al., arXiv 1503.02531, at temperature 1; as LLM-QAT does, arXiv 2305.17888).
    In evaluation mode it is the cross entropy alone, so held-out losses compare.

    Args:
        teacher: a frozen model of the same vocabulary; every device holds it whole.
        weight: of the distance to the teacher, 0 to 1.
        bf16: matrix products in bfloat16 (autocast). Said here too, as Accelerate does not say so under FSDP.
    """

    #: What FSDP shards, gathers and lets go as a whole.
    _no_split_modules = (Layer.__name__,)

    def __init__(
        self, model: Decoder, teacher: Decoder | None = None, weight: float = 0.0, bf16: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.weight = weight
        self.bf16 = bf16
        # In a tuple, so that it is no part of what is trained, saved or sharded.
        self.teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """tokens [B, context + 1] int64; the loss is a scalar."""
        device = tokens.device.type
        with torch.autocast(device, torch.bfloat16) if self.bf16 else nullcontext():
            read = tokens[:, :-1]
            logits = self.model(read).flatten(0, 1).float()  # [B * context, V]
            loss = F.cross_entropy(logits, tokens[:, 1:].flatten())
            if self.training:
                for teacher in self.teacher:
                    loss = (1 - self.weight) * loss + self.weight * _distance(teacher, read, logits)
        return {"loss": loss}

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Has every n-th layer keep its input alone, and compute the rest again in the backward pass.

        Raises:
            ValueError: the inputs are to be moved to the computer's memory.
        """
        if offload:
            raise ValueError("activation checkpointing keeps its inputs on the device: leave offload out")
        options = {"use_reentrant": False, **(activation_checkpointing_kwargs or {})}
        for layer in list(self.model.layers)[::every_n_layers]:
            layer.forward = partial(checkpoint, layer.forward, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """What transformers before 5.23 call in its place."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)


def _distance(teacher: Decoder, tokens: Tensor, logits: Tensor) -> Tensor:
    """Mean over tokens [B, T] of KL(teacher || model), in nats; logits [B * T, V] float32 are the model's."""
    with torch.no_grad():
        wanted = teacher.to(tokens.device)(tokens).flatten(0, 1).float()
    mine, its = logits.log_softmax(dim=-1), wanted.log_softmax(dim=-1)
    return F.kl_div(mine, its, log_target=True, reduction="batchmean")
