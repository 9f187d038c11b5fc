"""Triton compiles the kernels for GPUs, which needs none: to machine code that fits a program's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops.triton.tiles import choose_tiles, loaded_bytes
from runtime_tests.ops.triton.gpu_code import SHARED_BYTES


def test_kernels_compile(tmp_path: Path) -> None:
    """In a process of its own, because the interpreter is chosen when Triton is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "runtime_tests.ops.triton.gpu_code"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("fits") == 4, ended.stdout


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("m", [1, 8, 9, 32, 64, 65, 4096])
def test_tiles_fit_small_gpus_and_big_ones(bits: int, m: int) -> None:
    for group in (None, 32, 256):
        for shared in SHARED_BYTES.values():
            tiles = choose_tiles(m, 2048, 2048, bits, group, 132, shared)
            assert loaded_bytes(tiles, bits) <= shared
            assert tiles.splits == 1 or m <= 64
