"""GPTQ (arXiv 2210.17323): round one column after another, and let the later ones make up for the error.

The paper's steps, in float32. The Hessian of a linear is H = 2 X X^T over the calibration inputs. A column
that no input reaches is dead, and its weights become 0. The diagonal is damped by a share of its mean. With U
the upper Cholesky factor of H^-1, the error e = (w - q) / U_ii of column i goes to the columns behind it as
e * U_ij. A linear sees the inputs that the linears quantised before it produce.

Act-order takes columns by falling diagonal of H. Groups must stay runs of neighbouring columns here, because
a packed table has no index of groups: so groups are taken by falling mean of their diagonals, and the columns
within each by falling diagonal. A group's levels are fitted to its weights as they are when its turn comes.
With ``static_groups`` they are fitted to the weights as they were, and act-order is over all columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from edge.formats.weight import QuantizedWeight
from edge.quantizers.base import QuantizedLinear
from edge.quantizers.placement import Levels, Target
from edge.quantizers.post_training import SEQUENCE, Block, PostTraining


@dataclass(frozen=True)
class GPTQ(PostTraining):
    """``--method gptq``.

    Attributes:
        damping: share of the diagonal's mean that is added to it; doubled as often as H is not positive.
        act_order: take columns by falling diagonal of H.
        static_groups: fit the levels of groups to the weights before any is changed.
        block_columns: columns whose errors are added up before those behind them are changed, where a group
            does not say.
    """

    name: str = "gptq"
    damping: float = 0.01
    act_order: bool = True
    static_groups: bool = False
    block_columns: int = 128

    def quantize(self, block: Block) -> None:
        for names in SEQUENCE:
            wanted = [name for name in names if name in block.targets]
            if wanted:
                hessian = hessian_of(block, wanted[0])
                for name in wanted:
                    self._quantize_linear(block, name, hessian)

    def _quantize_linear(self, block: Block, name: str, hessian: Tensor) -> None:
        full, target = f"{block.name}.{name}", block.targets[name]
        try:
            say = partial(_say_of, block, full)
            stored = self.round(block.weight(name), hessian, target, say)
        except ValueError as error:
            raise ValueError(f"{full}: {error}") from error
        block.put(name, QuantizedLinear(stored, target.grid))

    @torch.no_grad()
    def round(
        self, weight: Tensor, hessian: Tensor, target: Target, say: Callable[[str], None] = print
    ) -> QuantizedWeight:
        """Round weight [n, k] float32, given the Hessian [k, k] of its inputs; neither is changed.

        Raises:
            ValueError: H is not positive whatever the damping, or a scale that its type cannot hold.
        """
        weight, hessian = weight.clone(), hessian.clone()
        dead = hessian.diagonal() == 0
        hessian.diagonal()[dead] = 1
        weight[:, dead] = 0
        spans = self._spans(hessian.diagonal(), target)
        order = torch.cat(spans)
        factor = inverse_factor(hessian[order][:, order], self.damping, say)
        parts = target.parts(weight)
        fixed = [] if self._fits_spans(target) else [target.fit(part) for part in parts]
        per_column = _per_column(fixed, parts) if fixed else None
        fitted: dict[int, Levels] = {}  # of groups, by their first column
        later, codes, start = weight[:, order], torch.empty_like(weight), 0
        for span in spans:
            stop = start + len(span)
            levels = target.fit(later[:, start:stop]) if per_column is None else per_column.of(span)
            fitted[int(span.min())] = levels
            codes[:, span], errors = _round_span(later[:, start:stop], factor[start:stop, start:stop], levels)
            later[:, stop:] -= errors @ factor[start:stop, stop:]
            start = stop
        return target.quantized([codes], fixed or [fitted[first] for first in sorted(fitted)])

    def _fits_spans(self, target: Target) -> bool:
        """Returns True if every span is a group whose levels are fitted when its turn comes."""
        return target.group_size is not None and not self.static_groups

    def _spans(self, importance: Tensor, target: Target) -> list[Tensor]:
        """The columns [k] in the order of rounding, cut where errors are passed on."""
        columns = torch.arange(len(importance))
        if not self._fits_spans(target):
            order = importance.argsort(descending=True, stable=True) if self.act_order else columns
            return list(order.split(self.block_columns))
        assert target.group_size is not None
        groups = list(columns.split(target.group_size))
        if self.act_order:
            means = torch.stack([importance[group].mean() for group in groups])
            groups = [groups[index] for index in means.argsort(descending=True, stable=True).tolist()]
            groups = [g[importance[g].argsort(descending=True, stable=True)] for g in groups]
        return groups


def _say_of(block: Block, linear: str, sentence: str) -> None:
    block.say(f"{linear}: {sentence}")


def hessian_of(block: Block, linear: str) -> Tensor:
    """H = 2 X X^T / T float32 [in, in] over all T inputs of a linear."""
    size = block.weight(linear).shape[1]
    total, count = torch.zeros(size, size), 0

    def add(x: Tensor) -> None:
        nonlocal count
        total.addmm_(x.T, x)
        count += len(x)

    block.watch(linear, block.inputs, add)
    return total.mul_(2 / count)


def inverse_factor(hessian: Tensor, damping: float, say: Callable[[str], None]) -> Tensor:
    """U [k, k], upper, with U^T U = (H + damping * mean(diag H) * I)^-1.

    H = R R^T with R upper, from the Cholesky factor of H with rows and columns reversed; then U = R^-1. H is
    never inverted, which float32 would feel.

    Raises:
        ValueError: H is not positive however it is damped.
    """
    share, mean = damping, hessian.diagonal().mean()
    while share <= 1:
        damped = hessian.clone()
        damped.diagonal().add_(share * mean)
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed and bool(torch.isfinite(lower).all()):
            if share > damping:
                say(f"the Hessian was not positive; its damping was raised from {damping:g} to {share:g}")
            identity = torch.eye(len(hessian))
            return torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
        share = 2 * share
    raise ValueError("the Hessian is not positive however it is damped: give other calibration text")


def _round_span(weight: Tensor, factor: Tensor, levels: Levels) -> tuple[Tensor, Tensor]:
    """Round some columns in turn; weight [n, s] is changed.

    Returns:
        their codes and errors, both float32 [n, s].
    """
    codes, errors = torch.empty_like(weight), torch.empty_like(weight)
    for i in range(weight.shape[1]):
        here = slice(i, i + 1)
        column, level = weight[:, here], levels.of(here)
        codes[:, here] = level.codes(column)
        errors[:, here] = (column - level.values(codes[:, here])) / factor[i, i]
        weight[:, i:] -= errors[:, here] * factor[i, i:]
    return codes, errors


def _per_column(levels: list[Levels], parts: list[Tensor]) -> Levels:
    """Levels of the parts [n, G, columns] of a weight, repeated for each of its columns."""
    pairs = list(zip(levels, parts, strict=True))
    scale = torch.cat([level.scale.expand_as(part).flatten(1) for level, part in pairs], dim=1)
    zeros = [level.zero.expand_as(p).flatten(1) for level, p in pairs if isinstance(level.zero, Tensor)]
    return Levels(scale, torch.cat(zeros, dim=1) if zeros else levels[0].zero, levels[0].highest)
