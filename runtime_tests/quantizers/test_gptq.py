"""GPTQ against a slow and independent one, and where its Hessian is difficult."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge.formats import BY_NAME
from edge.quantizers.gptq import GPTQ, inverse_factor
from edge.quantizers.placement import Target
from edge.quantizers.rtn import round_to_nearest
from runtime_tests.quantizers.slow_gptq import slow_gptq
from runtime_tests.threads import one_thread

__all__ = ["one_thread"]


def case(n: int, k: int, seed: int, dead: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight, and the Hessian of correlated inputs of uneven sizes."""
    dice = torch.Generator().manual_seed(seed)
    mix = torch.randn(k, k, generator=dice) / k**0.5 + torch.eye(k)
    x = torch.randn(3 * k, k, generator=dice) @ mix * torch.rand(k, generator=dice).add(0.2)
    x[:, list(dead)] = 0
    return torch.randn(n, k, generator=dice), 2 / len(x) * x.T @ x


@pytest.mark.parametrize("grid", ["int4", "int2", "ternary", "uint3", "uternary", "int8"])
@pytest.mark.parametrize("group", [None, 32, 64])
@pytest.mark.parametrize(("act_order", "static"), [(True, False), (False, False), (True, True)])
def test_it_gives_what_the_explicit_inverse_gives(
    grid: str, group: int | None, act_order: bool, static: bool
):
    """Tests 176 columns: blocks of 128, a last group that is shorter, three dead columns.

    The seeds are such that no value is so near a tie that float32 decides it otherwise than double precision.
    That depends on the order of sums, and so on the number of threads.
    """
    weight, hessian = case(12, 176, seed=len(grid) + 30, dead=(3, 64, 175))
    row = BY_NAME[grid]
    stored = GPTQ(act_order=act_order, static_groups=static).round(weight, hessian, Target(row, group))
    slow = slow_gptq(
        weight.numpy(), hessian.numpy(), row.levels, row.zero, group, act_order=act_order, static=static
    )
    assert np.abs(stored.dequantize().numpy() - slow).max() <= 1e-5


@pytest.mark.parametrize("group", [None, 32])
def test_the_error_of_outputs_is_far_below_that_of_rounding(group: int | None):
    weight, hessian = case(16, 128, seed=1)
    target = Target(BY_NAME["int3"], group)

    def error(rounded: torch.Tensor) -> float:
        difference = rounded - weight
        return float((difference @ hessian * difference).sum())

    gptq = error(GPTQ().round(weight, hessian, target).dequantize())
    assert gptq < 0.7 * error(round_to_nearest(weight, target).dequantize())


def test_one_column_and_one_row():
    weight = torch.tensor([[0.7]])
    stored = GPTQ().round(weight, torch.tensor([[2.0]]), Target(BY_NAME["int4"]))
    assert stored.codes.shape == (1, 1)
    assert abs(float(stored.dequantize()) - 0.7) < 0.06


def test_damping_rises_until_the_hessian_is_positive_and_that_is_said():
    said: list[str] = []
    hessian = torch.eye(8)
    hessian[0, 1] = hessian[1, 0] = 1.05
    factor = inverse_factor(hessian, 0.01, said.append)
    assert said == ["the Hessian was not positive; its damping was raised from 0.01 to 0.08"]
    inverse = torch.linalg.inv(hessian + 0.08 * torch.eye(8))
    assert torch.allclose(factor.T @ factor, inverse, atol=1e-4)
    assert torch.equal(factor, factor.triu())


@pytest.mark.parametrize("fault", [-5.0, float("nan")])
def test_a_hessian_beyond_damping_is_refused(fault: float):
    hessian = torch.eye(8)
    hessian[2, 2] = fault
    with pytest.raises(ValueError, match="not positive however it is damped"):
        GPTQ().round(torch.ones(2, 8), hessian, Target(BY_NAME["int4"]))
