"""The ops in ExecuTorch's runtime, in Python: the bits of eager PyTorch, caches kept between calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from executorch.runtime import Runtime

from runtime_tests.ops.programs import MAX_SEQ, VOCABULARY, Tables, TinyBlock, write_program
from runtime_tests.ops.tables import FORMS

PROMPT = torch.tensor([[3, 14, 15, 9, 2, 6, 5, 35, 8]])


def load(path: Path):
    return Runtime.get().load_program(str(path)).load_method("forward")


def call(method, tokens: torch.Tensor, position: int) -> torch.Tensor:
    return method.execute((tokens, torch.tensor([position])))[0].clone()


def test_every_op_is_registered():
    names = Runtime.get().operator_registry.operator_names
    attention = ("attention", "attention_int8", "attention_int4")
    for op in ("linear", "embedding", "rms_norm", "gate_mul", *attention):
        assert f"lowbit::{op}.out" in names


def test_prefill_and_decode_equal_eager_to_the_bit(tiny_program):
    method, eager = load(tiny_program), TinyBlock()
    for tokens, position in (
        (PROMPT, 0),
        (PROMPT[:, :1], 9),
        (PROMPT[:, 1:4], 10),
        (PROMPT[:, :1], MAX_SEQ - 1),
    ):
        assert torch.equal(call(method, tokens, position), eager(tokens, torch.tensor([position])))


def test_token_by_token_equals_prefill(tiny_program):
    prefill, single = load(tiny_program), load(tiny_program)
    expected = call(prefill, PROMPT, 0)
    for i in range(PROMPT.shape[1]):
        logits = call(single, PROMPT[:, i : i + 1], i)
    assert torch.equal(logits, expected)


def test_every_form_runs(tmp_path):
    eager = Tables(FORMS)
    method = load(write_program(eager, tmp_path / "model.pte"))
    for tokens in (PROMPT, PROMPT[:, :1]):
        outputs = method.execute((tokens, torch.tensor([0])))
        expected = eager(tokens, torch.tensor([0]))
        for form, output, want in zip(FORMS, outputs, expected, strict=True):
            assert torch.equal(output, want), form.name


@pytest.mark.parametrize(
    ("tokens", "position"),
    [(PROMPT, MAX_SEQ - 8), (PROMPT[:, :1], MAX_SEQ), (PROMPT[:, :1], -1), (torch.tensor([[VOCABULARY]]), 0)],
)
def test_bad_positions_and_ids_fail_and_leave_the_cache_alone(tiny_program, tokens, position):
    method, clean = load(tiny_program), load(tiny_program)
    for each in (method, clean):
        call(each, PROMPT, 0)
    with pytest.raises(RuntimeError):
        call(method, tokens, position)
    assert torch.equal(call(method, PROMPT[:, :1], 9), call(clean, PROMPT[:, :1], 9))
