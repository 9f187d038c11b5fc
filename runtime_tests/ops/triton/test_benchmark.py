"""The benchmark refuses where there is no GPU; what needs none of it works with a clock that only counts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops.triton.benchmark.__main__ import BenchmarkFlags, run
from edge.ops.triton.benchmark.candidates import BASELINE, OPPONENTS, make_cublas, make_ours
from edge.ops.triton.benchmark.measure import Result, measure
from edge.ops.triton.benchmark.report import Circumstances, installed_versions, json_of, table_of
from edge.ops.triton.benchmark.shapes import SHAPES
from runtime_tests.ops.triton.cases import DEVICE


class CountingClock:
    """Says that the first product took 1 microsecond, the next 2, and so on."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.made = 0

    def captured(self, work):
        work()
        self.made += 1
        return lambda number=self.made: self.order.append(number)

    def microseconds(self, replay) -> float:
        replay()
        return float(len(self.order))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, which would be measured")
def test_without_a_gpu_one_sentence_and_code_2() -> None:
    command = [sys.executable, "-m", "edge.ops.triton.benchmark"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "needs a GPU, and PyTorch finds none here; nothing was measured" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"shapes": "gpt"}, "unknown --shapes gpt; known are mobilellm-125m"),
        ({"bits": "5"}, "no weight format has 5 bits"),
        ({"batches": "1,0"}, "positive numbers"),
        ({"rounds": 0}, "at least 1"),
        ({"group_size": 48}, "32, 64, 128 or 256"),
        ({"activations": "int8", "tune": True}, "fp16 or bf16"),
    ],
)
def test_bad_flags(flags: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        BenchmarkFlags(**flags)


@pytest.mark.parametrize("activations", ["fp16", "int8"])
def test_all_candidates_are_verified_and_take_turns(activations: str, monkeypatch) -> None:
    monkeypatch.setitem(SHAPES, "small", ((48, 128),))
    for package in OPPONENTS:
        monkeypatch.setitem(OPPONENTS, package, lambda weight: 1 / 0)
    clock = CountingClock()
    flags = BenchmarkFlags(shapes="small", batches="1,9", activations=activations, rounds=3)
    results, left_out = run(flags, clock, DEVICE)
    assert [r.name for r in results[:6]] == [
        BASELINE,
        *(f"ours, {b} bits" for b in ("1", "1.58", "2", "3", "4")),
    ]
    assert {(r.n, r.k, r.batch) for r in results} == {(48, 128, 1), (48, 128, 9)}
    assert clock.order[:12] == [1, 2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 1]
    assert left_out["torchao at 48 x 128"] == "ZeroDivisionError: division by zero"
    assert (
        left_out["gemlite at 48 x 128"] == "not installed"
        or "ZeroDivision" in left_out["gemlite at 48 x 128"]
    )
    assert results[0].moved_bytes == 2 * (48 * 128 + 128 + 48)
    circumstances = Circumstances(
        "GPU", "9.0", installed_versions(), activations, None, 3, 1e12, 2.0, left_out
    )
    assert len(json.loads(json_of(circumstances, results))["results"]) == 12
    assert table_of(results, 1e12).row_count == 12


def test_a_wrong_kernel_is_not_timed() -> None:
    ours = make_ours(2, 32, 128, None, torch.float16, DEVICE)
    wrong = replace(ours, run=lambda x: -ours.run(x))
    x = torch.randn(2, 128, device=DEVICE).half()
    with pytest.raises(RuntimeError, match=r"ours, 2 bits is wrong by 2, and 0\.005 is allowed"):
        measure([wrong], x, CountingClock(), 1)
    cublas = make_cublas(torch.randn(32, 128, device=DEVICE).half())
    results, left_out = measure([cublas, replace(wrong, name="other")], x, CountingClock(), 1)
    assert [r.name for r in results] == [BASELINE]
    assert left_out["other"].startswith("RuntimeError: other is wrong")


def test_figures() -> None:
    base, ours = Result(BASELINE, 1, 1, 1, 100, [4.0, 8.0, 6.0]), Result("ours", 1, 1, 1, 30, [2.0, 2.0, 3.0])
    assert ours.median == 2
    assert ours.speedup(base)[1] == 2
    assert ours.speedup(base)[0] == pytest.approx(2)
    assert ours.speedup(base)[2] == pytest.approx(3.6)
    assert ours.bandwidth_share(30e6) == pytest.approx(0.5)
