"""The kernels' benchmark: that it verifies, and what it refuses; not how fast this machine is."""

from __future__ import annotations

import subprocess

import pytest

from edge.formats.encoding import ENCODINGS
from edge.ops import kernel_bench_path


def kernel_bench(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(kernel_bench_path()), *arguments], capture_output=True, text=True)


def test_the_kernels_benchmark_verifies_and_prints_every_encoding():
    for tokens in ("1", "2"):
        result = kernel_bench("--sets", "64", "--rounds", "1", "--columns", "64", "--tokens", tokens)
        assert result.returncode == 0, result.stderr
        for encoding in ENCODINGS:
            assert f"\n| {encoding.name} | " in result.stdout


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_layers_benchmark_verifies_and_prints_every_op(threads):
    shape = ("--layer", "64,96,64,48", "--layers", "2", "--rounds", "1", "--threads", threads)
    result = kernel_bench(*shape, "--kernel", "scalar")
    assert result.returncode == 0, result.stderr
    for encoding in ("bits1", "base3", "bits2", "bits3", "bits4", "bits8"):
        for op in ("norm_linear qkv", "linear_add out", "norm_gate_up", "linear_add down", "layer"):
            assert f"| {encoding} | {op} | " in result.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ["--rounds", "0"],
        ["--sets", "x"],
        ["--what", "1"],
        ["--read", "/none"],
        ["--read"],
        ["--layer", "64,96,64"],
        ["--layer", "64,96,64,40"],
        ["--layer", "64,96,64,48", "--threads", "0"],
        ["--layer", "64,96,64,48", "--kernel", "none"],
        ["--layer"],
    ],
)
def test_the_kernels_benchmark_refuses_in_one_sentence(wrong):
    result = kernel_bench(*wrong)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_a_pure_read_of_a_file(tiny_program, threads):
    result = kernel_bench("--read", str(tiny_program), "--threads", str(threads))
    assert result.returncode == 0, result.stderr
    assert 0 < float(result.stdout) < 1


@pytest.mark.parametrize("threads", ["0", "257", "1x", ""])
def test_threads_that_it_cannot_start_are_refused(tiny_program, threads):
    result = kernel_bench("--read", str(tiny_program), "--threads", threads)
    assert result.returncode == 2
    assert "--threads from 1 to 256" in result.stderr


def test_a_file_without_a_line_for_every_thread_is_not_read(tmp_path):
    (tmp_path / "small").write_bytes(b"x" * 600)
    assert kernel_bench("--read", str(tmp_path / "small"), "--threads", "2").returncode == 0
    assert kernel_bench("--read", str(tmp_path / "small"), "--threads", "3").returncode == 2
