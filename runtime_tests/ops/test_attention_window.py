"""Windows and caps of attention: against the slow reference, and whatever the size of the cache."""

from __future__ import annotations

import pytest
import torch

from runtime_tests.ops.attention_case import MAX, Case, kernels, solved

CAPS = (0.0, 2.0, 50.0)
WINDOWS = (1, 5, 64, 65, 100)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize(("bits", "cap"), [*((8, cap) for cap in CAPS), (4, 2.0)])
@pytest.mark.parametrize("window", [0, *WINDOWS])
def test_integers_have_the_references_bits(kernel: str, bits: int, window: int, cap: float) -> None:
    shape = {"window": window, "cap": cap, "room": window or None}
    case, (slow, expected) = (made(150, 6, 2, 8, bits, **shape) for made in (Case, solved))
    assert torch.equal(case.run(kernel=kernel), expected)
    assert case.same_caches(slow)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("cap", CAPS)
@pytest.mark.parametrize("window", [0, *WINDOWS])
def test_float32_is_near_the_reference(kernel: str, window: int, cap: float) -> None:
    shape = {"window": window, "cap": cap, "room": window or None}
    case, (slow, expected) = (made(150, 6, 2, 8, 32, **shape) for made in (Case, solved))
    assert torch.allclose(case.run(kernel=kernel).double(), expected, atol=2e-5)
    assert case.same_caches(slow)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("window", WINDOWS)
def test_the_size_of_the_cache_and_the_split_change_nothing(kernel: str, window: int, bits: int) -> None:
    whole = Case(MAX, 6, 2, 16, bits, window=window, cap=9.0)
    expected = whole.run(kernel=kernel)
    for room, step in ((window, 1), (window, 7), (window + 64, 50), (MAX, 33)):
        case = Case(MAX, 6, 2, 16, bits, window=window, cap=9.0, room=room)
        parts = [case.run(at, min(at + step, MAX), kernel=kernel) for at in range(0, MAX, step)]
        assert torch.equal(torch.cat(parts, dim=1), expected)


@pytest.mark.parametrize("kernel", kernels())
@pytest.mark.parametrize("bits", [32, 8, 4])
def test_what_left_the_window_is_not_seen(kernel: str, bits: int) -> None:
    """A key and a value of NaN spoil the tokens that see them, and no others."""
    case = Case(140, 2, 1, 8, bits, window=70, room=70)
    case.k[:, 20], case.v[:, 20] = torch.nan, torch.nan
    spoiled = case.run(kernel=kernel).isnan().all(dim=-1)[0]
    assert spoiled.nonzero()[:, 0].tolist() == list(range(20, 90))


@pytest.mark.parametrize("window", [-1, 1 << 40])
def test_a_window_out_of_range(window: int) -> None:
    with pytest.raises(ValueError, match="attention: a window of"):
        Case(2, 1, 1, 8, bits=32, window=window, room=64).run()


def test_a_cache_smaller_than_the_window_is_not_enough() -> None:
    with pytest.raises(ValueError, match="do not fit a cache of 64"):
        Case(100, 1, 1, 8, bits=32, window=90, room=64).run()


def test_a_cap_below_zero() -> None:
    with pytest.raises(ValueError, match="attention: a cap of"):
        Case(2, 1, 1, 8, bits=32, cap=-1.0).run()
