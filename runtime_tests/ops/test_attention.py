"""lowbit::attention and attention_int8: RoPE, cache write, grouped heads, causality, splits of the prompt."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.ops import kernel_names, reference
from edge.ops.kv_layout import WEIGHT_MAX, read_keys, read_values
from runtime_tests.ops.attention_case import MAX, Case, kernels
from runtime_tests.ops.tables import same_bits

# tokens, heads, kv heads, head size; the int8 caches take those with head sizes in fours.
SHAPES = [
    (1, 1, 1, 2), (5, 4, 4, 8), (9, 9, 3, 64), (130, 6, 2, 16), (70, 3, 1, 96), (66, 2, 2, 256), (3, 5, 1, 4),
    (67, 5, 1, 20), (20, 8, 1, 12), (11, 7, 1, 6), (5, 2, 1, 250), (140, 10, 2, 28), (12, 6, 1, 34),
]  # fmt: skip
CASES = [(s, False) for s in SHAPES] + [(s, True) for s in SHAPES if s[3] % 4 == 0]
EPS = 2.0**-24  # half a unit in the last place of 1.0f


def float_bound(case: Case) -> torch.Tensor:
    """Bounds the float32 op's error against float64; an error in a score passes through e^x twice.

    A sum of n rounded products is off by n * EPS of the sum of their sizes; q has three roundings of
    its own, 2^x is off by 2e-7 and by EPS of its argument, which is at most 1.45 times the score's size.
    """
    keys, values = read_keys(case.caches[0]).nan_to_num(), read_values(case.caches[1]).nan_to_num()
    size = case.q.norm(dim=-1).max() * keys.norm(dim=-1).max() / math.sqrt(case.head_dim)
    score_error = (case.head_dim + 8) * EPS * size
    return (2 * score_error + 4e-7 + 2 * case.tokens * EPS) * values.abs().max()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("shape", SHAPES)
def test_float_is_close_to_float64(kernel, shape):
    case, exact = Case(*shape, int8=False), Case(*shape, int8=False)
    out = case.run(kernel=kernel)
    assert (out - exact.reference()).abs().max() < float_bound(case)
    assert case.same_caches(exact)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("shape", [s for s, int8 in CASES if int8])
def test_int8_equals_reference(kernel, shape):
    case, exact = Case(*shape, int8=True), Case(*shape, int8=True)
    assert torch.equal(case.run(kernel=kernel), exact.reference())
    assert case.same_caches(exact)


@given(
    kv_heads=st.integers(1, 3),
    shared=st.integers(1, 6),
    quads=st.integers(1, 64),
    tokens=st.integers(1, 5),
    start=st.integers(0, 150),
    seed=st.integers(0, 10**6),
    power=st.integers(-30, 15),
)
def test_int8_equals_reference_anywhere(kv_heads, shared, quads, tokens, start, seed, power):
    case, exact = (Case(tokens, kv_heads * shared, kv_heads, 4 * quads, True, seed) for _ in range(2))
    g = torch.Generator().manual_seed(seed)
    for one, other in zip(case.caches, exact.caches, strict=True):  # positions that came before
        if one.dtype == torch.int8:
            one.copy_(torch.randint(-127, 128, one.shape, generator=g))
        else:
            one.copy_(torch.rand(one.shape, generator=g) * 2.0**power)
        other.copy_(one)
    assert same_bits(case.run(at=start), exact.reference(at=start))
    assert case.same_caches(exact)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("shape", "int8"), CASES)
def test_every_kernel_gives_the_bits_of_scalar(kernel, shape, int8):
    case, scalar = (Case(*shape, int8=int8) for _ in range(2))
    assert torch.equal(case.run(kernel=kernel), scalar.run(kernel="scalar"))
    assert case.same_caches(scalar)


def test_scalar_is_a_kernel():
    assert "scalar" in kernel_names()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("shape", "int8"), [c for c in CASES if c[0][0] > 1])
def test_the_split_of_the_prompt_does_not_matter(kernel, shape, int8):
    tokens = shape[0]
    whole, single, uneven = (Case(*shape, int8=int8) for _ in range(3))
    expected = whole.run(kernel=kernel)
    one_by_one = torch.cat([single.run(t, t + 1, kernel=kernel) for t in range(tokens)], dim=1)
    cut = tokens // 3 + 1
    two_parts = torch.cat([uneven.run(0, cut, kernel=kernel), uneven.run(cut, tokens, kernel=kernel)], dim=1)
    assert torch.equal(expected, one_by_one)
    assert torch.equal(expected, two_parts)
    assert whole.same_caches(single)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("shape", [(130, 6, 2, 16), (150, 9, 3, 64), (150, 5, 1, 64)])
def test_threads_do_not_matter(shape, int8):
    """Enough work to be split, at places that cut tokens and groups of heads."""
    max_seq = 4096
    results = []
    for threads in (1, 2, 5, 64):
        case = Case(*shape, int8=int8, max_seq=max_seq)
        for cache in case.caches:
            cache.copy_(
                torch.arange(cache.numel()).reshape(cache.shape)
                % 251
                / (1.0 if cache.dtype == torch.int8 else 1e3)
            )
        results.append((case.run(threads=threads, at=max_seq - shape[0]), case))
    assert torch.isfinite(results[0][0]).all()
    for out, case in results[1:]:
        assert torch.equal(out, results[0][0])
        assert case.same_caches(results[0][1])


@pytest.mark.parametrize("int8", [False, True])
def test_later_tokens_are_not_seen(int8):
    case, changed = Case(20, 4, 2, 8, int8), Case(20, 4, 2, 8, int8)
    for tensor in (changed.q, changed.k, changed.v):
        tensor[:, 12:] = torch.nan
    assert torch.equal(case.run()[:, :12], changed.run()[:, :12])
    assert torch.isnan(changed.run()[:, 12:]).all()


@pytest.mark.parametrize("int8", [False, True])
def test_large_scores_do_not_overflow(int8):
    case = Case(40, 2, 1, 32, int8)
    case.q *= 1e3
    case.k *= 1e3
    assert torch.isfinite(case.run()).all()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_visible(kernel, int8, value):
    for name in ("q", "k", "v"):
        case = Case(10, 2, 1, 8, int8)
        getattr(case, name)[0, 4, 0, 3] = value
        out = case.run(kernel=kernel).unflatten(-1, (2, 8))
        assert torch.isfinite(out[:, :4]).all()
        if name == "q":
            assert not torch.isfinite(out[:, 4, 0]).any()
            assert torch.isfinite(out[:, 4, 1]).all()
            assert torch.isfinite(out[:, 5:]).all()
        elif name == "v" and not int8:  # only its own element
            assert not torch.isfinite(out[:, 4:, :, 3]).any()
        elif math.isnan(value) or int8:
            assert torch.isnan(out[:, 4:]).all()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("head_dim", [4, 64, 252, 256])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, -1)])
def test_int8_extremes(kernel, head_dim, signs):
    """Every int8 at +-127 and every weight at the largest: the sums that could overflow."""
    case, exact = (Case(130, 3, 1, head_dim, True) for _ in range(2))
    for c in (case, exact):
        c.cos, c.sin = torch.ones_like(c.cos), torch.zeros_like(c.sin)
        c.q[:], c.k[:], c.v[:] = 1.0, float(signs[0]), float(signs[1])
    out = case.run(kernel=kernel)
    assert torch.equal(out, exact.reference())
    assert (out - signs[1]).abs().max() < 1e-5
    assert set(case.caches[0][0, :8].flatten().tolist()) == {127 * signs[0]}


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(
    "scales", [(1e-38, 1, 1), (1, 1e-38, 1), (1, 1, 1e-38), (1e18, 1e18, 1e38), (0, 0, 0)]
)
def test_int8_huge_and_tiny_scales(kernel, scales):
    case, exact = (Case(70, 3, 1, 16, True) for _ in range(2))
    for c in (case, exact):
        for tensor, scale in zip((c.q, c.k, c.v), scales, strict=True):
            tensor /= tensor.abs().max()
            tensor *= scale
    out = case.run(kernel=kernel)
    assert same_bits(out, exact.reference())
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("tokens", [1, 64, 150])
def test_int8_is_close_to_exact_attention_over_what_it_stored(tokens):
    """Weights are rounded to 14 bits of their tile's largest: 64 of them, half a unit each, times |v|."""
    case = Case(tokens, 6, 2, 64, True)
    out = case.run()
    keys = read_keys(case.caches[0])[:tokens].double() * case.caches[2].T[:tokens, :, None]
    values = read_values(case.caches[1])[:tokens].double() * case.caches[3].T[:tokens, :, None]
    q = reference.rotate(case.q[0], case.cos[:tokens], case.sin[:tokens])
    q8, scales = reference.quantize_activations(q.reshape(-1, 64))
    q = (q8 * scales[:, None].double()).reshape(tokens, 6, 64)
    scores = torch.einsum("thd,shd->hts", q, keys.repeat_interleave(3, dim=1)) / 8
    scores += torch.full((tokens, tokens), -torch.inf, dtype=torch.float64).triu(1)
    exact = torch.einsum("hts,shd->thd", torch.softmax(scores, -1), values.repeat_interleave(3, dim=1))
    bound = (32 / WEIGHT_MAX + 1e-5) * values.abs().max()
    assert (out.reshape(exact.shape) - exact).abs().max() < bound


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(("start", "tokens"), [(0, 1), (63, 1), (63, 2), (5, 17), (MAX - 1, 1), (MAX - 7, 7)])
def test_nothing_is_written_outside_the_new_positions(int8, start, tokens):
    case = Case(tokens, 4, 2, 12, int8)
    untouched = [cache.clone() for cache in case.caches]
    case.run(at=start)
    span = slice(start, start + tokens)
    rows = [(read_keys, 0), (read_values, 1)] + (
        [(lambda s: s.T[:, :, None], i) for i in (2, 3)] if int8 else []
    )
    for read, index in rows:
        now, before = read(case.caches[index]).clone(), read(untouched[index])
        assert not same_bits(now[span].float(), before[span].float())
        now[span] = before[span]
        assert same_bits(now.float(), before.float())


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("start", [-1, MAX - 4, MAX, 192, 2**62, -(2**63)])
def test_positions_outside_the_cache_are_refused(start, int8):
    case = Case(5, 2, 1, 8, int8)
    untouched = Case(5, 2, 1, 8, int8)
    with pytest.raises(ValueError, match="do not fit a cache of 160"):
        case.run(at=start)
    assert case.same_caches(untouched)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("q", lambda c: c.q[:, :, :3]),
        ("q", lambda c: torch.cat([c.q, c.q])[:, :, :, :4]),
        ("heads", lambda c: 3),
        ("heads", lambda c: 0),
        ("sin", lambda c: c.sin[:, :2]),
        ("caches", lambda c: [c.caches[0][:, :-1], *c.caches[1:]]),
        ("caches", lambda c: [c.caches[0][..., :3], *c.caches[1:]]),
        ("caches", lambda c: [c.caches[0], c.caches[1][:1], *c.caches[2:]]),
        ("caches", lambda c: [*c.caches[:-1], c.caches[-1][:, :-1]]),
    ],
)
def test_other_shapes_are_refused(name, change, int8):
    case = Case(5, 4, 2, 8, int8)
    setattr(case, name, change(case))
    if name == "q":
        case.k, case.v = case.k[: len(case.q)], case.v[: len(case.q)]
        case.k, case.v = case.k.expand(len(case.q), 5, 2, 8), case.v.expand(len(case.q), 5, 2, 8)
    with pytest.raises(ValueError, match="attention:"):
        case.run()


