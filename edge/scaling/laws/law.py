"""Define a law: a formula with constants, what it reads, and where it was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from edge.scaling.records import Record

Array = NDArray[np.float64]
Constants = Mapping[str, float]
FULL_BITS = 16.0
#: What a law may predict: held-out loss, or what quantising after training adds to it; nats per token.
LOSS, DAMAGE = "loss", "damage"


@dataclass(frozen=True)
class Inputs:
    """What laws read, arrays [n] of one length.

    Attributes:
        parameters: N, without embedding and head.
        tokens: D, of all stages of training.
        low_bit_tokens: of these, those at low bits.
        weight_bits, activation_bits, kv_bits: while training; 16 is full precision.
        post_bits: of weights after training; 16 if nothing was quantised then.
        group: columns that share a scale; a row's are ``dim``.
    """

    parameters: Array
    tokens: Array
    low_bit_tokens: Array
    weight_bits: Array
    activation_bits: Array
    kv_bits: Array
    post_bits: Array
    group: Array

    @property
    def tokens_per_parameter(self) -> Array:
        """Compute the tokens for each parameter [n]."""
        return self.tokens / self.parameters

    def __len__(self) -> int:
        return len(self.parameters)

    def __getitem__(self, where: Array | NDArray[np.bool_] | slice) -> Inputs:
        return Inputs(**{name: getattr(self, name)[where] for name in INPUTS})

    @staticmethod
    def of(records: Sequence[Record]) -> Inputs:
        """Read the inputs of records."""

        def row(record: Record) -> tuple[float, ...]:
            training, post = record.training, record.post
            group = training.weight_group if post is None else post.group
            return (
                record.parameters, training.tokens, training.low_bit_tokens, training.weight_bits,
                training.activation_bits, training.kv_bits, FULL_BITS if post is None else post.weight_bits,
                record.shape.dim if group is None else group,
            )  # fmt: skip

        columns = np.array([row(record) for record in records], dtype=np.float64).reshape(-1, len(INPUTS)).T
        return Inputs(*columns)

    @staticmethod
    def at(parameters: float, tokens: float, **others: float) -> Inputs:
        """Make inputs of one point: full precision, groups of 128, unless said otherwise."""
        point = {"low_bit_tokens": 0.0, "group": 128.0} | dict.fromkeys(_BITS, FULL_BITS)
        point |= {"parameters": parameters, "tokens": tokens} | others
        return Inputs(**{name: np.array([point[name]], dtype=np.float64) for name in INPUTS})


INPUTS = tuple(item.name for item in fields(Inputs))
_BITS = ("weight_bits", "activation_bits", "kv_bits", "post_bits")


@dataclass(frozen=True)
class Constant:
    """A constant of a law.

    Attributes:
        low, high: bounds of a fit; both positive, and searched by their logarithm, if ``low`` is.
        needs: an input, or input=value, that must occur in the records beside full precision; the constant is
            left out of a fit otherwise, and has its ``neutral`` value.
    """

    name: str
    low: float
    high: float
    needs: str = ""
    neutral: float = 0.0


@dataclass(frozen=True)
class Law:
    """A law; a new one is a row of ``LAWS``.

    Attributes:
        name: the word after ``--law``.
        source: paper and equation.
        target: LOSS or DAMAGE.
        formula: gives the target [n] from constants and inputs.
        reads: inputs of which records must have several values.
        takes: tells whether the law speaks of a model that was trained so; by default in full precision.
        published: sets of constants by the name of a reading of the paper; empty where none are known.
        measured: ends of what the paper measured, by input.
        note: what a reader must know, or nothing.
        fixed: values of constants that were left out of a fit.
    """

    name: str
    title: str
    source: str
    target: str
    constants: tuple[Constant, ...]
    formula: Callable[[Constants, Inputs], Array]
    reads: tuple[str, ...] = ("parameters", "tokens")
    takes: Callable[[Record], bool] = lambda record: record.training.low_bit_tokens == 0
    published: Mapping[str, Constants] = field(default_factory=dict)
    measured: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    note: str = ""
    fixed: Constants = field(default_factory=dict)

    def predict(self, constants: Constants, inputs: Inputs) -> Array:
        """Predict the target [n], in nats per token."""
        neutral = {constant.name: constant.neutral for constant in self.constants}
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self.formula({**neutral, **self.fixed, **constants}, inputs)

    def fitted(self, inputs: Inputs) -> Law:
        """Make this law without the constants that these inputs say nothing about."""
        told = tuple(constant for constant in self.constants if _is_told(constant, inputs))
        fixed = {c.name: c.neutral for c in self.constants if c not in told}
        return replace(self, constants=told, fixed=fixed)

    def beyond(self, inputs: Inputs) -> list[str]:
        """Say where inputs leave what was measured, as "tokens 2e+10 (measured to 5.5e+07)"."""
        said = []
        for name, (low, high) in self.measured.items():
            values = getattr(inputs, name)
            if values.min() < low * (1 - 1e-9):
                said.append(f"{name} {values.min():.3g} (measured from {low:.3g})")
            if values.max() > high * (1 + 1e-9):
                said.append(f"{name} {values.max():.3g} (measured to {high:.3g})")
        return said


def _is_told(constant: Constant, inputs: Inputs) -> bool:
    if not constant.needs:
        return True
    name, equals, value = constant.needs.partition("=")
    values = getattr(inputs, name)
    return bool((values == float(value)).any() if equals else (values != FULL_BITS).any())


def only_weights(record: Record) -> bool:
    """Tell whether a model was trained with activations and KV cache in full precision."""
    return record.training.activation_bits == record.training.kv_bits == FULL_BITS
