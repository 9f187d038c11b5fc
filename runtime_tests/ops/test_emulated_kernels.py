"""The AVX-512 and AVX-VNNI kernels on CPUs without those instructions: compiled against SIMDe, which
computes every intrinsic in plain C++, and held to the scalar kernel bit for bit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge

CSRC = Path(edge.__file__).resolve().parent / "ops" / "csrc"
EMULATED = ("avx512vbmi", "avx512vnni", "avxvnni")


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _lacking() -> str:
    if platform.machine() not in ("x86_64", "AMD64"):
        return "not an x86-64 machine"
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or " avx2" not in cpuinfo.read_text():
        return "this CPU lacks AVX2, on which the emulation builds"
    missing = [tool for tool in ("c++", "cmake", "ninja") if _tool(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = ["c++", "-mavx2", "-E", "-x", "c++", "-include", "simde/x86/avx512.h", os.devnull]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        return "SIMDe's headers are missing: apt-get install libsimde-dev"
    return ""


@pytest.mark.skipif(bool(_lacking()), reason=_lacking())
def test_emulated_kernels_equal_the_scalar_one(tmp_path: Path) -> None:
    options = ["-DEDGE_CORE_ONLY=ON", "-DEDGE_CHECKS=ON", "-DEDGE_EMULATE=ON"]
    cmake = [
        str(_tool("cmake")),
        f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    _run([*cmake, "-S", str(CSRC), "-B", str(tmp_path), "-G", "Ninja", *options])
    _run([cmake[0], "--build", str(tmp_path), "--target", "lowbit_kernel_check"])
    output = _run([str(tmp_path / "lowbit_kernel_check"), "--rounds", "30"])
    for kernel in EMULATED:
        assert any(
            line.startswith(f"{kernel}: ") and "values equal" in line for line in output.splitlines()
        ), output


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
