"""ParetoQ's quantisers against the slow oracle beside this file and against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from edge.formats import BY_NAME, FULL_PRECISION, LINEAR_GRIDS, Grid
from edge.quantizers.paretoq import (
    QATLinear,
    effective_alpha,
    fake_quantize,
    initial_alpha,
    quantize,
    quantize_codes,
)
from runtime_tests.quantizers import oracle

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
every_format = pytest.mark.parametrize("fmt", TRAINABLE, ids=lambda f: f.name)
SHAPES = [(1, 1), (7, 1), (1, 13), (5, 9), (3, 64), (17, 33)]
F32_EPS = float(np.finfo(np.float32).eps)


def bits_of(tensor: Tensor) -> Tensor:
    """Reinterprets float32 as int32: two tensors are equal here only if every bit is."""
    return tensor.detach().contiguous().view(torch.int32)


def upstream_for(weight: Tensor) -> Tensor:
    return torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))


def assert_matches_oracle(fmt: Grid, weight: Tensor, alpha: Tensor) -> None:
    """Forward and codes bit for bit, the weight's gradient exactly, alpha's to the error of a float32 sum."""
    upstream = upstream_for(weight)
    w, a = weight.clone().requires_grad_(), alpha.clone().requires_grad_()
    out = fake_quantize(w, a, fmt)
    out.backward(upstream)
    rows, scales, grads = weight.tolist(), alpha.flatten().tolist(), upstream.tolist()

    assert torch.equal(out, torch.tensor(oracle.fake_quantize(fmt.name, rows, scales)))
    codes = [[oracle.code_of(fmt.name, x, s) for x in row] for row, s in zip(rows, scales, strict=True)]
    assert quantize_codes(weight, alpha, fmt).tolist() == codes
    assert torch.equal(bits_of(quantize(weight, alpha, fmt).dequantize()), bits_of(out))

    grad_weight, grad_alpha = oracle.gradients(fmt.name, rows, scales, grads)
    assert torch.equal(w.grad, torch.tensor(grad_weight))
    # A sum of k float32 products errs by at most about k * eps * sum|product|; |slope| <= |lowest level|.
    slope = max(abs(x) for x in oracle.RULES[fmt.name].grid) + 1
    bound = (weight.shape[1] + 4) * F32_EPS * slope * upstream.abs().sum(dim=1, keepdim=True)
    assert bool(((a.grad - torch.tensor(grad_alpha).unsqueeze(1)).abs() <= bound).all())


def test_the_oracle_knows_every_trainable_row():
    assert set(oracle.RULES) == {f.name for f in TRAINABLE}


@every_format
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_random_weights(fmt: Grid, shape: tuple[int, int]):
    generator = torch.Generator().manual_seed(shape[0] * 100 + shape[1])
    weight = torch.randn(shape, generator=generator)
    assert_matches_oracle(fmt, weight, initial_alpha(weight, fmt))
    # Alphas as training moves them: some weights clipped, some rows squeezed into the middle of the grid.
    assert_matches_oracle(fmt, weight, torch.rand(shape[0], 1, generator=generator) + 0.05)


@every_format
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_weights(fmt: Grid, data: st.DataObject):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    floats = st.floats(-1e6, 1e6, width=32)
    weight = torch.from_numpy(data.draw(hnp.arrays(np.float32, shape, elements=floats)))
    alphas = st.floats(-1, 1e6, width=32)
    alpha = torch.from_numpy(data.draw(hnp.arrays(np.float32, (shape[0], 1), elements=alphas)))
    assert_matches_oracle(fmt, weight, alpha)
    assert_idempotent(fmt, weight, alpha)


@every_format
def test_every_rounding_and_clipping_boundary(fmt: Grid):
    """Ties of the rounding, the clip at 0.99 and the ends of the grid, each with its two float neighbours."""
    rule = oracle.RULES[fmt.name]
    middles = [(a + b) / 2 for a, b in zip(rule.grid, rule.grid[1:], strict=False)]
    points = {0.0, -0.0, 1.0, 0.99, float(np.float32(0.99)), *middles, *rule.grid}
    points |= {-p for p in points}
    values = [np.float32(p) for p in sorted(points)]
    values += [np.nextafter(v, np.float32(side)) for v in values for side in (-np.inf, np.inf)]
    ratios = torch.tensor(np.array(values))
    for alpha in (1.0, 0.5, 4.0, 1 / 3, 1e-5, 3e-6, 0.0, -2.0):  # powers of two keep the ratios exact
        scale = torch.tensor([[alpha]])
        assert_matches_oracle(fmt, (ratios * effective_alpha(scale)), scale)


@every_format
def test_weights_so_small_that_the_ratio_underflows(fmt: Grid):
    assert_matches_oracle(fmt, torch.tensor([[-1e-45, 1e-45]]), torch.tensor([[4.0]]))


@every_format
def test_rows_of_zeros(fmt: Grid):
    weight = torch.zeros(3, 5)
    alpha = initial_alpha(weight, fmt)
    assert alpha.tolist() == [[np.float32(1e-5)]] * 3  # at the floor, so that no division by zero follows
    assert_matches_oracle(fmt, weight, alpha)
    assert_matches_oracle(fmt, weight, torch.zeros(3, 1))


@every_format
def test_huge_weights_are_clipped_without_nan(fmt: Grid):
    huge = torch.tensor([[3e38, -3e38, 1.0, 0.0]], requires_grad=True)
    alpha = torch.tensor([[1e-5]], requires_grad=True)  # w / alpha overflows to infinity
    out = fake_quantize(huge, alpha, fmt)
    out.backward(torch.ones_like(out))
    assert torch.isfinite(out).all()
    assert torch.isfinite(alpha.grad).all()
    assert huge.grad[0, :3].tolist() == [0, 0, 0]
    assert_matches_oracle(fmt, huge.detach(), alpha.detach())


@every_format
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_initial_alpha(fmt: Grid, shape: tuple[int, int]):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(shape[1]))
    alpha = initial_alpha(weight, fmt)
    assert alpha.shape == (shape[0], 1)
    wanted = [oracle.initial_alpha(fmt.name, row) for row in weight.tolist()]
    np.testing.assert_allclose(alpha.flatten().numpy(), wanted, rtol=shape[1] * F32_EPS)


def assert_idempotent(fmt: Grid, weight: Tensor, alpha: Tensor) -> None:
    once = fake_quantize(weight, alpha, fmt)
    assert torch.equal(quantize_codes(once, alpha, fmt), quantize_codes(weight, alpha, fmt))
    assert torch.equal(bits_of(fake_quantize(once, alpha, fmt)), bits_of(once))


@every_format
def test_every_grid_point_is_reached_and_no_other(fmt: Grid):
    weight = torch.linspace(-20, 20, 4001).unsqueeze(0)
    codes = quantize_codes(weight, torch.ones(1, 1), fmt)
    assert codes.unique().tolist() == list(range(fmt.levels))
    values = quantize(weight, torch.ones(1, 1), fmt).dequantize().unique()
    np.testing.assert_array_equal(values.numpy(), np.float32(oracle.RULES[fmt.name].grid))
    assert bool((codes.diff() >= 0).all())  # a larger weight never gets a lower code


# By hand, from the reference code (arXiv 2502.02631). Alpha 0.5 on weights (-0.6, -0.125, 0, 0.2, 0.375), so
# w / alpha is (-1.2, -0.25, 0, 0.4, 0.75); upstream gradient 1 everywhere; five weights, so
# grad_scale is 1 / sqrt(5 Qp).
#   binary   signs -1 -1 +1 +1 +1; alpha's slope is their sum, 1; -1.2 lies outside, its gradient stops.
#   ternary  1.5 r clipped: -1.485 -0.375 0 0.6 1.125 -> -1 0 0 1 1;
#            slope -1 + .25 + 0 + (2/3 - .4) + (2/3 - .75)
#   int2     2 r - .5: -2.48 -1 -.5 .3 1 -> -2 -1 0 0 1 (-.5 ties to even), + .5, / 2: -.75 -.25 .25 .25 .75;
#            slope -.75 + 0 + .25 + (.25 - .4) + 0
#   int3,4   round: -1 0 0 0 1; slope (-1 + 1.2) + .25 + 0 - .4 + .25; Qp is 3 and 7
BY_HAND = {
    "binary": ([-0.5, -0.5, 0.5, 0.5, 0.5], [0, 1, 1, 1, 1], 1.0, 1),
    "ternary": ([-1 / 3, 0, 0, 1 / 3, 1 / 3], [0, 1, 1, 1, 1], -1 + 0.25 + (2 / 3 - 0.4) + (2 / 3 - 0.75), 1),
    "int2": ([-0.375, -0.125, 0.125, 0.125, 0.375], [0, 1, 1, 1, 1], -0.75 + 0.25 - 0.15, 1),
    "int3": ([-0.5, 0, 0, 0, 0.5], [1, 1, 1, 1, 1], 0.3, 3),
    "int4": ([-0.5, 0, 0, 0, 0.5], [1, 1, 1, 1, 1], 0.3, 7),
}


@every_format
def test_values_worked_out_by_hand(fmt: Grid):
    weight = torch.tensor([[-0.6, -0.125, 0.0, 0.2, 0.375]], requires_grad=True)
    alpha = torch.tensor([[0.5]], requires_grad=True)
    out = fake_quantize(weight, alpha, fmt)
    out.sum().backward()
    values, passes, slope, grad_qp = BY_HAND[fmt.name]
    assert out.tolist()[0] == pytest.approx(values, abs=1e-7)
    assert weight.grad.tolist()[0] == passes
    assert alpha.grad.item() == pytest.approx(slope / math.sqrt(5 * grad_qp), abs=1e-6)


def test_initial_alpha_by_hand():
    weight = torch.tensor([[-3.0, 1.0, 0.0, 2.0]])
    starts = {f.name: initial_alpha(weight, f).item() for f in TRAINABLE}
    # mean |w| = 6 / 4; max |w| = 3; 3 / 3; 3 / 7
    assert starts == {"binary": 1.5, "ternary": 3.0, "int2": 3.0, "int3": 1.0, "int4": pytest.approx(3 / 7)}


def test_int8_stores_tables_on_the_same_terms():
    """int8 is never trained, but embeddings are stored in it: max |w| lands on 127."""
    fmt = BY_NAME["int8"]
    weight = torch.tensor([[-127.0, 63.5, 0.4, 64.5, -0.5]]) / 100
    alpha = initial_alpha(weight, fmt)
    assert quantize_codes(weight, alpha, fmt).tolist() == [[1, 192, 128, 192, 128]]  # ties go to even


def test_full_precision_has_no_alpha():
    with pytest.raises(ValueError, match=r"ParetoQ trains .*, not fp16"):
        initial_alpha(torch.ones(1, 1), FULL_PRECISION)


@every_format
def test_qat_linear_is_fake_quantise_then_matmul(fmt: Grid):
    generator = torch.Generator().manual_seed(3)
    weight, x = torch.randn(6, 10, generator=generator), torch.randn(2, 10, generator=generator)
    linear = QATLinear(weight, fmt)
    assert torch.equal(linear.weight_clip_val, initial_alpha(weight, fmt))
    assert set(linear.state_dict()) == {"weight", "weight_clip_val"}
    linear(x).square().sum().backward()
    plain = fake_quantize(weight, initial_alpha(weight, fmt), fmt)
    assert torch.equal(linear(x), x @ plain.T)
    assert linear.quantized().equals(quantize(weight, initial_alpha(weight, fmt), fmt))
    assert linear.weight.grad.abs().sum() > 0
    assert linear.weight_clip_val.grad.abs().sum() > 0


@every_format
def test_qat_linear_keeps_a_learned_alpha_untouched(fmt: Grid):
    alpha = torch.tensor([[0.3], [7.0]])
    assert torch.equal(QATLinear(torch.ones(2, 3), fmt, alpha.clone()).weight_clip_val, alpha)


def linear_case(fmt: Grid, dtype: torch.dtype = torch.float32) -> tuple[QATLinear, Tensor, Tensor]:
    """A linear of several blocks of rows, its input [2, 3, in] and a gradient for its output."""
    generator = torch.Generator().manual_seed(5)
    linear = QATLinear(torch.randn(700, 500, generator=generator), fmt)
    with torch.no_grad():
        linear.weight_clip_val.mul_(0.7)  # as training moves it: some weights are clipped
    x = torch.randn(2, 3, 500, generator=generator, dtype=dtype)
    return linear, x.requires_grad_(), torch.randn(2, 3, 700, generator=generator, dtype=dtype)


@every_format
def test_qat_linear_has_the_gradients_of_its_two_steps(fmt: Grid):
    linear, x, upstream = linear_case(fmt)
    linear(x).backward(upstream)
    fused = [x.grad, linear.weight.grad, linear.weight_clip_val.grad]
    w, a, y = (t.detach().clone().requires_grad_() for t in (linear.weight, linear.weight_clip_val, x))
    (y @ fake_quantize(w, a, fmt).T).backward(upstream)
    for got, wanted in zip(fused, (y.grad, w.grad, a.grad), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@every_format
def test_qat_linear_keeps_nothing_as_large_as_its_weight(fmt: Grid):
    """Tests that autograd keeps the input, the weight and a scale per row, but no rounded weight."""
    linear, x, _ = linear_case(fmt)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        linear(x)
    own = {t.data_ptr() for t in (x, linear.weight)}
    assert sum(t.numel() for t in kept if t.data_ptr() not in own) == linear.out_features
    assert any(t.data_ptr() == linear.weight.data_ptr() for t in kept)


@every_format
def test_qat_linear_under_autocast(fmt: Grid):
    """The grid is computed in float32 and only then cast to bfloat16; parameters have float32 gradients."""
    linear, x, upstream = linear_case(fmt)
    with torch.autocast("cpu", torch.bfloat16):
        out = linear(x)
    assert out.dtype == torch.bfloat16
    wanted = x.bfloat16() @ linear.quantized_weight().bfloat16().T
    assert torch.equal(out, wanted)
    out.backward(upstream.bfloat16())
    for tensor in (x, linear.weight, linear.weight_clip_val):
        assert tensor.grad.dtype == torch.float32
        assert bool(tensor.grad.abs().sum() > 0)
    reference, y, _ = linear_case(fmt)
    reference(y).backward(upstream)
    error = (linear.weight.grad - reference.weight.grad).norm() / reference.weight.grad.norm()
    assert error < 0.02  # a few roundings to 8 bits of significand


@every_format
def test_a_gradient_that_others_use_is_left_as_it_was(fmt: Grid):
    w = torch.randn(4, 5, requires_grad=True)
    upstream = torch.ones(4, 5)
    fake_quantize(w, torch.full((4, 1), 0.1), fmt).backward(upstream)
    assert torch.equal(upstream, torch.ones(4, 5))
