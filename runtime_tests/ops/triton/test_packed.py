"""Packed tables on a GPU: the CPU op's results, one conversion for each table, and gradients."""

from __future__ import annotations

import gc

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

import edge.ops  # noqa: F401  (defines torch.ops.lowbit.linear)
from edge.formats import grid_for_bits
from edge.ops.packing import pack
from edge.ops.triton import packed as module
from edge.ops.triton.weight import GpuWeight
from edge.quantizers.minmax import quantize_min_max
from runtime_tests.ops.triton.cases import DEVICE, FORMS, assert_close, make_input, make_weight

LINEAR = torch.ops.lowbit.gpu_linear_packed


@pytest.mark.parametrize(("encoding", "zero"), [form for form in FORMS if form[1] is not None])
def test_float32_is_what_the_cpu_computes(encoding: str, zero: float) -> None:
    """Rows with zeros of their own are left out: their sums are added in another order."""
    weight = make_weight(encoding, zero, 35, 330)
    x, table = make_input(3, 330, torch.float32), pack(weight)
    out = LINEAR(x.to(DEVICE), table.to(DEVICE), 35)
    assert torch.equal(out.cpu(), torch.ops.lowbit.linear(x, table, 35))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_not_rounded(dtype: torch.dtype) -> None:
    weight = make_weight("bits2", 1.5, 35, 330)
    x = make_input(3, 330, dtype)
    assert_close(LINEAR(x.to(DEVICE), pack(weight).to(DEVICE), 35), x, weight)


def test_eight_bits_multiply_plain_weights() -> None:
    weight = quantize_min_max(torch.randn(5, 40), grid_for_bits(8, asymmetric=True))
    x = make_input(2, 40, torch.float32)
    out = LINEAR(x.to(DEVICE), pack(weight).to(DEVICE), 5)
    torch.testing.assert_close(out.cpu(), x @ weight.dequantize().T)


def test_a_table_is_converted_once_and_again_after_a_write() -> None:
    first, second = (pack(make_weight("bits4", 7.5, 4, 64, seed=seed)).to(DEVICE) for seed in (0, 1))
    x = make_input(1, 64, torch.float16).to(DEVICE)
    before = LINEAR(x, first, 4)
    form = module.form_of(first)
    LINEAR(x, first, 4)
    assert module.form_of(first) is form
    assert isinstance(form, GpuWeight)
    first.copy_(second)
    assert torch.equal(LINEAR(x, first, 4), LINEAR(x, second, 4))
    assert not torch.equal(LINEAR(x, first, 4), before)


def test_a_form_goes_with_its_table() -> None:
    table = pack(make_weight("bits4", 7.5, 4, 64)).to(DEVICE)
    module.form_of(table)
    kept = len(module._forms)
    del table
    gc.collect()
    assert len(module._forms) == kept - 1


def test_without_gradients() -> None:
    weight = make_weight("bits4", 7.5, 4, 64)
    with torch.inference_mode():
        table = pack(weight).to(DEVICE)
        x = make_input(1, 64, torch.float16).to(DEVICE)
        out = LINEAR(x, table, 4)
    assert_close(out, x.cpu(), weight)


def test_gradients_and_fakes() -> None:
    weight = make_weight("base3", 1.0, 6, 40)
    table, x = pack(weight).to(DEVICE), make_input(2, 40, torch.float16).to(DEVICE).requires_grad_()
    LINEAR(x, table, 6).sum().backward()
    wanted = torch.ones(2, 6, dtype=torch.float16) @ weight.dequantize().half()
    torch.testing.assert_close(x.grad.cpu(), wanted)
    torch.library.opcheck(LINEAR.default, (x.detach().requires_grad_(), table, 6))
    compiled = torch.compile(lambda x: LINEAR(x, table, 6).sum(), backend="aot_eager")
    y = x.detach().requires_grad_()
    compiled(y).backward()
    assert torch.equal(y.grad, x.grad)
