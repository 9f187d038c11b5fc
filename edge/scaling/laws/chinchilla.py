"""The loss in full precision: L = A / N^alpha + B / D^beta + E (arXiv 2203.15556, equation 2)."""

from __future__ import annotations

from edge.scaling.laws.law import LOSS, Array, Constant, Constants, Inputs, Law

TERMS = (
    Constant("A", 1e-2, 1e7), Constant("alpha", 0.02, 2.0), Constant("B", 1e-2, 1e9),
    Constant("beta", 0.02, 2.0), Constant("E", 0.05, 5.0),
)  # fmt: skip


def terms(c: Constants, parameters: Array, tokens: Array) -> Array:
    """The three terms at so many parameters and tokens."""
    return c["A"] * parameters ** -c["alpha"] + c["B"] * tokens ** -c["beta"] + c["E"]


def _formula(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters, x.tokens)


CHINCHILLA = Law("full", "full precision", "arXiv 2203.15556, equation 2", LOSS, TERMS, _formula)
