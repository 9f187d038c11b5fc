"""Define what every way of quantising shares: modules on a grid, and the protocol of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import FULL_PRECISION, Grid
from edge.formats.slices import Nesting
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan


class OnGrid(ABC):
    """A module whose weight [rows, columns] is on a grid, or is put there in its forward pass."""

    grid: Grid
    weight: Tensor

    @abstractmethod
    def quantized(self) -> QuantizedWeight:
        """The weight that the module computes with, as codes: what the packer packs."""


class LossOf(Protocol):
    """Computes the mean loss of a model in its current state, a teacher's share included."""

    def __call__(
        self, model: Decoder, tokens: Tensor, wanted: Tensor | None = None, share: float = 0.0
    ) -> Tensor:
        """The loss of tokens int64 [B, T + 1], a scalar.

        Args:
            wanted: logits [B, T, V] that the model should come close to as well.
            share: of the loss that is the distance to ``wanted``.
        """


class Method(ABC):
    """One way to make a low-bit model; a new one is a file and a row of ``methods.METHODS``.

    A method receives models and batches of tokens, never data sets or paths. Its functions are called in the
    order below. At the end, every quantised module of the model is an ``OnGrid``.

    Attributes:
        name: the word after ``--method``.
        default_bits: what ``--bits`` is unless the user says it.
    """

    name: str
    default_bits: float = FULL_PRECISION.bits

    @property
    def nesting(self) -> Nesting | None:
        """The widths that the trained model can be sliced to; None for a model of one width."""
        return None

    def configured(self, options: Mapping[str, Any]) -> Method:
        """This method with the flags that are not for every method, by name.

        Raises:
            ValueError: a flag is not for this method, or wrong.
        """
        for option in options:
            raise ValueError(f"--{option.replace('_', '-')} is not for --method {self.name}")
        return self

    @property
    def passes(self) -> int:
        """Count the losses of a batch; each has a backward pass of its own."""
        return 1

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits that the model can be sliced to while it trains, falling."""
        return () if self.nesting is None else self.nesting.widths

    def select(self, model: Decoder, bits: int) -> None:
        """Let the model compute with its slice of one of ``widths`` from now on."""
        raise NotImplementedError

    @abstractmethod
    def grid(self, bits: float | str, choices: tuple[float, ...] | None = None) -> Grid:
        """The grid that this method uses for a number of bits, 16 being full precision.

        Raises:
            ValueError: it has none, or bits are not among the choices; the message names them.
        """

    @abstractmethod
    def prepare(self, model: Decoder, plan: Plan) -> Decoder:
        """Replace what the plan quantises by modules that are trained or calibrated; in place."""

    def calibrate(self, model: Decoder, batches: Iterable[Tensor]) -> None:
        """Fit the model to batches of tokens int64 [B, T] before training; by default, do nothing."""
        del model, batches

    def loss(self, model: Decoder, tokens: Tensor, loss_of: LossOf, index: int = 0) -> Tensor:
        """One of the ``passes`` losses of a batch, a scalar; their sum is trained.

        Args:
            tokens: int64 [B, context + 1].
        """
        return loss_of(model, tokens)

    def finish(self, model: Decoder) -> Decoder:
        """Make the trained model one that a checkpoint can hold; in place."""
        return model


class FixedOnGrid(OnGrid):
    """A module whose weight is codes already and is not trained."""

    stored: QuantizedWeight

    def fix(self, stored: QuantizedWeight, grid: Grid) -> None:
        self.grid, self.stored = grid, stored
        self.weight = nn.Parameter(stored.dequantize(), requires_grad=False)

    def quantized(self) -> QuantizedWeight:
        return self.stored


class QuantizedLinear(FixedOnGrid, nn.Linear):
    """A linear without bias whose weight is fixed on a grid."""

    def __init__(self, stored: QuantizedWeight, grid: Grid) -> None:
        rows, columns = stored.codes.shape
        nn.Linear.__init__(self, columns, rows, bias=False, device="meta")
        self.fix(stored, grid)


class QuantizedEmbedding(FixedOnGrid, nn.Embedding):
    """A token embedding whose table [vocab, dim] is fixed on a grid."""

    def __init__(self, stored: QuantizedWeight, grid: Grid) -> None:
        vocab, dim = stored.codes.shape
        nn.Embedding.__init__(self, vocab, dim, device="meta")
        self.fix(stored, grid)


class QuantizedHead(FixedOnGrid, nn.Module):
    """An output head whose own table [vocab, dim] is fixed on a grid."""

    def __init__(self, stored: QuantizedWeight, grid: Grid) -> None:
        nn.Module.__init__(self)
        self.fix(stored, grid)

    def forward(self, x: Tensor, embedding: nn.Embedding) -> Tensor:
        return F.linear(x, self.weight)


def grid_of(module: nn.Module) -> Grid:
    """The grid of a linear, embedding or head; FULL_PRECISION for a plain one."""
    return module.grid if isinstance(module, OnGrid) else FULL_PRECISION
