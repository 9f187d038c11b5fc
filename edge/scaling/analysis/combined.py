"""Compare what several low-bit parts cost together with what each costs alone.

Where bits of weights, activations and KV cache shrink the parameters that count by factors (arXiv
2411.04330), costs a, b and c of the loss make T ((1 + a / T) (1 + b / T) (1 + c / T) - 1) together. T is the
part of the loss that parameters reduce, A / N^alpha by the fit in full precision.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from edge.scaling.analysis.groups import group, size
from edge.scaling.analysis.noise import Noise
from edge.scaling.analysis.section import Section, Table
from edge.scaling.fit.fitted import FitFile
from edge.scaling.laws.chinchilla import CHINCHILLA
from edge.scaling.laws.law import FULL_BITS
from edge.scaling.records import Record, commonest_schedule

#: Bits of weights, activations and KV cache.
Bits = tuple[float, float, float]
FULL: Bits = (FULL_BITS,) * 3


def section(records: Sequence[Record], fits: FitFile) -> Section | None:
    """Answer for runs from scratch that differ only in their bits; None without such, or without the fit."""
    full = next((fitted for fitted in fits.fits if fitted.law == CHINCHILLA.name), None)
    runs = group(_from_scratch(records), lambda r: (r.parameters, r.training.tokens, r.training.seed))
    rows = [["parameters", "weights", "activations", "KV cache", "costs", "sum of its parts", "product"]]
    noise, sums, products, apart, beyond = Noise(records), [], [], 0.0, [0, 0]
    for (parameters, _, _), same in sorted(runs.items()) if full else ():
        assert full is not None
        reducible = full.values["A"] * parameters ** -full.values["alpha"]
        for bits, together, alone in _combinations(same):
            product = reducible * (math.prod(1 + cost / reducible for cost in alone) - 1)
            sums.append(abs(sum(alone) - together))
            products.append(abs(product - together))
            apart = max(apart, abs(product - sum(alone)))
            margin = noise.of_sum(len(alone))
            beyond = [beyond[0] + (sums[-1] > margin), beyond[1] + (products[-1] > margin)]
            costs = [f"{cost:+.3f}" for cost in (together, sum(alone), product)]
            rows.append([size(parameters), *(f"{b:g}" for b in bits), *costs])
    if not sums:
        return None
    answer = [
        f"In {len(sums)} runs with two or three low-bit parts, the sum of what each part costs alone was "
        f"{statistics.median(sums):.3f} nats off in the median, {noise.words} in {beyond[0]}; their product "
        f"was {statistics.median(products):.3f} off, {noise.words} in {beyond[1]}."
    ]
    if apart <= noise.of_sum(2):
        answer.append(
            f"Sum and product differ by {apart:.3f} nats at most, less than noise: these runs cannot tell "
            "which is right."
        )
    return Section("combined", "Do weights, activations and KV cache multiply?", answer, [Table(rows)])


def _from_scratch(records: Sequence[Record]) -> list[Record]:
    schedule = commonest_schedule(records)
    return [
        record
        for record in records
        if record.post is None
        and record.training.low_bit_tokens in (0, record.training.tokens)
        and record.training.schedule == schedule
    ]


def _combinations(same: Sequence[Record]) -> list[tuple[Bits, float, list[float]]]:
    """Find runs with several low parts: their bits, what these cost together, and each alone."""
    losses: Mapping[Bits, float] = {_bits(record): record.loss for record in same}
    found = []
    for bits, loss in sorted(losses.items(), reverse=True):
        parts = [_alone(bits, index) for index in range(3) if bits[index] != FULL_BITS]
        if len(parts) > 1 and {FULL, *parts} <= losses.keys():
            found.append((bits, loss - losses[FULL], [losses[part] - losses[FULL] for part in parts]))
    return found


def _bits(record: Record) -> Bits:
    training = record.training
    return training.weight_bits, training.activation_bits, training.kv_bits


def _alone(bits: Bits, index: int) -> Bits:
    weights, activations, kv = (bit if place == index else FULL_BITS for place, bit in enumerate(bits))
    return weights, activations, kv