@pytest.mark.parametrize(("head_dim", "int8"), [(258, False), (260, True)])
def test_head_sizes_beyond_the_kernel_are_refused(head_dim, int8):
    with pytest.raises(ValueError, match="not an even number up to 256"):
        Case(1, 1, 1, head_dim, int8).run()


def test_int8_refuses_head_sizes_that_are_not_in_fours():
    with pytest.raises(ValueError, match="multiples of 4, not 6; use the float32 cache"):
        Case(1, 1, 1, 6, int8=True)


@pytest.mark.parametrize("int8", [False, True])
def test_caches_must_be_writable_in_place(int8):
    case = Case(5, 2, 2, 8, int8)
    case.caches[1] = case.caches[1].transpose(0, 1).contiguous().transpose(0, 1)
    with pytest.raises(ValueError, match="contiguous"):
        case.run()


@pytest.mark.parametrize("int8", [False, True])
def test_the_op_is_what_the_native_function_is(int8):
    case, other = Case(5, 4, 2, 8, int8), Case(5, 4, 2, 8, int8)
    op = torch.ops.lowbit.attention_int8 if int8 else torch.ops.lowbit.attention
    assert torch.equal(op(case.qkv(), case.cos, case.sin, *case.caches, 0, 4), other.run())
    assert case.same_caches(other)
