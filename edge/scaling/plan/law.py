"""What a law must tell a plan: training plans that it knows, losses, and where it extrapolates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from edge.formats import FULL_PRECISION
from edge.model.config import ModelConfig


@dataclass(frozen=True)
class TrainingPlan:
    """How a model of a width comes about.

    Attributes:
        words: for tables.
        source: why this share.
        low_bit_share: of the training tokens at the model's bits, after full precision; 1 is from scratch, 0
            is full precision, quantised after training.
    """

    words: str
    source: str
    low_bit_share: float


FROM_SCRATCH = TrainingPlan("from scratch", "as the law's own runs", 1.0)
AFTERWARDS = TrainingPlan("GPTQ after", "as the law's own runs", 0.0)
FULL = TrainingPlan("full", "nothing is quantised", 0.0)


@dataclass(frozen=True)
class Case:
    """A model that was not trained.

    Attributes:
        parameters: N, without embedding and head.
        tokens: of all training.
    """

    config: ModelConfig
    bits: float
    tokens: float
    training: TrainingPlan

    @property
    def parameters(self) -> int:
        return self.config.parameters - self.config.vocab_size * self.config.dim

    @property
    def is_full_precision(self) -> bool:
        return self.bits == FULL_PRECISION.bits


@dataclass(frozen=True)
class Loss:
    """A predicted loss.

    Attributes:
        interval: that the loss of a new run lies in nine times of ten; None where a source gives none.
        outside: what lies beyond the runs that the law was fitted to, in words.
    """

    nats: float
    interval: tuple[float, float] | None = None
    outside: tuple[str, ...] = ()


class LossModel(Protocol):
    """Predicts held-out losses by one law.

    Attributes:
        name: after ``--law``.
        source: paper and equation, or file.
        range: of the runs that it was fitted to, in words.
        notes: what a reader must know of all of its losses.
    """

    name: str
    source: str
    range: str
    notes: tuple[str, ...]

    def plans(self, config: ModelConfig, bits: float, tokens: float) -> list[TrainingPlan]:
        """The ways to train a model of these bits that the law can tell about."""
        ...

    def predict(self, case: Case) -> Loss: ...


def amount(value: float) -> str:
    """Format a count: 576M, 2B, 3."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def range_words(measured: Mapping[str, tuple[float, float]]) -> str:
    """Describe what was measured: "parameters 30M to 220M, tokens 1.5B to 26B"."""
    return ", ".join(
        f"{name.replace('_', ' ')} {amount(low)}{f' to {amount(high)}' * (low != high)}"
        for name, (low, high) in measured.items()
    )
