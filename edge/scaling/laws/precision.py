"""Training at low precision from scratch (arXiv 2411.04330), and the alternatives that the paper compared.

Bits of weights, activations and KV cache each shrink the parameters that count, by 1 - exp(-P / gamma). The
paper prints e^(P / gamma + n). Read as exp(-P / gamma + n), its biases n make the parameters that count
negative at 3 bits of activations; the other reading leaves them out. Both are here.

Of the alternatives only the errors are published, neither formulas nor constants. They are written here in
their simplest form.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.scaling.laws.chinchilla import TERMS, terms
from edge.scaling.laws.law import LOSS, Array, Constant, Constants, Inputs, Law
from edge.scaling.records import Record

_SOURCE = "arXiv 2411.04330"
#: Letter of each factor, and the input that it reads.
FACTORS = {"w": "weight_bits", "a": "activation_bits", "kv": "kv_bits"}
_TERMS = {"A": 4.299e3, "alpha": 0.4965, "B": 1.806e4, "beta": 0.4965, "E": 2.7648}
_GAMMAS = {"gamma_w": 2.6745, "gamma_a": 2.2102, "gamma_kv": 0.9578}
BIASES = {"n_w": 0.3037, "n_a": 1.4072, "n_kv": 2.4185}
#: Where a factor is 1: so small that exp(-P / gamma) is 0.
_NONE = 1e-3
MEASURED = {"parameters": (30e6, 220e6), "tokens": (1.5e9, 26e9)} | dict.fromkeys(
    FACTORS.values(), (3.0, 16.0)
)


def _from_scratch(record: Record) -> bool:
    return record.training.low_bit_tokens in (0, record.training.tokens)


def shares(c: Constants, x: Inputs, gamma: str = "gamma") -> Array:
    """The share [n] of the parameters that counts: the product over weights, activations and KV cache."""
    share = np.ones(len(x))
    for letter, name in FACTORS.items():
        share = share * (1 - np.exp(-getattr(x, name) / c[f"{gamma}_{letter}"] + c.get(f"n_{letter}", 0.0)))
    return share


def _gammas(name: str) -> tuple[Constant, ...]:
    return tuple(
        Constant(f"{name}_{letter}", 0.05, 20.0, needs=of, neutral=_NONE) for letter, of in FACTORS.items()
    )


def _powers() -> tuple[Constant, ...]:
    """A factor C and an exponent c for each kind of bits."""
    return tuple(
        constant
        for letter, of in FACTORS.items()
        for constant in (
            Constant(f"C_{letter}", 1e-4, 1e4, needs=of),
            Constant(f"c_{letter}", 0.1, 12.0, needs=of, neutral=1.0),
        )
    )


def _effective_parameters(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters * shares(c, x), x.tokens)


def _effective_tokens(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters, x.tokens * shares(c, x))


def _both(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters * shares(c, x), x.tokens * shares(c, x, "delta"))


def _added(c: Constants, x: Inputs) -> Array:
    return terms(c, x.parameters, x.tokens) + sum(
        c[f"C_{letter}"] * getattr(x, name) ** -c[f"c_{letter}"] for letter, name in FACTORS.items()
    )


def _multiplied(c: Constants, x: Inputs) -> Array:
    reducible = terms({**c, "E": 0.0}, x.parameters, x.tokens)
    for letter, name in FACTORS.items():
        reducible = reducible * (1 + c[f"C_{letter}"] * getattr(x, name) ** -c[f"c_{letter}"])
    return reducible + c["E"]


PRECISION = Law(
    "precision", "bits shrink the parameters", f"{_SOURCE}, equation 3", LOSS, (*TERMS, *_gammas("gamma")),
    _effective_parameters, takes=_from_scratch,
    published={"without biases": _TERMS | _GAMMAS, "with biases": _TERMS | _GAMMAS | BIASES},
    measured=MEASURED, note="training at low bits from scratch",
)  # fmt: skip


def _alternative(
    name: str, title: str, constants: tuple[Constant, ...], formula: Callable[[Constants, Inputs], Array]
) -> Law:
    return Law(name, title, _SOURCE, LOSS, (*TERMS, *constants), formula, takes=_from_scratch)


ALTERNATIVES = (
    _alternative("tokens", "bits shrink the tokens", _gammas("gamma"), _effective_tokens),
    _alternative("both", "bits shrink parameters and tokens", (*_gammas("gamma"), *_gammas("delta")), _both),
    _alternative("added", "bits add powers", _powers(), _added),
    _alternative("multiplied", "bits multiply what can be reduced", _powers(), _multiplied),
)
