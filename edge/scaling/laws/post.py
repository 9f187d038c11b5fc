"""Damage of quantising after training (arXiv 2411.04330): it grows with the tokens, and falls with N.

Our own two laws add an onset, since rounding costs hardly anything early in training: they multiply the
damage by exp(-D_0 / D). In the second, damage depends on D / N in place of D and N.
"""

from __future__ import annotations

import numpy as np

from edge.scaling.laws.law import DAMAGE, Array, Constant, Constants, Inputs, Law
from edge.scaling.laws.precision import FACTORS, MEASURED, shares

_SOURCE = "arXiv 2411.04330"
_DAMAGE = {"C_T": 0.0598, "gamma_D": 0.5068, "gamma_N": 0.3439, "gamma_post": 0.5907}
#: Multiplies the damage by e^1.1277 = 3.09.
_BIAS = {"n_post": 1.1277}
_TERMS = (
    Constant("C_T", 1e-8, 1e8), Constant("gamma_D", -1.0, 3.0), Constant("gamma_N", -1.0, 3.0),
    Constant("gamma_post", 0.05, 20.0),
)  # fmt: skip


def _powers(c: Constants, parameters: Array, x: Inputs) -> Array:
    log = np.log(c["C_T"]) + c["gamma_D"] * np.log(x.tokens) - c["gamma_N"] * np.log(parameters)
    return np.exp(log - x.post_bits / c["gamma_post"] + c.get("n_post", 0.0))


def _damage(c: Constants, x: Inputs) -> Array:
    return _powers(c, x.parameters, x)


def _from_onset(c: Constants, x: Inputs) -> Array:
    return _damage(c, x) * np.exp(-c["D_0"] / x.tokens)


def _per_parameter(c: Constants, x: Inputs) -> Array:
    return _from_onset({**c, "gamma_N": c["gamma_D"]}, x)


def _robust(c: Constants, x: Inputs) -> Array:
    """Equation 9: effective parameters, and less damage the closer training's bits are to what remains."""
    damage = _powers(c, x.parameters * shares(c, x), x)
    for letter, name in FACTORS.items():
        damage = damage * (1 - np.exp(-c[f"C_{letter}"] * (getattr(x, name) - x.post_bits)))
    return damage


POST = Law(
    "post", "damage after training", f"{_SOURCE}, equation 2", DAMAGE, _TERMS, _damage,
    reads=("parameters", "tokens", "post_bits"),
    published={"without bias": _DAMAGE, "with bias": {**_DAMAGE, **_BIAS}},
    measured={"parameters": MEASURED["parameters"], "tokens": MEASURED["tokens"], "post_bits": (3.0, 16.0)},
    note="GPTQ, of which groups and calibration are not stated",
)  # fmt: skip
_ONSET = Constant("D_0", 1.0, 1e12)
ONSET = Law(
    "onset", "damage after training, with an onset", "this project", DAMAGE, (*_TERMS, _ONSET), _from_onset,
    reads=POST.reads, note="its onset was measured with one batch size",
)  # fmt: skip
PER_PARAMETER = Law(
    "per-parameter", "damage by tokens per parameter, with an onset", "this project", DAMAGE,
    (*(term for term in _TERMS if term.name != "gamma_N"), _ONSET), _per_parameter,
    reads=POST.reads, note=ONSET.note,
)  # fmt: skip
UNIFIED = Law(
    "unified", "damage after training at low bits", f"{_SOURCE}, equation 9", DAMAGE,
    (
        *_TERMS,
        *(Constant(f"gamma_{k}", 0.05, 20.0, needs=of, neutral=1e-3) for k, of in FACTORS.items()),
        *(Constant(f"C_{k}", 1e-3, 10.0, needs=of, neutral=1e3) for k, of in FACTORS.items()),
    ),
    _robust, reads=("parameters", "tokens", "post_bits"), takes=lambda record: True,
    note="its C_w, C_a and C_kv are not published",
)  # fmt: skip
