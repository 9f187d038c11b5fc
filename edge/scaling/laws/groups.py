"""Training at 4 bits from scratch, with a scale for each group of columns (arXiv 2505.14302).

L = A / N^alpha + B / D^beta + E + k D^gamma_D (log2 G)^gamma_G / N^gamma_N. The paper has constants for 4
bits alone. It does not say which group size stands for a whole row.
"""

from __future__ import annotations

import numpy as np

from edge.scaling.laws.chinchilla import TERMS, terms
from edge.scaling.laws.law import LOSS, Array, Constant, Constants, Inputs, Law, only_weights
from edge.scaling.records import Record

_TERMS = {"A": 237.7042, "alpha": 0.3022, "B": 596.2490, "beta": 0.3022, "E": 1.9279}
_ROWS = {
    "W4A4": (0.1582, 0.2186, 0.0745, 0.7779),
    "W4A16": (0.2522, 0.3589, 0.1610, 0.3533),
    "W16A4": (0.1004, 0.1816, 0.0331, 0.9812),
    "W4A4, second feed-forward input at 8 bits": (0.3519, 0.2637, 0.0964, 0.3407),
    "W16A4, second feed-forward input at 8 bits": (0.1273, 0.2347, 0.0827, 0.4491),
}


def damage(c: Constants, x: Inputs) -> Array:
    """What 4 bits add to the loss [n]."""
    log = np.log(c["k"]) + c["gamma_D"] * np.log(x.tokens) - c["gamma_N"] * np.log(x.parameters)
    return np.exp(log + c["gamma_G"] * np.log(np.log2(x.group)))


def _formula(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters, x.tokens) + damage(c, x)


def _has_groups(record: Record) -> bool:
    training = record.training
    is_scratch = training.low_bit_tokens == training.tokens
    return (
        training.weight_bits == 4
        and is_scratch
        and training.weight_group is not None
        and only_weights(record)
    )


GROUPS = Law(
    "groups", "4 bits in groups", "arXiv 2505.14302, equation 5", LOSS,
    (
        *TERMS, Constant("k", 1e-8, 1e6), Constant("gamma_N", -1.0, 3.0), Constant("gamma_D", -1.0, 3.0),
        Constant("gamma_G", 0.0, 5.0),
    ),
    _formula, reads=("parameters", "tokens", "group"), takes=_has_groups,
    published={
        name: _TERMS | dict(zip(("k", "gamma_N", "gamma_D", "gamma_G"), row, strict=True))
        for name, row in _ROWS.items()
    },
    measured={
        "parameters": (74e6, 595e6), "tokens": (10e9, 100e9), "group": (32.0, 256.0),
        "weight_bits": (4.0, 4.0),
    },
    note="4 bits alone, trained from scratch",
)  # fmt: skip
