"""Low bits for the last share of training (arXiv 2509.22935): the best share, and the loss.

The loss adds to full precision's what the bits cost however long they are trained, what is left to learn at
low bits, and what full-precision training makes harder to change. S counts tokens for each byte of the
low-bit parameters, S = D / (N B / 8). Its constants are not published.
"""

from __future__ import annotations

import numpy as np

from edge.scaling.laws.chinchilla import TERMS, terms
from edge.scaling.laws.law import FULL_BITS, LOSS, Array, Constant, Constants, Inputs, Law, only_weights

#: ParetoQ's share of low bits (arXiv 2502.02631, figure 2), at any size and width.
PARETOQ_SHARE = 0.1
#: f* = exp(-a / ln S), with a mean absolute error of .091.
FRACTION_CONSTANT = 6.7297


def best_share(tokens: Array | float, parameters: Array | float, bits: Array | float) -> Array | float:
    """The best share of the tokens at low bits, as published; NaN below a token for each byte."""
    size = np.asarray(tokens / (parameters * bits / 8))
    return np.exp(-FRACTION_CONSTANT / np.log(np.where(size > 1, size, np.nan)))


def _formula(c: Constants, x: Inputs) -> Array:
    n, bits = x.parameters, x.weight_bits
    low = np.maximum(x.low_bit_tokens, 1.0) / (n * bits / 8)
    before = x.tokens - x.low_bit_tokens
    full = np.maximum(before, 1.0) / (n * bits / 8)
    kept = c["theta"] * 2 ** (-c["kappa"] * bits)
    learned = c["phi"] * 2 ** (-c["chi"] * bits) * n ** -c["psi"] * low ** -c["omega"]
    changed = c["lambda"] * 2 ** (-c["mu"] * bits) * n ** -c["nu"] * full ** c["xi"] * low ** -c["rho"]
    changed = np.where(before > 0, changed, 0.0)  # from scratch there was nothing to change
    return terms(c, n, x.tokens) + np.where(bits == FULL_BITS, 0.0, kept + learned + changed)


_EXPONENTS = {"kappa": 8.0, "chi": 8.0, "psi": 2.0, "omega": 2.0, "mu": 8.0, "nu": 2.0, "rho": 2.0}
FRACTION = Law(
    "fraction", "low bits for a share of training", "arXiv 2509.22935", LOSS,
    (
        *TERMS,
        *(Constant(name, 1e-6, 1e6) for name in ("theta", "phi", "lambda")),
        *(Constant(name, 0.0, high) for name, high in _EXPONENTS.items()),
        Constant("xi", -2.0, 2.0),
    ),
    _formula, reads=("parameters", "tokens", "low_bit_tokens", "weight_bits"), takes=only_weights,
    note="the paper's constants are not public; the sign of xi is left to the fit",
)  # fmt: skip
