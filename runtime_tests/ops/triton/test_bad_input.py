"""Refuse in one sentence what the kernels cannot compute."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops.triton import checks, linear, linear_int8, quantize_tokens
from runtime_tests.ops.triton.cases import DEVICE, make_input, make_weight, on_device

HELD = on_device(make_weight("bits2", 1.5, 4, 96))
GROUPED = on_device(make_weight("bits2", None, 4, 96, 32))
X = make_input(2, 96, torch.float16).to(DEVICE)


def changed(**fields):
    return replace(HELD, **fields)


@pytest.mark.parametrize(
    ("x", "weight", "words"),
    [
        (X.float(), HELD, r"must be float16 or bfloat16, not torch\.float32; linear_int8 takes int8"),
        (X.double(), HELD, "must be float16 or bfloat16"),
        (X.to(torch.int8), HELD, "must be float16 or bfloat16"),
        (X[:, :95], HELD, r"must end with 96 columns, as the weight has, not \[2, 95\]"),
        (X[0, 0], HELD, "must end with 96 columns"),
        (X.to("meta"), HELD, "words lie on .* and the input on meta"),
        (X, changed(words=HELD.words.to("meta")), "words lie on meta and the input on"),
        (X, changed(scale=HELD.scale.to("meta")), "scale lie on meta"),
        (X, changed(words=HELD.words[:, :8]), r"are int16 \[n, 32\], not torch\.int16 \[4, 8\]"),
        (X, changed(words=HELD.words.int()), "are int16"),
        (X, changed(words=HELD.words.T.contiguous().T), "words must be contiguous"),
        (X, changed(scale=HELD.scale[:3]), r"scales must be \[4, 1\]"),
        (X, changed(scale=HELD.scale.half()), "scales must be .* of torch.float32, not"),
        (X, changed(zero=4.0), "a multiple of 1/2 among the codes, not 4.0"),
        (X, changed(zero=1.25), "a multiple of 1/2 among the codes, not 1.25"),
        (X, replace(GROUPED, zero=GROUPED.zero[:, :2]), r"zeros must be float32 \[4, 3\]"),
        (X, replace(GROUPED, group_size=48), "shared by 32, 64, 128 or 256 columns"),
        (X, replace(HELD, k=0), "1 to 65536 columns, not 0"),
    ],
)
def test_linear_says_what_is_wrong(x, weight, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        linear(x, weight)


def test_widths_above_4_bits() -> None:
    with pytest.raises(ValueError, match="codes of 1 to 4 bits, not 5"):
        torch.ops.lowbit.gpu_linear(X, HELD.words, HELD.scale, None, 1.5, 96, 5, 0)


def test_linear_int8_says_what_is_wrong() -> None:
    q, scale = quantize_tokens(X)
    with pytest.raises(ValueError, match="must be int8 and its scales float32"):
        linear_int8(X, scale, HELD, torch.float16)
    with pytest.raises(ValueError, match="must be int8 and its scales float32"):
        linear_int8(q, scale.half(), HELD, torch.float16)
    with pytest.raises(ValueError, match="needs a scale for each token"):
        linear_int8(q, scale[:1], HELD, torch.float16)
    with pytest.raises(ValueError, match="needs a scale for each token"):
        linear_int8(q, scale.to("meta"), HELD, torch.float16)
    with pytest.raises(ValueError, match="output must be float16, bfloat16 or float32, not"):
        linear_int8(q, scale, HELD, torch.int32)


def test_everything_on_the_meta_device_has_a_shape_and_no_numbers() -> None:
    meta = changed(words=HELD.words.to("meta"), scale=HELD.scale.to("meta"))
    assert linear(X.to("meta"), meta).shape == (2, 4)
    with pytest.raises(ValueError, match="must end with 96 columns"):
        linear(X[:, 1:].to("meta"), meta)


def test_an_old_gpu_is_refused() -> None:
    said = checks._refusal((7, 5), "Tesla T4")
    assert said.startswith(
        "Tesla T4 has compute capability 7.5, and the kernels need 8.0, whose tensor cores"
    )
    assert [checks._refusal(capability, "") for capability in ((8, 0), (8, 9), (12, 0))] == [""] * 3


WITHOUT_INTERPRETER = """
import torch
from edge.formats.encoding import ENCODING_BY_NAME
from edge.formats.weight import QuantizedWeight
from edge.ops.triton import GpuWeight, linear
codes = torch.ones(2, 64, dtype=torch.uint8)
weight = GpuWeight.of(QuantizedWeight(codes, torch.ones(2, 1), 1.5, ENCODING_BY_NAME["bits2"]), "cpu")
linear(torch.ones(1, 64).half(), weight)
"""


def test_cpu_tensors_without_the_interpreter() -> None:
    ended = run_python(WITHOUT_INTERPRETER, TRITON_INTERPRET="0")
    assert ended.returncode == 1
    assert "ValueError: the Triton kernels run on a GPU, not on cpu: move weight and input" in ended.stderr


def test_the_cpu_ops_do_not_import_triton() -> None:
    ended = run_python("import sys, edge.ops, edge.ops.packing; print('triton' in sys.modules)")
    assert ended.stdout == "False\n", ended.stderr


def test_without_triton_the_cure_is_named() -> None:
    ended = run_python("import sys; sys.modules['triton'] = None; import edge.ops.triton")
    assert "ImportError: the GPU kernels need Triton: pip install 'edge-lowbit[gpu]'" in ended.stderr


def test_the_benchmark_without_triton_ends_in_one_line(tmp_path) -> None:
    (tmp_path / "triton.py").write_text("raise ImportError('there is none')")
    command = [sys.executable, "-m", "edge.ops.triton.benchmark"]
    path = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, env=path, capture_output=True, text=True)
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "pip install 'edge-lowbit[gpu]'" in ended.stderr


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
