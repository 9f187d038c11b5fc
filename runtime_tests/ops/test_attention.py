"""The attention ops: RoPE, cache write, grouped heads, causality, splits of the prompt."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.ops import kernel_names, reference
from edge.ops.kv_layout import WEIGHT_MAX, head_multiple, read_keys, read_values
from runtime_tests.ops.attention_case import MAX, Case, kernels, solved
from runtime_tests.ops.tables import same_bits

# tokens, heads, kv heads, head size; int8 caches take those with head sizes in fours, int4 in eights.
SHAPES = [
    (1, 1, 1, 2), (5, 4, 4, 8), (9, 9, 3, 64), (130, 6, 2, 16), (70, 3, 1, 96), (66, 2, 2, 256), (3, 5, 1, 4),
    (67, 5, 1, 20), (20, 8, 1, 12), (11, 7, 1, 6), (5, 2, 1, 250), (140, 10, 2, 28), (12, 6, 1, 34),
    (20, 4, 1, 24), (7, 5, 1, 40),
]  # fmt: skip
INTEGERS = [(s, bits) for bits in (8, 4) for s in SHAPES if s[3] % head_multiple(bits) == 0]
CASES = [(s, 32) for s in SHAPES] + INTEGERS
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
    case, (exact, expected) = Case(*shape, bits=32), solved(*shape, 32)
    out = case.run(kernel=kernel)
    assert (out - expected).abs().max() < float_bound(case)
    assert case.same_caches(exact)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("shape", "bits"), [c for c in INTEGERS if c[1] == 8 or c[0][0] < 100])
def test_integers_equal_reference(kernel, shape, bits):
    case, (exact, expected) = Case(*shape, bits=bits), solved(*shape, bits)
    assert torch.equal(case.run(kernel=kernel), expected)
    assert case.same_caches(exact)


@given(
    kv_heads=st.integers(1, 3),
    shared=st.integers(1, 6),
    bits=st.sampled_from([8, 4]),
    parts=st.integers(1, 32),
    tokens=st.integers(1, 5),
    start=st.integers(0, 150),
    seed=st.integers(0, 10**6),
    power=st.integers(-30, 15),
)
def test_integers_equal_reference_anywhere(kv_heads, shared, bits, parts, tokens, start, seed, power):
    head_dim = parts * head_multiple(bits)
    case, exact = (Case(tokens, kv_heads * shared, kv_heads, head_dim, bits, seed) for _ in range(2))
    g = torch.Generator().manual_seed(seed)
    for one, other in zip(case.caches, exact.caches, strict=True):  # positions that came before
        if one.dtype == torch.int8:
            one.copy_(torch.randint(-127, 128, one.shape, generator=g))
        elif one.dtype == torch.uint8:
            one.copy_(torch.randint(0, 256, one.shape, generator=g))
        else:
            one.copy_(torch.rand(one.shape, generator=g) * 2.0**power)
        other.copy_(one)
    assert same_bits(case.run(at=start), exact.reference(at=start))
    assert case.same_caches(exact)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("shape", "bits"), CASES)
def test_every_kernel_gives_the_bits_of_scalar(kernel, shape, bits):
    case, scalar = (Case(*shape, bits=bits) for _ in range(2))
    assert torch.equal(case.run(kernel=kernel), scalar.run(kernel="scalar"))
    assert case.same_caches(scalar)


def test_scalar_is_a_kernel():
    assert "scalar" in kernel_names()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("shape", "bits"), [c for c in CASES if c[0][0] > 1])
def test_the_split_of_the_prompt_does_not_matter(kernel, shape, bits):
    tokens = shape[0]
    whole, single, uneven = (Case(*shape, bits=bits) for _ in range(3))
    expected = whole.run(kernel=kernel)
    one_by_one = torch.cat([single.run(t, t + 1, kernel=kernel) for t in range(tokens)], dim=1)
    cut = tokens // 3 + 1
    two_parts = torch.cat([uneven.run(0, cut, kernel=kernel), uneven.run(cut, tokens, kernel=kernel)], dim=1)
    assert torch.equal(expected, one_by_one)
    assert torch.equal(expected, two_parts)
    assert whole.same_caches(single)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("shape", [(130, 6, 2, 16), (150, 9, 3, 64), (150, 5, 1, 64)])
def test_threads_do_not_matter(shape, bits):
    """Enough work to be split, at places that cut tokens and groups of heads."""
    max_seq = 4096
    results = []
    for threads in (1, 2, 5, 64):
        case = Case(*shape, bits=bits, max_seq=max_seq)
        for cache in case.caches:
            cache.copy_(
                torch.arange(cache.numel()).reshape(cache.shape)
                % 251
                / (1e3 if cache.dtype == torch.float32 else 1.0)
            )
        results.append((case.run(threads=threads, at=max_seq - shape[0]), case))
    assert torch.isfinite(results[0][0]).all()
    for out, case in results[1:]:
        assert torch.equal(out, results[0][0])
        assert case.same_caches(results[0][1])


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_later_tokens_are_not_seen(bits):
    case, changed = Case(20, 4, 2, 8, bits), Case(20, 4, 2, 8, bits)
    for tensor in (changed.q, changed.k, changed.v):
        tensor[:, 12:] = torch.nan
    assert torch.equal(case.run()[:, :12], changed.run()[:, :12])
    assert torch.isnan(changed.run()[:, 12:]).all()


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_large_scores_do_not_overflow(bits):
    case = Case(40, 2, 1, 32, bits)
    case.q *= 1e3
    case.k *= 1e3
    assert torch.isfinite(case.run()).all()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_visible(kernel, bits, value):
    for name in ("q", "k", "v"):
        case = Case(10, 2, 1, 8, bits)
        getattr(case, name)[0, 4, 0, 3] = value
        out = case.run(kernel=kernel).unflatten(-1, (2, 8))
        assert torch.isfinite(out[:, :4]).all()
        if name == "q":
            assert not torch.isfinite(out[:, 4, 0]).any()
            assert torch.isfinite(out[:, 4, 1]).all()
            assert torch.isfinite(out[:, 5:]).all()
        elif name == "v" and bits == 32:  # only its own element
            assert not torch.isfinite(out[:, 4:, :, 3]).any()
        elif math.isnan(value) or bits < 32:
            assert torch.isnan(out[:, 4:]).all()


def extreme(head_dim: int, signs: tuple[int, int]) -> Case:
    case = Case(130, 3, 1, head_dim, 8)
    case.cos, case.sin = torch.ones_like(case.cos), torch.zeros_like(case.sin)
    case.q[:], case.k[:], case.v[:] = 1.0, float(signs[0]), float(signs[1])
    return case


@functools.cache
def extreme_reference(head_dim: int, signs: tuple[int, int]) -> torch.Tensor:
    return extreme(head_dim, signs).reference()


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("head_dim", [4, 64, 252, 256])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, -1)])
def test_int8_extremes(kernel, head_dim, signs):
    """Every int8 at +-127 and every weight at the largest: the sums that could overflow."""
    case = extreme(head_dim, signs)
    out = case.run(kernel=kernel)
    assert torch.equal(out, extreme_reference(head_dim, signs))
    assert (out - signs[1]).abs().max() < 1e-5
    assert set(case.caches[0][0, :8].flatten().tolist()) == {127 * signs[0]}


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(
    "scales", [(1e-38, 1, 1), (1, 1e-38, 1), (1, 1, 1e-38), (1e18, 1e18, 1e38), (0, 0, 0)]
)
def test_int8_huge_and_tiny_scales(kernel, scales):
    case, exact = (Case(70, 3, 1, 16, 8) for _ in range(2))
    for c in (case, exact):
        for tensor, scale in zip((c.q, c.k, c.v), scales, strict=True):
            tensor /= tensor.abs().max()
            tensor *= scale
    out = case.run(kernel=kernel)
    assert same_bits(out, exact.reference())
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("tokens", [1, 64, 150])
@pytest.mark.parametrize("bits", [8, 4])
def test_integers_are_close_to_exact_attention_over_what_they_stored(tokens, bits):
    """Weights are rounded to 14 bits of their tile's largest: 64 of them, half a unit each, times |v|."""
    case = Case(tokens, 6, 2, 64, bits)
    out = case.run()
    keys = read_keys(case.caches[0])[:tokens].double() * case.caches[2].T[:tokens, :, None]
    values = read_values(case.caches[1])[:tokens].double() * case.caches[3].T[:tokens, :, None]
    q = reference.rotate(case.q[0], case.cos[:tokens], case.sin[:tokens])
    if bits == 4:  # the stored keys are transformed as well, and both together grow 64 times
        q, keys = reference.hadamard(q), keys / 64
    q8, scales = reference.quantize_activations(q.reshape(-1, 64))
    q = (q8 * scales[:, None].double()).reshape(tokens, 6, 64)
    scores = torch.einsum("thd,shd->hts", q, keys.repeat_interleave(3, dim=1)) / 8
    scores += torch.full((tokens, tokens), -torch.inf, dtype=torch.float64).triu(1)
    exact = torch.einsum("hts,shd->thd", torch.softmax(scores, -1), values.repeat_interleave(3, dim=1))
    bound = (32 / WEIGHT_MAX + 1e-5) * values.abs().max()
    assert (out.reshape(exact.shape) - exact).abs().max() < bound


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize(("start", "tokens"), [(0, 1), (63, 1), (63, 2), (5, 17), (MAX - 1, 1), (MAX - 7, 7)])
def test_nothing_is_written_outside_the_new_positions(bits, start, tokens):
    case = Case(tokens, 4, 2, 16, bits)
    untouched = [cache.clone() for cache in case.caches]
    case.run(at=start)
    span = slice(start, start + tokens)
    rows = [(read_keys, 0), (read_values, 1)] + (
        [(lambda s: s.T[:, :, None], i) for i in (2, 3)] if bits < 32 else []
    )
    for read, index in rows:
        now, before = read(case.caches[index]).clone(), read(untouched[index])
        assert not same_bits(now[span].float(), before[span].float())
        now[span] = before[span]
        assert same_bits(now.float(), before.float())


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("start", [-1, MAX - 4, MAX, 192, 2**62, -(2**63)])
def test_positions_outside_the_cache_are_refused(start, bits):
    case = Case(5, 2, 1, 8, bits)
    untouched = Case(5, 2, 1, 8, bits)
    with pytest.raises(ValueError, match="do not fit a cache of 160"):
        case.run(at=start)
    assert case.same_caches(untouched)


