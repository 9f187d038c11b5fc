"""Records made by a law whose constants are known, with noise, for tests of fits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from edge.scaling.laws import Inputs, Law
from edge.scaling.laws.law import DAMAGE
from edge.scaling.records import PostQuantization, Record
from runtime_tests.scaling.some_records import record

SIZES = (50_000, 100_000, 200_000, 400_000, 800_000, 1_600_000)
RATIOS = (5, 10, 20, 40, 80, 160, 320)
WIDTHS = (8.0, 4.0, 3.0, 2.0, 1.0)


def runs(law: Law) -> list[Record]:
    """Records of a grid that tells everything that the law reads; their losses mean nothing."""
    if law.target == DAMAGE:
        posts = [
            PostQuantization(method="gptq", weight_bits=bits, trained_loss=3.0)
            for bits in (4.0, 3.0, 2.5, 2.0)
        ]
        return [
            record(parameters=n, tokens=n * ratio, post=post)
            for n, ratio, post in product(SIZES, RATIOS, posts)
        ]
    full = [record(parameters=n, tokens=n * ratio) for n, ratio in product(SIZES, RATIOS)]
    if law.name == "full":
        return full
    if law.name == "groups":
        return [
            record(
                parameters=n, tokens=n * ratio, low_bit_tokens=n * ratio, weight_bits=4.0, weight_group=group
            )
            for n, ratio, group in product(SIZES, RATIOS, (32, 64, 128, 256))
        ]
    low = [
        record(parameters=n, tokens=n * ratio, low_bit_tokens=n * ratio // part, weight_bits=bits)
        for n, ratio, bits, part in product(SIZES, RATIOS[::2], WIDTHS, (1, 3, 10))
    ]
    if not any(constant.needs == "activation_bits" for constant in law.constants):
        return full + low
    others = [
        record(parameters=n, tokens=n * ratio, low_bit_tokens=n * ratio, **bits)
        for n, ratio in product(SIZES, RATIOS[::2])
        for bits in (
            {"activation_bits": 8.0}, {"activation_bits": 4.0}, {"activation_bits": 3.0},
            {"kv_bits": 4.0}, {"kv_bits": 3.0}, {"kv_bits": 2.0},
        )
    ]  # fmt: skip
    return full + [one for one in low if one.training.low_bit_share == 1] + others


def made_by(law: Law, constants: Mapping[str, float], noise: float, seed: int) -> list[Record]:
    """Records whose losses, or damages, the law gives with these constants.

    Args:
        noise: standard deviation of the logarithm.
    """
    records = runs(law)
    values = law.predict(constants, Inputs.of(records))
    values = values * np.exp(noise * np.random.default_rng(seed).standard_normal(len(values)))
    if law.target == DAMAGE:
        values = values + 3.0
    return [one.model_copy(update={"loss": float(loss)}) for one, loss in zip(records, values, strict=True)]


#: Constants of models of the sizes above, for each law; where there are published ones, of their kind.
TRUE: dict[str, dict[str, float]] = {
    "full": {"A": 60.0, "alpha": 0.35, "B": 300.0, "beta": 0.4, "E": 1.6},
    "post": {"C_T": 0.1, "gamma_D": 0.5, "gamma_N": 0.3, "gamma_post": 0.8},
    "onset": {"C_T": 0.1, "gamma_D": 0.5, "gamma_N": 0.3, "gamma_post": 0.8, "D_0": 1e6},
    "per-parameter": {"C_T": 0.1, "gamma_D": 0.4, "gamma_post": 0.8, "D_0": 1e6},
    "groups": {"k": 0.05, "gamma_N": 0.2, "gamma_D": 0.15, "gamma_G": 0.6},
    "precision": {"gamma_w": 2.0, "gamma_a": 1.5, "gamma_kv": 0.9},
    "tokens": {"gamma_w": 2.0, "gamma_a": 1.5, "gamma_kv": 0.9},
    "both": {
        "gamma_w": 2.0, "gamma_a": 1.5, "gamma_kv": 0.9, "delta_w": 1.0, "delta_a": 1.2, "delta_kv": 0.5,
    },
    "added": {"C_w": 0.5, "c_w": 2.0, "C_a": 2.0, "c_a": 2.5, "C_kv": 1.0, "c_kv": 3.0},
    "multiplied": {"C_w": 0.5, "c_w": 2.0, "C_a": 2.0, "c_a": 2.5, "C_kv": 1.0, "c_kv": 3.0},
    "ours": {
        "C_8": 0.002, "C_4": 0.01, "C_3": 0.02, "C_2": 0.05, "C_1": 0.15, "gamma_D": 0.4, "gamma_N": 0.15,
        "gamma_Q": 0.2,
    },
    "fraction": {
        "theta": 0.3, "kappa": 0.9, "phi": 30.0, "chi": 0.7, "psi": 0.3, "omega": 0.3, "lambda": 0.4,
        "mu": 0.5, "nu": 0.1, "xi": 0.3, "rho": 0.3,
    },
}  # fmt: skip


def true_constants(law: Law) -> dict[str, float]:
    """The constants of TRUE, with those of full precision where the law has them."""
    names = {constant.name for constant in law.constants}
    return {name: value for name, value in (TRUE["full"] | TRUE[law.name]).items() if name in names}
