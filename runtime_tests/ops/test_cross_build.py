"""The aarch64 build, emulated: the same bits as on this machine, on old and new ARM cores."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import edge.ops
from edge.formats import grid_for_bits
from edge.ops import cross_build as building
from edge.ops.__main__ import main
from edge.ops.cross_build import LOADER, TOOLS, CrossBuildError, cross_build, launch
from edge.ops.library import kernel_check_path
from export import to_pte
from runtime_tests.tiny import save_tiny

# A core without dot products, one with them, and one with everything: the kernels it can run, best first.
KERNELS = {
    "cortex-a53": ["neon"],
    "cortex-a76": ["dotprod", "neon"],
    "max": ["i8mm", "dotprod", "neon"],
}

MODEL_BITS = ("1", "1.58", "3", "4")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Whole models of two layers as the command line exports them, by bit width."""
    directory = tmp_path_factory.mktemp("models")
    for bits in MODEL_BITS:
        source = save_tiny(directory / f"{bits}-checkpoint", grid_for_bits(float(bits)))
        argv = ["--bits", bits, "--model", str(source), "--output", str(directory / bits)]
        assert to_pte.main(argv) in (0, None)
    return {bits: directory / bits / "model.pte" for bits in MODEL_BITS}


def emulate(core: str, folder: Path, tool: str) -> list[str]:
    """Start a tool under qemu with no system libraries: the folder has its own loader and libraries."""
    return ["qemu-aarch64", "-cpu", core, *launch(str(folder), tool)]


def run(command: list[str], program: Path, logits: Path) -> tuple[str, bytes]:
    """The generated tokens as printed, and the file of logits."""
    arguments = ["--model", program, "--tokens", "3,14,15,9,2", "--max-new-tokens", 20, "--logits", logits]
    result = subprocess.run(
        [*command, *map(str, arguments)],
        env=edge.ops.runner_environment() if len(command) == 1 else None,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout, logits.read_bytes()


def check_kernels(command: list[str]) -> list[str]:
    """The lines of lowbit_kernel_check."""
    result = subprocess.run([*command, "--rounds", "5"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def digests(lines: list[str]) -> dict[str, str]:
    """The digest of all results of each kernel that ran, and of the slices of elastic weights."""
    return {line.split(":")[0]: line.split()[-1] for line in lines if "digest" in line}


@pytest.mark.parametrize("core", KERNELS)
def test_every_arm_kernel_computes_what_the_scalar_one_does(arm_folder, core):
    selected, *lines = check_kernels(emulate(core, arm_folder, "lowbit_kernel_check"))
    assert selected == f"selected: {KERNELS[core][0]}"
    passed = [line.split(":")[0] for line in lines if "equal the scalar kernel's" in line]
    skipped = [line.split(":")[0] for line in lines if "skipped" in line]
    assert passed == KERNELS[core]
    assert skipped + passed == KERNELS["max"]
    on_x86, on_arm = digests(check_kernels([str(kernel_check_path())])), digests(lines)
    assert on_arm.pop("slices") == on_x86["slices"]
    if "avx2" in on_x86:
        assert set(on_arm.values()) == {on_x86["avx2"]}


def test_a_forced_kernel_that_the_core_lacks_is_refused(arm_folder):
    result = subprocess.run(
        emulate("cortex-a53", arm_folder, "lowbit_kernel_check"),
        env={**os.environ, "EDGE_FORCE_KERNEL": "dotprod"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 2
    assert "kernel 'dotprod' (EDGE_FORCE_KERNEL) needs instructions that this CPU lacks" in result.stderr


@pytest.mark.parametrize("bits", MODEL_BITS)
def test_arm_gives_the_same_bits(arm_folder, models, tmp_path, bits):
    """Greedy tokens and every logit, to the bit: no operation of a program rounds differently on ARM."""
    expected = run([str(edge.ops.runner_path())], models[bits], tmp_path / "host")
    for core in KERNELS:
        emulated = run(emulate(core, arm_folder, "lowbit_runner"), models[bits], tmp_path / core)
        assert emulated == expected, core


def test_the_folder_needs_nothing_but_a_kernel(arm_folder, tmp_path):
    """Moved, and without a system, as on a phone: it opens no library of this machine."""
    moved = Path(shutil.copytree(arm_folder, tmp_path / "moved"))
    nowhere = tmp_path / "empty"
    nowhere.mkdir()
    for tool in TOOLS:
        command = ["qemu-aarch64", "-L", str(nowhere), "-strace", *launch(str(moved), tool), "--help"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode in (0, 2), result.stderr
        opened = re.findall(r'openat\(AT_FDCWD,"([^"]+)"[^\n]*= \d', result.stderr)
        libraries = [path for path in opened if ".so" in path]
        assert libraries
        assert all(path.startswith(f"{moved}/") for path in libraries)
    for name in ("lowbit_runner", "liblowbit_ops.so"):
        assert b"\0$ORIGIN\0" in (moved / name).read_bytes()


def test_a_folder_in_use_is_brought_up_to_date(arm_folder, tmp_path):
    """Models beside the tools are none of its business; a stale library is replaced, a lost one is back."""
    folder = Path(shutil.copytree(arm_folder, tmp_path / "folder"))
    (folder / "model.pte").write_bytes(b"a model")
    (folder / "models").mkdir()
    (folder / "libm.so.6").write_bytes(b"of an older compiler")
    (folder / LOADER).unlink()
    building._add_system_libraries(folder)
    assert (folder / "model.pte").read_bytes() == b"a model"
    for name in ("libm.so.6", LOADER):
        assert (folder / name).read_bytes() == (arm_folder / name).read_bytes()


def test_a_library_that_the_compiler_lacks_is_named(arm_folder, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(arm_folder, tmp_path / "folder"))
    monkeypatch.setattr(building, "_needed", lambda path: ["libnone.so.1"])
    with pytest.raises(CrossBuildError, match=r"libnone\.so\.1 is missing from aarch64-linux-gnu-g\+\+'s"):
        building._add_system_libraries(folder)


def test_a_missing_tool_is_named_with_its_cure(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("edge.ops.cross_build._which", lambda tool: None)
    with pytest.raises(CrossBuildError, match=r"aarch64-linux-gnu-g\+\+ is missing: apt-get install"):
        cross_build(tmp_path / "out")
    assert main(["cross-build", "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith(
        "cross-build: aarch64-linux-gnu-g++ is missing: apt-get install"
    )
    assert not (tmp_path / "out").exists()
