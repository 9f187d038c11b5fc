"""The benchmarks: what they print from known samples, what they refuse, and one short real run of each."""

from __future__ import annotations

import subprocess

import pytest

from edge.latency import benchmark
from edge.latency.benchmark import Plan, Row, Sample, measure, read_seconds, table
from edge.latency.programs import Variant, run_benchmark
from edge.ops import kernel_bench_path
from runtime_tests.ops.programs import TinyBlock, write_program

PLAN = Plan(threads=1, prompt=8, context=16, generated=4, rounds=3)


def row(name: str, speeds: list[float], **known: int) -> Row:
    samples = iter([Sample(1.0, 1.0), *(Sample(10 * s, s, 1.0, 2.0, 300, "avx2") for s in speeds)])
    return Row(name, known.get("file_bytes", 100), known.get("cache_bytes", 50), lambda: next(samples))


def test_a_speed_up_is_the_median_of_the_rounds_own_ratios():
    """Not the ratio of medians, 2 / 3 here; and the warm-up round counts nowhere."""
    rows = [row("2 bits", [1.0, 2.0, 30.0]), row("4 bits", [1.0, 20.0, 3.0])]
    measure(rows, PLAN.rounds)
    text = table(rows, PLAN, "125M")
    assert "| 2 bits | 0.0 | 2.0 (1.0-30.0) | 20.0 (10.0-300.0) | 1 | 2 | 2.00 | - |" in text
    assert "| 2 bits | 1.00x |" in text
    assert "random weights" in text
    assert "kernel avx2" in text


def test_names_tell_programs_apart():
    names = {Variant(b, r, c).name for b in (2, 1.58) for r in ("lowbit",) for c in ("fp32", "int8")}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rounds", "0"], "counts must be at least 1"),
        (["--context", "8", "--generated", "32"], "more than half of --generated"),
        (["--bits", ""], "nothing to measure"),
        (["--bits", "two"], "two"),
    ],
)
def test_arguments_that_cannot_be_measured(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        benchmark.main(arguments)


def test_a_real_program_is_measured(tmp_path):
    program = write_program(TinyBlock(), tmp_path / "tiny.pte")
    got = run_benchmark(program, threads=1, prompt=4, context=4, generated=2)
    assert got["decode_tokens_per_second"][0] > 0
    assert 0 < read_seconds(program) < 1
    with pytest.raises(OSError, match="cannot read the program"):
        run_benchmark(tmp_path / "none.pte", threads=1, prompt=4, context=4, generated=2)


def kernel_bench(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(kernel_bench_path()), *arguments], capture_output=True, text=True)


def test_the_kernels_benchmark_verifies_and_prints_every_format():
    for tokens in ("1", "2"):
        result = kernel_bench("--sets", "64", "--rounds", "1", "--columns", "64", "--tokens", tokens)
        assert result.returncode == 0, result.stderr
        for name in ("binary", "ternary_2bit", "int2", "int3", "int4", "int8", "fp16"):
            assert f"\n| {name} | " in result.stdout


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--sets", "x"], ["--what", "1"], ["--read", "/none"]])
def test_the_kernels_benchmark_refuses_in_one_sentence(wrong):
    result = kernel_bench(*wrong)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
