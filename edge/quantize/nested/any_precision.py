"""Nest weights as Any-Precision LLM does (arXiv 2402.10517): clusters of a row, each split in two.

The weights of a row are clustered by weighted k-means at the first width. Each cluster is split in two for
the next width, and so on, so that a code of b bits is the highest b bits of a code of 8. A weight becomes the
weighted mean of its cluster, for which a table of each width and row is needed. A weight counts as much as
its squared gradient, the mean over calibration samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_BITS = 8
#: Least share of a weight, of the mean share of its row: one without a gradient still has a place.
_LEAST = 1e-9
_ROUNDS = 100


def nested_codes(weight: Tensor, shares: Tensor, first_bits: int) -> Tensor:
    """Cluster the weights of each row, and split the clusters up to 8 bits.

    Args:
        weight: float [n, k].
        shares: float [n, k], 0 or more: how much each weight counts in its row.

    Returns:
        codes int64 [n, k] of 8 bits, whose highest bits are the codes of each width from ``first_bits`` on.
    """
    values, order = weight.double().sort(dim=1)
    shares = _positive(shares).gather(1, order)
    codes = torch.zeros_like(order)
    for _ in range(first_bits):
        codes = _split(values, shares, codes)
    codes = _k_means(values, shares, codes, 2**first_bits)
    for _ in range(first_bits, MOST_BITS):
        codes = _split(values, shares, codes)
    return torch.empty_like(codes).scatter_(1, order, codes)


def clustered(weight: Tensor, shares: Tensor, codes: Tensor, bits: int) -> Tensor:
    """Round weights [n, k] to the means of their clusters at a width, by codes of 8 bits."""
    narrow = codes >> (MOST_BITS - bits)
    means = _means(weight.double(), _positive(shares), narrow, 2**bits)
    return means.gather(1, narrow).to(weight.dtype)


def _positive(shares: Tensor) -> Tensor:
    """Scale the shares of a row to a mean of 1, and lift those of 0; a row of zeros becomes one of ones."""
    shares = shares.double()
    mean = shares.mean(dim=1, keepdim=True)
    return torch.where(mean > 0, shares / mean, 1.0).clamp_min(_LEAST)


def _means(values: Tensor, shares: Tensor, codes: Tensor, clusters: int) -> Tensor:
    """Compute the weighted means [n, clusters]; an empty cluster has that of the one below it."""
    weights = _sums(shares, codes, clusters)
    means = _sums(shares * values, codes, clusters) / weights
    return torch.where(weights > 0, means, -torch.inf).cummax(dim=1).values


def _sums(values: Tensor, codes: Tensor, clusters: int) -> Tensor:
    return values.new_zeros(len(values), clusters).scatter_add_(1, codes, values)


def _k_means(values: Tensor, shares: Tensor, codes: Tensor, clusters: int) -> Tensor:
    """Repeat Lloyd's steps on sorted rows until no weight changes its cluster."""
    for _ in range(_ROUNDS):
        means = _means(values, shares, codes, clusters)
        middles = (means[:, 1:] + means[:, :-1]) / 2
        nearest = torch.searchsorted(middles, values)
        if torch.equal(nearest, codes):
            break
        codes = nearest
    return codes


def _split(values: Tensor, shares: Tensor, codes: Tensor) -> Tensor:
    """Split each cluster of sorted rows in two, where the weighted squared error becomes least.

    For a part with shares s and values x the error is sum(s x^2) - sum(s x)^2 / sum(s), so that the best
    split has the greatest sum of the second terms.
    """
    clusters = int(codes.max()) + 1
    weight, moment = shares, shares * values
    lower = [_within(part, codes, clusters) for part in (weight, moment)]
    whole = [_sums(part, codes, clusters).gather(1, codes) for part in (weight, moment)]
    upper = [total - part for total, part in zip(whole, lower, strict=True)]
    last = torch.ones_like(codes, dtype=torch.bool)
    last[:, :-1] = codes[:, 1:] != codes[:, :-1]
    gain = lower[1].square() / lower[0] + torch.where(last, 0.0, upper[1].square() / upper[0])
    gain = torch.where(last, -torch.inf, gain)  # nothing would be left above
    best = torch.full((len(codes), clusters), -torch.inf, dtype=gain.dtype)
    best = best.scatter_reduce_(1, codes, gain, "amax").gather(1, codes)
    ends = (gain == best) & ~last
    before = _within(ends.double(), codes, clusters) - ends.double()  # ends of lower halves further down
    return 2 * codes + (before > 0)


def _within(values: Tensor, codes: Tensor, clusters: int) -> Tensor:
    """Sum up values along sorted rows, from 0 in each cluster."""
    totals = _sums(values, codes, clusters).cumsum(dim=1)
    before = torch.cat([torch.zeros_like(totals[:, :1]), totals[:, :-1]], dim=1)
    return values.cumsum(dim=1) - before.gather(1, codes)
