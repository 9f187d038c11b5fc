"""lowbit::attention: RoPE, cache write, grouped heads, causality, splits of the prompt."""

from __future__ import annotations

import pytest
import torch

from edge.ops import reference

MAX = 160


class Case:
    """Random inputs of one shape, caches full of values that must not be read."""

    def __init__(self, tokens: int, heads: int, kv_heads: int, head_dim: int, seed: int = 0):
        g = torch.Generator().manual_seed(seed)
        self.q = 2 * torch.randn(1, tokens, heads, head_dim, generator=g)
        self.k = 2 * torch.randn(1, tokens, kv_heads, head_dim, generator=g)
        self.v = torch.randn(1, tokens, kv_heads, head_dim, generator=g)
        frequency = 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim)
        angle = torch.arange(MAX)[:, None] * frequency[None]
        self.cos, self.sin = angle.cos(), angle.sin()
        self.caches = [torch.full((1, MAX, kv_heads, head_dim), float("nan")) for _ in range(2)]

    def run(self, first: int, last: int) -> torch.Tensor:
        """Feeds tokens first .. last at their own positions."""
        parts = (t[:, first:last] for t in (self.q, self.k, self.v))
        return torch.ops.lowbit.attention(*parts, self.cos, self.sin, *self.caches, first)


SHAPES = [(1, 1, 1, 2), (5, 4, 4, 8), (9, 9, 3, 64), (130, 6, 2, 16), (70, 3, 1, 96), (66, 2, 2, 256)]


@pytest.mark.parametrize(("tokens", "heads", "kv_heads", "head_dim"), SHAPES)
def test_close_to_float64(tokens, heads, kv_heads, head_dim):
    case = Case(tokens, heads, kv_heads, head_dim)
    out = case.run(0, tokens)
    caches = [torch.zeros_like(c) for c in case.caches]
    exact = reference.attention(case.q, case.k, case.v, case.cos, case.sin, *caches, 0)
    # Scores reach about 4 * sqrt(D) * 4; each is off by some 1e-7 of that, and e^x passes it on.
    assert (out - exact).abs().max() < 2e-5
    torch.testing.assert_close(case.caches[0][:, :tokens], caches[0][:, :tokens], rtol=0, atol=2e-6)
    assert torch.equal(case.caches[1][:, :tokens], case.v)
    assert torch.isnan(case.caches[0][:, tokens:]).all()


@pytest.mark.parametrize(("tokens", "heads", "kv_heads", "head_dim"), SHAPES[1:])
def test_the_split_of_the_prompt_does_not_matter(tokens, heads, kv_heads, head_dim):
    whole, single, uneven = (Case(tokens, heads, kv_heads, head_dim) for _ in range(3))
    expected = whole.run(0, tokens)
    one_by_one = torch.cat([single.run(t, t + 1) for t in range(tokens)], dim=1)
    cut = tokens // 3 + 1
    two_parts = torch.cat([uneven.run(0, cut), uneven.run(cut, tokens)], dim=1)
    assert torch.equal(expected, one_by_one)
    assert torch.equal(expected, two_parts)
    assert torch.equal(whole.caches[0].nan_to_num(), single.caches[0].nan_to_num())


def test_threads_do_not_matter():
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(Case(130, 6, 2, 16).run(0, 130))
    torch.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_later_tokens_are_not_seen():
    case, changed = Case(20, 4, 2, 8), Case(20, 4, 2, 8)
    for tensor in (changed.q, changed.k, changed.v):
        tensor[:, 12:] += 1
    assert torch.equal(case.run(0, 20)[:, :12], changed.run(0, 20)[:, :12])
    assert not torch.equal(case.run(12, 20), changed.run(12, 20))


def test_large_scores_do_not_overflow():
    case = Case(40, 2, 1, 32)
    case.q *= 1e3
    case.k *= 1e3
    assert torch.isfinite(case.run(0, 40)).all()


def test_nan_stays_visible():
    case = Case(10, 2, 1, 8)
    case.k[0, 4, 0, 3] = torch.nan
    out = case.run(0, 10)
    assert torch.isfinite(out[:, :4]).all()
    assert torch.isnan(out[:, 4:]).all()


@pytest.mark.parametrize("start", [-1, MAX - 4, MAX, 2**62, -(2**63)])
def test_positions_outside_the_cache_are_refused(start):
    case = Case(5, 2, 1, 8)
    with pytest.raises(ValueError, match="do not fit a cache of 160"):
        torch.ops.lowbit.attention(case.q, case.k, case.v, case.cos, case.sin, *case.caches, start)
    assert torch.isnan(case.caches[0]).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("k", lambda c: c.k[:, 1:]),
        ("v", lambda c: c.v[..., :4]),
        ("q", lambda c: c.q[0]),
        ("q", lambda c: torch.cat([c.q, c.q])),
        ("q", lambda c: c.q[:, :, :3]),
        ("cos", lambda c: c.cos[:100]),
        ("sin", lambda c: c.sin[:, :2]),
    ],
)
def test_other_shapes_are_refused(name, change):
    case = Case(5, 4, 2, 8)
    setattr(case, name, change(case))
    with pytest.raises(ValueError, match="attention:"):
        torch.ops.lowbit.attention(case.q, case.k, case.v, case.cos, case.sin, *case.caches, 0)


@pytest.mark.parametrize("head_dim", [258, 3])
def test_head_sizes_beyond_the_kernel_are_refused(head_dim):
    q, cache = torch.zeros(1, 1, 1, head_dim), torch.zeros(1, 4, 1, head_dim)
    angles = torch.zeros(4, head_dim // 2)
    with pytest.raises(ValueError, match="attention:"):
        torch.ops.lowbit.attention(q, q, q, angles, angles, cache, cache.clone(), 0)


def test_caches_must_be_writable_in_place():
    case = Case(5, 2, 2, 8)
    case.caches[0] = torch.zeros(1, 2, MAX, 8).transpose(1, 2)
    with pytest.raises(ValueError, match="contiguous"):
        case.run(0, 5)
