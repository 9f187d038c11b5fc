"""The AVX-512 and AVX-VNNI kernels on CPUs without those instructions: compiled against SIMDe, which
computes every intrinsic in plain C++, and compared with the scalar kernel bit for bit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from runtime_tests.native_builds import CSRC, compile_target, configure, find_tool, run

EMULATED = ("avx512vbmi", "avx512vnni", "avxvnni")


def _lacking() -> str:
    if platform.machine() not in ("x86_64", "AMD64"):
        return "not an x86-64 machine"
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists() or " avx2" not in cpuinfo.read_text():
        return "this CPU lacks AVX2, on which the emulation builds"
    missing = [tool for tool in ("c++", "cmake", "ninja") if find_tool(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = ["c++", "-mavx2", "-E", "-x", "c++", "-include", "simde/x86/avx512.h", os.devnull]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        return "SIMDe's headers are missing: apt-get install libsimde-dev"
    return ""


@pytest.mark.skipif(bool(_lacking()), reason=_lacking())
def test_emulated_kernels_equal_the_scalar_one(tmp_path: Path) -> None:
    """At -O1, which compiles five times faster than -O3: what the intrinsics compute stays the same."""
    unoptimised = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
    configure(CSRC, tmp_path, "-DEDGE_CORE_ONLY=ON", "-DEDGE_EMULATE=ON", *unoptimised)
    compile_target(tmp_path, "lowbit_kernel_check")
    output = run([tmp_path / "lowbit_kernel_check", "--rounds", "30"])
    for kernel in EMULATED:
        assert any(
            line.startswith(f"{kernel}: ") and "values equal" in line for line in output.splitlines()
        ), output
