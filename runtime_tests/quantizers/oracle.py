"""ParetoQ's quantisers a second time, slowly: one weight at a time, from the formulas and not from our code.

Source: arXiv 2502.02631 and its reference code (github.com/facebookresearch/ParetoQ, ``utils_quant.py``),
which the paper's SEQ equation disagrees with; LSQ is arXiv 1902.08153. Nothing here is imported from
``edge``: the bit widths, bounds and scales below are written out again by hand.

Forward arithmetic rounds to float32 after every operation, as PyTorch does, so that a weight exactly on
a boundary falls to the same side. Gradients are summed in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

ALPHA_FLOOR = np.float32(1e-5)
SEQ_CLIP = np.float32(0.99)


@dataclass(frozen=True)
class Rule:
    """Quantisation rule of one format, with the reference code's names.

    Attributes:
        kind: "sign", "seq" or "lsq".
        n_levels, shift: SEQ's stretch; SEQ rounds ``n_levels * x - shift``.
        q_min, q_max: LSQ's integer bounds.
        grad_qp: the Qp inside ``grad_scale = 1 / sqrt(numel * Qp)``.
        grid: every value that weight / alpha can take, ascending.
    """

    kind: str
    grad_qp: int
    grid: tuple[float, ...]
    n_levels: float = 0.0
    shift: float = 0.0
    q_min: int = 0
    q_max: int = 0


RULES = {
    "binary": Rule("sign", 1, (-1.0, 1.0)),
    "ternary": Rule("seq", 1, (-2 / 3, 0.0, 2 / 3), n_levels=1.5, shift=0.0),
    "int2": Rule("seq", 1, (-0.75, -0.25, 0.25, 0.75), n_levels=2.0, shift=0.5),
    "int3": Rule("lsq", 3, tuple(float(i) for i in range(-4, 4)), q_min=-4, q_max=3),
    "int4": Rule("lsq", 7, tuple(float(i) for i in range(-8, 8)), q_min=-8, q_max=7),
}


def initial_alpha(name: str, row: list[float]) -> float:
    """Alpha of one row of latent weights at the start, in float64; before any floor."""
    magnitudes = [abs(float(w)) for w in row]
    if RULES[name].kind == "sign":
        return math.fsum(magnitudes) / len(magnitudes)
    if RULES[name].kind == "seq":
        return max(magnitudes)
    return max(magnitudes) / RULES[name].q_max


def quantize_one(name: str, weight: float, alpha: float) -> float:
    """One weight on its grid, in units of alpha."""
    rule, w = RULES[name], np.float32(weight)
    if rule.kind == "sign":
        return 1.0 if w >= 0 else -1.0  # the reference's sign(0) = 0 has no code; the project says +1
    q = _ratio(w, alpha)
    if rule.kind == "seq":
        clipped = min(max(q, -SEQ_CLIP), SEQ_CLIP)
        stretched = np.float32(np.float32(clipped * np.float32(rule.n_levels)) - np.float32(rule.shift))
        return (round(float(stretched)) + rule.shift) / rule.n_levels
    if math.isinf(q):
        return float(rule.q_max if q > 0 else rule.q_min)
    return float(min(max(round(float(q)), rule.q_min), rule.q_max))


def code_of(name: str, weight: float, alpha: float) -> int:
    """The index of the weight's grid point, counted from the lowest."""
    value = quantize_one(name, weight, alpha)
    return min(range(len(RULES[name].grid)), key=lambda i: abs(RULES[name].grid[i] - value))


def fake_quantize(name: str, weights: list[list[float]], alphas: list[float]) -> list[list[float]]:
    """weights [out, in] and alphas [out] to dequantised weights, float32 values."""
    return [
        [float(np.float32(quantize_one(name, w, a)) * _floored(a)) for w in row]
        for row, a in zip(weights, alphas, strict=True)
    ]


def gradients(
    name: str, weights: list[list[float]], alphas: list[float], upstream: list[list[float]]
) -> tuple[list[list[float]], list[float]]:
    """Gradients of ``sum(upstream * fake_quantize(weights, alphas))``: [out, in] and [out]."""
    rule = RULES[name]
    grad_scale = 1 / math.sqrt(sum(len(row) for row in weights) * rule.grad_qp)
    grad_weights, grad_alphas = [], []
    for row, alpha, upstream_row in zip(weights, alphas, upstream, strict=True):
        parts = [_gradient_one(name, w, alpha) for w in row]
        pairs = list(zip(parts, upstream_row, strict=True))
        grad_weights.append([g if passes else 0.0 for (passes, _), g in pairs])
        grad_alphas.append(grad_scale * math.fsum(slope * g for (_, slope), g in pairs))
    return grad_weights, grad_alphas


def _gradient_one(name: str, weight: float, alpha: float) -> tuple[bool, float]:
    """Returns whether the weight's gradient passes, and d(fake-quantised weight) / d(alpha)."""
    rule = RULES[name]
    q = _ratio(np.float32(weight), alpha)
    if rule.kind == "sign":
        return bool(-1 <= q <= 1), quantize_one(name, weight, alpha)
    if rule.kind == "seq":
        low, high = -SEQ_CLIP, SEQ_CLIP
        beyond = (rule.n_levels - rule.shift) / rule.n_levels
        below = -beyond
    else:
        low, high = np.float32(rule.q_min), np.float32(rule.q_max)
        below, beyond = float(rule.q_min), float(rule.q_max)
    if q < low:
        return False, below
    if q > high:
        return False, beyond
    return True, quantize_one(name, weight, alpha) - float(q)


def _floored(alpha: float) -> np.float32:
    return max(np.float32(alpha), ALPHA_FLOOR)


def _ratio(weight: np.float32, alpha: float) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(weight / _floored(alpha))
