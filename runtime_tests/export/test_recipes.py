"""The ops that each recipe's program must call, and programs without them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from torch import nn

from edge.checkpoints.convert import build_model
from edge.formats import FULL_PRECISION, grid_for_bits
from export.emit import keep_ops
from export.fuse import AddLinear
from export.lower import Options
from export.modules import PackedLinearAdd, lowbit, op_calls
from export.recipes import RECIPES, fp32
from runtime_tests.export.lowered import lower, write
from runtime_tests.tiny import tiny_checkpoint

LOWBIT = RECIPES["lowbit"]
OPTIONS = Options(grid_for_bits(2), max_seq_len=16)
UNQUANTISED = replace(OPTIONS, grid=FULL_PRECISION)


def model(fmt=OPTIONS.grid, **changes):
    return build_model(tiny_checkpoint(fmt, **{"n_layers": 1, "ffn_dim": 48, **changes}))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("passes", [1, 2])
def test_every_op_is_called_once_in_every_pass(layers, passes):
    lowered = lower(model(n_layers=layers, layer_sharing=passes == 2), OPTIONS)
    runs = layers * passes
    assert op_calls(lowered) == {
        "lowbit.embedding": 1,
        "lowbit.norm_linear": runs + 1,  # q, k and v; the head
        "lowbit.attention": runs,
        "lowbit.linear_add": 2 * runs,
        "lowbit.norm_gate_up": runs,
    }


def test_plain_linears_keep_their_ops_apart():
    lowered = lower(model(FULL_PRECISION), UNQUANTISED, RECIPES["fp32"])
    ops = ("embedding", "rms_norm", "attention", "rms_norm", "gate_mul", "norm_linear")
    assert op_calls(lowered) == Counter(f"lowbit.{op}" for op in ops)


def test_another_op_than_lowered_to_is_refused(monkeypatch, tmp_path):
    def apart(self, x, residual):
        return residual + lowbit.linear(x, self.packed, self.n)

    monkeypatch.setattr(PackedLinearAdd, "forward", apart)
    with pytest.raises(
        ValueError, match=r"linear 2 times instead of 0; lowbit\.linear_add 0 times instead of 2"
    ):
        write(model(), OPTIONS, tmp_path / "model.pte")


def test_a_product_of_pytorch_is_refused(tmp_path):
    lowered = lower(model(), OPTIONS)
    lowered.layers[0].down = AddLinear(nn.Linear(48, 36, bias=False))
    with pytest.raises(ValueError, match=r"it calls aten\.\w+, which belongs in a native op or a delegate"):
        LOWBIT.emit(lowered, OPTIONS, {}, tmp_path / "model.pte")


def test_linears_that_no_delegate_takes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(fp32, "delegate_to_xnnpack", keep_ops)
    with pytest.raises(ValueError, match="delegate; 0 matrix products in delegates instead of 5"):
        write(model(FULL_PRECISION), UNQUANTISED, tmp_path / "model.pte", RECIPES["fp32"])


def test_a_layer_that_runs_twice_has_its_linears_delegated_twice(tmp_path):
    sharing = model(FULL_PRECISION, layer_sharing=True)
    _, program = write(sharing, UNQUANTISED, tmp_path / "model.pte", RECIPES["fp32"])
    assert b"XnnpackBackend" in program.path.read_bytes()