@pytest.mark.parametrize("bits", [32, 8, 4])
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
def test_other_shapes_are_refused(name, change, bits):
    case = Case(5, 4, 2, 8, bits)
    setattr(case, name, change(case))
    if name == "q":
        case.k, case.v = case.k[: len(case.q)], case.v[: len(case.q)]
        case.k, case.v = case.k.expand(len(case.q), 5, 2, 8), case.v.expand(len(case.q), 5, 2, 8)
    with pytest.raises(ValueError, match="attention:"):
        case.run()


@pytest.mark.parametrize(("head_dim", "bits"), [(258, 32), (260, 8), (264, 4)])
def test_head_sizes_beyond_the_kernel_are_refused(head_dim, bits):
    with pytest.raises(ValueError, match="not an even number up to 256"):
        Case(1, 1, 1, head_dim, bits).run()


def test_integers_refuse_head_sizes_that_their_bytes_do_not_divide():
    with pytest.raises(ValueError, match="multiples of 4, not 6; use the float32 cache"):
        Case(1, 1, 1, 6, bits=8)
    with pytest.raises(ValueError, match="multiples of 8, not 12; use the float32 cache"):
        Case(1, 1, 1, 12, bits=4)


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_caches_must_be_writable_in_place(bits):
    case = Case(5, 2, 2, 8, bits)
    case.caches[1] = case.caches[1].transpose(0, 1).contiguous().transpose(0, 1)
    with pytest.raises(ValueError, match="contiguous"):
        case.run()


@pytest.mark.parametrize("bits", [32, 8, 4])
def test_the_op_is_what_the_native_function_is(bits):
    case, other = Case(5, 4, 2, 8, bits), Case(5, 4, 2, 8, bits)
    op = getattr(torch.ops.lowbit, "attention" if bits == 32 else f"attention_int{bits}")
    assert torch.equal(op(case.qkv(), case.cos, case.sin, *case.caches, 0, 4), other.run())
    assert case.same_caches(other)
