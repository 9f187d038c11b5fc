"""Our own law for low bits at the end of training, or all of it: a factor for each width.

L = A / N^alpha + B / D^beta + E + C_b D^gamma_D / (N^gamma_N Q^gamma_Q), where Q of the D tokens were at low
bits. It joins 2505.14302's form of the damage, with a C for each width b instead of 4 bits alone, and
2509.22935's dependence on the low-bit tokens.
"""

from __future__ import annotations

import numpy as np

from edge.scaling.laws.chinchilla import TERMS, terms
from edge.scaling.laws.law import FULL_BITS, LOSS, Array, Constant, Constants, Inputs, Law, only_weights
from edge.scaling.records import Record

WIDTHS = (8.0, 4.0, 3.0, 2.0, 1.58, 1.0)


def _has_constant(record: Record) -> bool:
    return only_weights(record) and record.training.weight_bits in (*WIDTHS, FULL_BITS)


def _name(bits: float) -> str:
    return f"C_{bits:g}"


def damage(c: Constants, x: Inputs) -> Array:
    """What the bits add to the loss [n]; 0 in full precision, NaN at a width without a constant."""
    factor = np.full(len(x), np.nan)
    for bits in WIDTHS:
        factor = np.where(x.weight_bits == bits, c[_name(bits)], factor)
    log = c["gamma_D"] * np.log(x.tokens) - c["gamma_N"] * np.log(x.parameters)
    log = log - c["gamma_Q"] * np.log(np.maximum(x.low_bit_tokens, 1.0))
    return np.where(x.weight_bits == FULL_BITS, 0.0, factor * np.exp(log))


def _formula(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters, x.tokens) + damage(c, x)


OURS = Law(
    "ours", "a factor for each width", "this project", LOSS,
    (
        *TERMS,
        *(Constant(_name(b), 1e-6, 1e6, f"weight_bits={b:g}", neutral=float("nan")) for b in WIDTHS),
        Constant("gamma_D", -1.0, 3.0), Constant("gamma_N", -1.0, 3.0), Constant("gamma_Q", -1.0, 3.0),
    ),
    _formula, reads=("parameters", "tokens", "low_bit_tokens", "weight_bits"), takes=_has_constant,
    note="low bits at the end of training, or from scratch",
)  # fmt: skip
