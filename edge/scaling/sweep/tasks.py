"""The steps of a sweep: train a model, in full precision or from one, or quantise a trained one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from edge.scaling.records import Quantizer, Shape, Training, run_key

#: Floating-point operations of training between two checkpoints, so that a killed run loses minutes.
_SAVED_FLOPS = 1.2e13


@dataclass(frozen=True)
class TrainTask:
    """Train a model.

    Attributes:
        parent: the full-precision model that training at low bits starts from; None starts from nothing.
    """

    shape: Shape
    training: Training
    parent: TrainTask | None = None

    def key(self, text: str) -> str:
        return run_key(text, self.shape, self.training, None)

    @property
    def name(self) -> str:
        """The directory of the model; tells runs apart, and begins with what a reader wants to know."""
        digest = hashlib.sha256(self.key("").encode()).hexdigest()[:10]
        bits = f"{self.training.weight_bits:g}bit"
        return f"{parameters(self.shape) // 1000}k-{self.training.tokens // 1000}k-{bits}-{digest}"

    @property
    def tokens(self) -> int:
        """Tokens of this stage alone."""
        return self.training.tokens - (0 if self.parent is None else self.parent.training.tokens)

    @property
    def steps(self) -> int:
        return self.tokens // self.training.batch_tokens

    @property
    def save_steps(self) -> int:
        flops = 6 * (parameters(self.shape) + embedding_parameters(self.shape)) * self.training.batch_tokens
        return max(1, min(self.steps, round(_SAVED_FLOPS / flops)))

    @property
    def title(self) -> str:
        how = f"{self.training.weight_bits:g} bits"
        if self.training.low_bit_tokens:
            how += f" for {self.training.low_bit_share:.0%} of training"
        ratio = self.training.tokens / parameters(self.shape)
        return f"{parameters(self.shape):,} parameters, {ratio:.3g} tokens each, {how}"


@dataclass(frozen=True)
class PostTask:
    """Quantise a trained model."""

    parent: TrainTask
    quantizer: Quantizer

    @property
    def shape(self) -> Shape:
        return self.parent.shape

    def key(self, text: str) -> str:
        return run_key(text, self.shape, self.parent.training, self.quantizer)

    @property
    def name(self) -> str:
        group = "row" if self.quantizer.group is None else self.quantizer.group
        return f"{self.parent.name}-{self.quantizer.method}-{self.quantizer.weight_bits:g}bit-{group}"

    @property
    def title(self) -> str:
        where = "rows" if self.quantizer.group is None else f"groups of {self.quantizer.group}"
        how = f"{self.quantizer.method} to {self.quantizer.weight_bits:g} bits in {where}"
        return f"{self.parent.title}, {how}"


Task = TrainTask | PostTask


def parameters(shape: Shape) -> int:
    """Count N: weights of linears and norms, without embedding and head."""
    attention = shape.dim * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    feed_forward = 3 * shape.dim * shape.ffn_dim
    return shape.layers * (attention + feed_forward + 2 * shape.dim) + shape.dim


def embedding_parameters(shape: Shape) -> int:
    """Count the weights of the embedding, which is the head too."""
    return shape.vocab_size * shape.dim
