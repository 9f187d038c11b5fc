"""RMSNorm and SiLU-multiply against float64."""

from __future__ import annotations

import pytest
import torch

from edge.ops import reference
from runtime_tests.ops.tables import random_rows


@pytest.mark.parametrize("dim", [1, 7, 16, 17, 64, 576, 4352])
def test_rms_norm_close_to_float64(dim):
    x, weight = 3 * random_rows(5, dim), random_rows(1, dim)[0]
    y = torch.ops.lowbit.rms_norm(x, weight, 1e-5)
    exact = reference.rms_norm(x, weight, 1e-5)
    # The squares sum in 16 chains of dim/16 roundings of 2^-24, halved by the root; six more roundings.
    bound = (dim / 16 / 2 + 6) * 2**-24
    assert ((y - exact).abs() <= bound * exact.abs() + 1e-30).all()


def test_rms_norm_keeps_shape_and_hides_no_nan():
    x = random_rows(6, 40).reshape(2, 3, 40)
    x[1, 2, 7] = torch.nan
    y = torch.ops.lowbit.rms_norm(x, torch.ones(40), 1e-5)
    assert y.shape == x.shape
    assert torch.isnan(y[1, 2]).all()
    assert torch.isfinite(y[0]).all()
    assert torch.equal(torch.ops.lowbit.rms_norm(torch.zeros(1, 8), torch.ones(8), 1e-5), torch.zeros(1, 8))


def test_rms_norm_refuses_another_width():
    with pytest.raises(ValueError, match="does not fit"):
        torch.ops.lowbit.rms_norm(torch.ones(2, 8), torch.ones(7), 1e-5)


def test_gate_mul_over_the_whole_range():
    """exp to 2e-7 relative, then an addition, a division and a product of half an ulp each.

    Below -88.7 e^-gate is infinite and the result 0; the true one is smaller than 3 * 89 * e^-88.7.
    """
    tiny = torch.logspace(-30, 2, 1000)
    gate = torch.cat([torch.linspace(-100, 100, 20001), tiny, -tiny])
    up = torch.linspace(-3, 3, gate.numel())
    y = torch.ops.lowbit.gate_mul(gate, up)
    exact = reference.gate_mul(gate, up)
    assert ((y - exact).abs() <= 4e-7 * exact.abs() + 1e-36).all()


def test_gate_mul_at_the_ends():
    gate = torch.tensor([0.0, -0.0, 1e30, -1e30, torch.inf, torch.nan])
    y = torch.ops.lowbit.gate_mul(gate, torch.ones(6)).tolist()
    assert y[:5] == [0.0, 0.0, pytest.approx(1e30), 0.0, float("inf")]
    assert y[5] != y[5]


def test_gate_mul_refuses_another_shape():
    with pytest.raises(ValueError, match="differ in shape"):
        torch.ops.lowbit.gate_mul(torch.ones(2, 8), torch.ones(8))


def test_many_threads_give_the_same_bits():
    gate, up = random_rows(64, 1536), random_rows(64, 1536, seed=9)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        normed = torch.ops.lowbit.rms_norm(gate, up[0], 1e-5)
        results.append(torch.cat([torch.ops.lowbit.gate_mul(gate, up), normed]))
    torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])
