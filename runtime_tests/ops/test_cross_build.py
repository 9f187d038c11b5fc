"""The aarch64 build under emulation: the same bits as this machine's, on old and new ARM cores."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import edge.ops
from edge.ops.cross_build import CrossBuildError, cross_build, missing_tools

SYSROOT = Path("/usr/aarch64-linux-gnu")


def _lacking() -> str:
    lines = missing_tools()
    if shutil.which("qemu-aarch64") is None:
        lines.append("qemu-aarch64 is missing: apt-get install qemu-user")
    return "; ".join(lines)


needs_tools = pytest.mark.skipif(bool(_lacking()), reason=_lacking())


@pytest.fixture(scope="module")
def arm_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_build(tmp_path_factory.mktemp("build") / "aarch64")


def run(command: list[object], program: Path, logits: Path) -> tuple[str, bytes]:
    arguments = ["--model", program, "--tokens", "3,14,15,9,2", "--max-new-tokens", 20, "--logits", logits]
    result = subprocess.run(
        [str(part) for part in (*command, *arguments)],
        env=edge.ops.runner_environment() if len(command) == 1 else None,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, logits.read_bytes()


@needs_tools
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76", "max"])
def test_arm_gives_the_same_bits(arm_runner, tiny_program, tmp_path, core):
    expected = run([edge.ops.runner_path()], tiny_program, tmp_path / "host")
    emulated = run(["qemu-aarch64", "-cpu", core, "-L", SYSROOT, arm_runner], tiny_program, tmp_path / core)
    assert emulated == expected


@needs_tools
def test_the_folder_is_relocatable(arm_runner, tiny_program, tmp_path):
    moved = Path(shutil.copytree(arm_runner.parent, tmp_path / "moved"))
    run(["qemu-aarch64", "-L", SYSROOT, moved / "lowbit_runner"], tiny_program, tmp_path / "logits")
    for name in ("lowbit_runner", "liblowbit_ops.so"):
        assert b"\0$ORIGIN\0" in (moved / name).read_bytes()


def test_a_missing_tool_is_named_with_its_cure(monkeypatch, tmp_path):
    monkeypatch.setattr("edge.ops.cross_build._which", lambda tool: None)
    with pytest.raises(CrossBuildError, match=r"aarch64-linux-gnu-g\+\+ is missing: apt-get install"):
        cross_build(tmp_path / "out")
    assert not (tmp_path / "out").exists()
