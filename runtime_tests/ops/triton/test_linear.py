"""The kernels compute what the weights say, in every form and shape; on the CPU in Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops import reference
from edge.ops.packing import pack
from edge.ops.triton import linear, linear_int8, quantize_tokens
from edge.ops.triton.launch import launch
from edge.ops.triton.tiles import Tiles, most_chunks
from runtime_tests.ops.triton.cases import (
    DEVICE,
    FORMS,
    FORMS_AND_GROUPS,
    assert_close,
    make_input,
    make_weight,
    on_device,
)

FLOATS = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize(("encoding", "zero", "group"), FORMS_AND_GROUPS)
def test_every_form(encoding: str, zero: float | None, group: int | None) -> None:
    weight = make_weight(encoding, zero, 35, 330, group)
    held = on_device(weight)
    for dtype in FLOATS if group in (None, 32) else FLOATS[:1]:
        x = make_input(3, 330, dtype)
        assert_close(linear(x.to(DEVICE), held), x, weight)


@pytest.mark.parametrize("m", [1, 2, 8, 9, 17, 33, 70])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_batch(m: int, dtype: torch.dtype) -> None:
    weight = make_weight("bits2", 1.5, 130, 512)
    x = make_input(m, 512, dtype)
    assert_close(linear(x.to(DEVICE), on_device(weight)), x, weight)


@settings(max_examples=10)
@given(
    st.sampled_from(FORMS_AND_GROUPS),
    st.sampled_from(FLOATS),
    st.integers(1, 70),
    st.integers(1, 140),
    st.integers(1, 1200),
    st.integers(0, 99),
)
def test_random_shapes(form, dtype, m: int, n: int, k: int, seed: int) -> None:
    encoding, zero, group = form
    weight = make_weight(encoding, zero, n, k, group, seed)
    x = make_input(m, k, dtype, seed + 1)
    assert_close(linear(x.to(DEVICE), on_device(weight)), x, weight)


@settings(max_examples=10)
@given(
    st.sampled_from(FORMS_AND_GROUPS),
    st.integers(1, 70),
    st.integers(1, 140),
    st.integers(1, 1200),
    st.integers(0, 99),
)
def test_integers_are_exact(form, m: int, n: int, k: int, seed: int) -> None:
    """Scales of 1 leave the sums of integers, which float32 holds here."""
    encoding, zero, group = form
    weight = make_weight(encoding, zero, n, k, group, seed, unit=True)
    q = torch.randint(-127, 128, (m, k), dtype=torch.int8, generator=torch.Generator().manual_seed(seed))
    out = linear_int8(q.to(DEVICE), torch.ones(m, device=DEVICE), on_device(weight), torch.float32)
    assert torch.equal(out.cpu().double(), q.double() @ weight.dequantize().double().T)


@pytest.mark.parametrize(("encoding", "zero"), [form for form in FORMS if form[1] is not None])
def test_int8_has_the_bits_of_the_cpu_ops(encoding: str, zero: float) -> None:
    """With one scale a row, however columns are split."""
    weight = make_weight(encoding, zero, 37, 1100)
    x = make_input(5, 1100, torch.float32)
    q, scale = quantize_tokens(x.to(DEVICE))
    out = linear_int8(q, scale, on_device(weight), torch.float32)
    assert torch.equal(out.cpu(), reference.linear(x, pack(weight)))
    assert torch.equal(out.cpu(), torch.ops.lowbit.linear(x, pack(weight), 37))


@pytest.mark.parametrize("group", [32, 128])
@pytest.mark.parametrize("zero", [7.5, None])
def test_int8_with_groups(group: int, zero: float | None) -> None:
    weight = make_weight("bits4", zero, 20, 330, group)
    q, scale = quantize_tokens(make_input(3, 330, torch.float32).to(DEVICE))
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        out = linear_int8(q, scale, on_device(weight), dtype)
        assert out.dtype == dtype
        exact = q.cpu().double() * scale.cpu().double()[:, None]
        assert_close(out, exact, weight)


def test_tokens_are_rounded_as_on_the_cpu() -> None:
    x = torch.cat([make_input(60, 77, torch.float32), torch.zeros(1, 77), torch.full((1, 77), 1e-40)])
    x = torch.cat([x, torch.full((1, 77), torch.inf), torch.full((1, 77), torch.nan)])
    q, scale = quantize_tokens(x)
    wanted_q, wanted_scale = reference.quantize_activations(x)
    assert torch.equal(q.long(), wanted_q)
    assert torch.equal(scale.nan_to_num(-1), wanted_scale.nan_to_num(-1))


@pytest.mark.parametrize("encoding", ["bits3", "bits4"])
@pytest.mark.parametrize("group", [None, 256])
@pytest.mark.parametrize("splits", [1, 3, 9])
def test_every_split(encoding: str, group: int | None, splits: int) -> None:
    """More splits than steps leave some without work."""
    weight = make_weight(encoding, None, 70, 900, group)
    held, x = on_device(weight), make_input(5, 900, torch.float16)
    tiles = Tiles(8, 32, most_chunks(held.bits, group), splits)
    parts = held.words, held.scale, held.zero, 0.0, held.k, held.bits, group or 0
    assert_close(launch(x.to(DEVICE), None, *parts, torch.float16, tiles), x, weight)


def test_leading_dimensions_and_strides() -> None:
    weight = make_weight("bits2", 1.5, 10, 96)
    held = on_device(weight)
    x = make_input(6, 96, torch.float16).to(DEVICE)
    rows = linear(x, held)
    assert torch.equal(linear(x.reshape(2, 3, 96), held), rows.reshape(2, 3, 10))
    assert torch.equal(linear(x[0], held), linear(x[:1], held)[0])
    assert torch.equal(linear(x.T.contiguous().T, held), rows)
    assert torch.equal(linear(x[::2], held), linear(x[::2].contiguous(), held))
    assert linear(x[:0], held).shape == (0, 10)


def test_a_changed_code_is_noticed() -> None:
    """The bound of the other tests is narrow enough to see one code that is off by one."""
    weight = make_weight("bits4", 8.0, 3, 700)
    codes = weight.codes.clone()
    codes[1, 650] ^= 1
    x = make_input(2, 700, torch.float16)
    with pytest.raises(AssertionError, match="times the bound"):
        assert_close(linear(x.to(DEVICE), on_device(replace(weight, codes=codes))).float(), x, weight)


def test_inputs_that_are_not_finite_stay_so() -> None:
    weight = make_weight("bits2", 1.5, 5, 100)
    x = make_input(3, 100, torch.float16)
    x[1, 7] = torch.nan
    out = linear(x.to(DEVICE), on_device(weight))
    assert out[1].isnan().all()
    assert out[[0, 2]].isfinite().all()
