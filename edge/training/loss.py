"""Training loss: cross entropy of the next token, mixed with the distance to a teacher if there is one."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edge.model.decoder import Decoder, Layer
from edge.quantizers.base import Method
from edge.quantizers.methods import PARETOQ


class NextTokenLoss(nn.Module):
    """Mean cross entropy (nats) of each token given the tokens before it; the module that Trainer trains.

    With a teacher, in training mode: (1 - weight) * cross entropy + weight * KL(teacher || model), per token
    (Hinton et al., arXiv 1503.02531, at temperature 1; as LLM-QAT does, arXiv 2305.17888).
    In evaluation mode it is the cross entropy alone, so that held-out losses of all runs are comparable.

    Args:
        teacher: a frozen model of the same vocabulary; every device holds it whole.
        weight: of the distance to the teacher, 0 to 1.
        bf16: matrix products in bfloat16 (autocast); set here since Accelerate skips autocast under FSDP.
        method: decides how a batch becomes a loss in training mode.
    """

    #: The unit in which FSDP shards and gathers.
    _no_split_modules = (Layer.__name__,)

    def __init__(
        self,
        model: Decoder,
        teacher: Decoder | None = None,
        weight: float = 0.0,
        bf16: bool = False,
        method: Method = PARETOQ,
    ) -> None:
        super().__init__()
        self.model = model
        self.weight = weight
        self.bf16 = bf16
        self.method = method
        # A tuple hides the teacher from torch, so that it is not trained, saved or sharded.
        self.teacher = () if teacher is None else (teacher.eval().requires_grad_(False),)

    def forward(self, tokens: Tensor, index: int = 0) -> dict[str, Tensor]:
        """The loss of tokens [B, context + 1] int64, a scalar; in training, one of the method's losses."""
        with torch.autocast(tokens.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            if self.training:
                return {"loss": self.method.loss(self.model, tokens, self._training_loss, index)}
            return {"loss": self._cross_entropy(self.model, tokens)[0]}

    def _cross_entropy(self, model: Decoder, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross entropy, a scalar, and the logits [B * context, V] float32."""
        logits = model(tokens[:, :-1]).flatten(0, 1).float()
        return F.cross_entropy(logits, tokens[:, 1:].flatten()), logits

    def _training_loss(
        self, model: Decoder, tokens: Tensor, wanted: Tensor | None = None, share: float = 0.0
    ) -> Tensor:
        loss, logits = self._cross_entropy(model, tokens)
        for teacher in self.teacher:
            with torch.no_grad():
                its = teacher.to(tokens.device)(tokens[:, :-1])
            loss = (1 - self.weight) * loss + self.weight * _distance(its, logits)
        return loss if wanted is None else (1 - share) * loss + share * _distance(wanted, logits)

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Recompute every n-th layer in the backward pass instead of keeping its activations.

        Raises:
            ValueError: offload is asked for.
        """
        if offload:
            raise ValueError("activation checkpointing keeps its inputs on the device: leave offload out")
        options = {"use_reentrant": False, **(activation_checkpointing_kwargs or {})}
        for layer in list(self.model.layers)[::every_n_layers]:
            layer.forward = partial(checkpoint, layer.forward, **options)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Serve transformers before 5.23, which call this method instead."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs)


def _distance(wanted: Tensor, logits: Tensor) -> Tensor:
    """The mean over tokens of KL(wanted || logits), nats; logits [B, T, V] and [B * T, V]."""
    its, mine = wanted.flatten(0, 1).float().log_softmax(dim=-1), logits.log_softmax(dim=-1)
    return F.kl_div(mine, its, log_target=True, reduction="batchmean")
