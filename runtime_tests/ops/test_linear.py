"""lowbit::linear: every format, every kernel, exactly the slow reference."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.formats.encoding import ENCODING_BY_NAME
from edge.ops import kernel_names, native, reference
from edge.ops.packed_header import MAX_K
from edge.ops.packing import dequantize, pack, pack_half, unpack
from runtime_tests.ops.tables import (
    FORMS,
    INT2,
    INT4,
    INT8,
    QUANTIZED,
    ROW_FORMS,
    Form,
    name_of,
    random_rows,
    random_table,
    random_weight,
    same_bits,
    weight_of,
)

SHAPES = [(1, 1), (1, 64), (16, 64), (17, 65), (3, 31), (33, 129), (50, 192), (100, 577)]


@cache
def supported(kernel: str) -> bool:
    try:
        native.linear(torch.zeros(1, 1), random_table(1, 1, INT4), 1, kernel=kernel)
    except ValueError:
        return False
    return True


def kernels() -> list:
    """Every kernel of this build; one that this CPU cannot run is skipped by name."""
    reason = "this CPU lacks the instructions of kernel {}; run on one that has them"
    return [
        pytest.param(name, marks=pytest.mark.skipif(not supported(name), reason=reason.format(name)))
        for name in kernel_names()
    ]


@pytest.mark.parametrize("form", FORMS, ids=name_of)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_every_kernel_equals_the_reference(form, n, k):
    packed = random_table(n, k, form)
    for tokens in (1, 2, 3, 4, 5, 8, 37):
        x = random_rows(tokens, k, seed=tokens)
        expected = reference.linear(x, packed)
        for kernel in filter(supported, kernel_names()):
            for threads in (1, 3):
                assert torch.equal(native.linear(x, packed, n, kernel=kernel, threads=threads), expected)


@pytest.mark.parametrize("kernel", kernels())
@settings(max_examples=150)
@given(
    form=st.sampled_from(FORMS),
    n=st.integers(1, 70),
    k=st.integers(1, 700),
    tokens=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_equals_reference_anywhere(kernel, form, n, k, tokens, seed):
    packed = random_table(n, k, form, seed)
    x = random_rows(tokens, k, seed)
    assert torch.equal(native.linear(x, packed, n, kernel=kernel), reference.linear(x, packed))


def _extreme_rows(k: int) -> torch.Tensor:
    """Rows whose int8 values are all 127, all -127, and alternating in the pairs a kernel adds up."""
    signs = torch.tensor(
        [[1, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float32
    )
    return signs.repeat(1, -(-k // 4))[:, :k].contiguous()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("form", [f for f in ROW_FORMS if f.is_quantized], ids=name_of)
@pytest.mark.parametrize("k", [64, 1000, MAX_K])
def test_no_sum_overflows_at_the_extremes(kernel, form, k):
    """The largest codes with the largest activations, up to the largest k the layout allows."""
    codes = torch.zeros(18, k, dtype=torch.uint8)
    codes[0:16:2] = form.encoding.codes - 1
    codes[17] = form.encoding.codes - 1
    packed = pack(weight_of(codes, torch.ones(18), form))
    x = _extreme_rows(k)
    q, scale = reference.quantize_activations(x)
    assert set(q.abs().flatten().tolist()) == {127}
    y = native.linear(x, packed, 18, kernel=kernel)
    step = 1 if form.zero.is_integer() else 2
    level_sums = (step * codes.to(torch.int64) - round(step * form.zero)) @ q.T  # [n, tokens], exact in int64
    assert int(level_sums.abs().max()) < 2**31
    assert torch.equal(y, (level_sums.T.float() * (1 / step)) * scale[:, None])


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("form", [f for f in QUANTIZED if f.group_size], ids=name_of)
def test_groups_hold_the_extremes_too(kernel, form):
    """The largest codes and activations in every group, tokens as decode and as prefill."""
    weight = random_weight(18, 1000, form)
    weight.codes[::2], weight.codes[1::2] = form.encoding.codes - 1, 0
    packed, x = pack(weight), _extreme_rows(1000)
    expected = reference.linear(x, packed)
    assert torch.equal(native.linear(x, packed, 18, kernel=kernel), expected)
    assert torch.equal(native.linear(x[1:2], packed, 18, kernel=kernel), expected[1:2])


@pytest.mark.parametrize("kernel", kernels())
def test_largest_bytes_need_no_valid_code(kernel):
    """Any bytes are summed exactly, codes of ternary that no packer writes included, up to the largest k."""
    ternary = Form(ENCODING_BY_NAME["bits2"])
    packed = pack(weight_of(torch.full((16, MAX_K), 2), torch.ones(16), ternary))
    packed[128:] = 0xFF  # every code 3
    y = native.linear(torch.ones(1, MAX_K), packed, 16, kernel=kernel)
    sums = torch.full((1, 16), float((2 * 3 - 3) * 127 * MAX_K))
    assert torch.equal(y, sums * 0.5 * (1 / torch.tensor(127.0)))


@pytest.mark.parametrize("kernel", kernels())
@settings(max_examples=150)
@given(
    form=st.sampled_from(FORMS),
    n=st.integers(1, 5),
    k=st.integers(1, 300),
    tokens=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 10**6),
)
def test_fused_ops_have_the_bits_of_the_ops_they_replace(kernel, form, n, k, tokens, seed):
    n, generator = 16 * n, torch.Generator().manual_seed(seed)
    x, norm = random_rows(tokens, k, seed), torch.rand(k, generator=generator) + 0.5
    packed = random_table(2 * n, k, form, seed)
    normed = native.rms_norm(x, norm, 1e-5, kernel=kernel)
    plain = native.linear(normed, packed, 2 * n, kernel=kernel)
    assert torch.equal(native.norm_linear(x, norm, 1e-5, packed, 2 * n, kernel=kernel), plain)
    gated = native.gate_mul(plain[:, :n], plain[:, n:], kernel=kernel)
    assert torch.equal(native.norm_gate_up(x, norm, 1e-5, packed, n, kernel=kernel, threads=2), gated)
    residual = random_rows(tokens, 2 * n, seed + 1)
    added = residual + native.linear(x, packed, 2 * n, kernel=kernel)
    assert torch.equal(native.linear_add(x, packed, residual, kernel=kernel, threads=2), added)


@pytest.mark.parametrize("kernel", kernels())
def test_float_loops_have_the_bits_of_the_scalar_kernel(kernel):
    for k in (1, 3, 64, 577):
        x, norm = 3 * random_rows(4, k), random_rows(1, k, 5)[0]
        assert torch.equal(
            native.rms_norm(x, norm, 1e-5, kernel=kernel), native.rms_norm(x, norm, 1e-5, kernel="scalar")
        )
        gate = torch.cat([30 * x, torch.tensor([[-200.0], [200.0], [0.0], [-88.0]]).expand(4, k)])
        up = random_rows(8, k, 6)
        assert torch.equal(
            native.gate_mul(gate, up, kernel=kernel), native.gate_mul(gate, up, kernel="scalar")
        )
        for a, b in zip(
            native.quantize_activations(x, kernel=kernel),
            native.quantize_activations(x, kernel="scalar"),
            strict=True,
        ):
            assert torch.equal(a, b)


def test_gate_and_up_must_be_whole_blocks():
    packed = random_table(40, 64, INT4)
    with pytest.raises(ValueError, match="multiple of 32 rows, not 40"):
        torch.ops.lowbit.norm_gate_up(torch.ones(1, 64), torch.ones(64), 1e-5, packed, 20)


@pytest.mark.parametrize("shape", [(1, 63), (65,), (64, 1)])
def test_a_norm_of_another_size_is_refused(shape):
    packed = random_table(16, 64, INT4)
    with pytest.raises(ValueError, match="norm_weight"):
        torch.ops.lowbit.norm_linear(torch.ones(2, 64), torch.ones(*shape), 1e-5, packed, 16)


def test_a_residual_of_another_shape_is_refused():
    packed = random_table(16, 64, INT4)
    for shape in ((3, 16), (2, 17), (2, 1, 16)):
        with pytest.raises(ValueError, match=r"residual|asks for"):
            torch.ops.lowbit.linear_add(torch.ones(2, 64), packed, torch.ones(*shape))


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("form", FORMS, ids=name_of)
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_never_hidden(kernel, form, poison):
    x = random_rows(3, 100)
    x[1, 70] = poison
    y = native.linear(x, random_table(20, 100, form), 20, kernel=kernel)
    assert not torch.isfinite(y[1]).any()
    assert torch.isfinite(y[0]).all()
    assert torch.isfinite(y[2]).all()
    if form.is_quantized:
        assert torch.isnan(y[1]).all()


def test_activation_quantisation_equals_reference():
    x = torch.cat(
        [random_rows(20, 77), torch.zeros(1, 77), torch.full((1, 77), 1e-44), 1e38 * random_rows(1, 77)]
    )
    x[3, 5] = torch.inf
    x[4, 5] = torch.nan
    q, scales, sums = native.quantize_activations(x)
    expected_q, expected_scales = reference.quantize_activations(x)
    assert torch.equal(q[:, :77].long(), expected_q)
    assert not q[:, 77:].any()
    assert same_bits(scales, expected_scales)
    assert torch.equal(sums.long(), expected_q.sum(1))


def test_activations_round_half_to_even():
    x = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5]])
    assert native.quantize_activations(x)[0][0, :8].tolist() == [127, 0, 2, 2, 0, -2, -2, 126]


@pytest.mark.parametrize("form", QUANTIZED, ids=name_of)
def test_close_to_the_float_product(form):
    """Against plain floats: int8 activations move each by at most half a step, scale / 2."""
    packed, x = random_table(64, 300, form), random_rows(9, 300)
    weight = dequantize(packed)
    _, scale = reference.quantize_activations(x)
    bound = scale[:, None] * 0.5 * weight.abs().sum(1)[None, :]
    float_slack = 1e-5 * (x.abs() @ weight.abs().T)
    error = (torch.ops.lowbit.linear(x, packed, 64) - x @ weight.T).abs()
    assert (error <= bound + float_slack).all()


def test_batch_and_layout_of_x_do_not_matter():
    packed = random_table(24, 96, INT2)
    x = random_rows(6, 96).reshape(2, 3, 96)
    y = torch.ops.lowbit.linear(x, packed, 24)
    assert y.shape == (2, 3, 24)
    for i in range(2):
        for j in range(3):
            assert torch.equal(torch.ops.lowbit.linear(x[i, j], packed, 24), y[i, j])
    wide = random_rows(6, 192).reshape(2, 3, 192)
    assert torch.equal(
        torch.ops.lowbit.linear(wide[..., ::2], packed, 24),
        torch.ops.lowbit.linear(wide[..., ::2].contiguous(), packed, 24),
    )
    assert torch.ops.lowbit.linear(x[:0], packed, 24).shape == (0, 3, 24)


@pytest.mark.parametrize("kernel", kernels())
def test_every_finite_half_is_read_exactly(kernel):
    """Subnormals included: one row per bit pattern, times 1."""
    patterns = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    halves = patterns[torch.isfinite(patterns)][:, None]
    packed = pack_half(halves)
    n = halves.shape[0]
    assert torch.equal(native.linear(torch.ones(1, 1), packed, n, kernel=kernel)[0], halves[:, 0].float())
    assert torch.equal(torch.ops.lowbit.embedding(torch.arange(n), packed, 1), halves.float())


@pytest.mark.parametrize("form", FORMS, ids=name_of)
def test_embedding_is_the_dequantised_row(form):
    packed = random_table(37, 131, form)
    ids = torch.tensor([[0, 36, 5], [5, 17, 1]])
    assert torch.equal(torch.ops.lowbit.embedding(ids, packed, 131), dequantize(packed)[ids])


@pytest.mark.parametrize("bad", [-1, 37, 2**40, -(2**63)])
def test_embedding_refuses_ids_outside_the_vocabulary(bad):
    packed = random_table(37, 131, INT8)
    with pytest.raises(ValueError, match=f"token id {bad} is outside the vocabulary of 37"):
        torch.ops.lowbit.embedding(torch.tensor([3, bad]), packed, 131)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="x must be"):
        torch.ops.lowbit.linear(torch.ones(1, 8, dtype=dtype), random_table(4, 8, INT4), 4)


def test_one_table_serves_embedding_and_head():
    packed = random_table(40, 64, INT8)
    weight = unpack(packed)
    assert torch.equal(torch.ops.lowbit.embedding(torch.arange(40), packed, 64), dequantize(packed))
    x = random_rows(2, 64)
    again = pack(weight)
    assert torch.equal(torch.ops.lowbit.linear(x, packed, 40), reference.linear(x, again))
