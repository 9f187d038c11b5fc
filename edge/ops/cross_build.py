"""Builds the op library and the runner for 64-bit ARM Linux, into one relocatable folder.

    python -m edge.ops.cross_build --output DIR

It downloads the aarch64 wheel of the installed ExecuTorch version with pip, compiles against it with
Debian's g++-aarch64-linux-gnu, and puts the tools, ``liblowbit_ops.so``, the ExecuTorch libraries and the C
and C++ libraries they stand on side by side, with their loader. So the folder runs on any 64-bit ARM Linux
kernel, an Android phone's shell included, whatever is installed there; or emulated, here::

    DIR/ld-linux-aarch64.so.1 --library-path DIR DIR/lowbit_runner --model model.pte --tokens 1,2,3
    qemu-aarch64 DIR/ld-linux-aarch64.so.1 --library-path DIR DIR/lowbit_runner ...
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PLATFORM = "manylinux_2_28_aarch64"
COMPILER = "aarch64-linux-gnu-g++"
READELF = "aarch64-linux-gnu-readelf"
LOADER = "ld-linux-aarch64.so.1"
TOOLS = ("lowbit_runner", "lowbit_kernel_check", "lowbit_kernel_bench")
_CSRC = Path(__file__).resolve().parent / "csrc"
_WHEEL_PARTS = ("executorch/include/", "executorch/lib/", "executorch/share/")
_RUNTIME_LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_threadpool.so",
    "libexecutorch_etdump.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_backend_xnnpack.so",
)
_BUILT = (*TOOLS, *_RUNTIME_LIBRARIES, "liblowbit_ops.so")
_CURES = {
    COMPILER: "apt-get install g++-aarch64-linux-gnu",
    READELF: "apt-get install binutils-aarch64-linux-gnu",
    "cmake": 'pip install "cmake>=3.28"',
    "ninja": "pip install ninja",
}


class CrossBuildError(Exception):
    """A sentence that says what is missing or failed, and what to do."""


def missing_tools() -> list[str]:
    """One line per tool that a cross build lacks, with the command that gets it."""
    return [f"{tool} is missing: {cure}" for tool, cure in _CURES.items() if _which(tool) is None]


def cross_build(output: Path) -> Path:
    """Builds into ``output`` (created if needed) and returns the runner's path there.

    Raises:
        CrossBuildError: a tool is missing, the wheel cannot be had, or the build fails.
    """
    missing = missing_tools()
    if missing:
        raise CrossBuildError("; ".join(missing))
    with tempfile.TemporaryDirectory(prefix="edge-aarch64-") as scratch:
        executorch = _fetch_executorch(Path(scratch))
        _compile(executorch, Path(scratch) / "build", output.resolve())
        for library in _RUNTIME_LIBRARIES:
            shutil.copy2(executorch / "lib" / library, output / library)
    _add_system_libraries(output)
    return output / "lowbit_runner"


def launch(folder: str, tool: str) -> list[str]:
    """The words that start one of TOOLS from a folder of ``cross_build``, wherever that is now."""
    return [f"{folder}/{LOADER}", "--library-path", folder, f"{folder}/{tool}"]


def _fetch_executorch(scratch: Path) -> Path:
    """Downloads and unpacks what a build needs of the aarch64 wheel; returns its executorch/ folder."""
    requirement = f"executorch=={importlib.metadata.version('executorch')}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _run(
        [*pip, "--platform", PLATFORM, "--dest", str(scratch), requirement], f"cannot download {requirement}"
    )
    (wheel,) = scratch.glob("executorch-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(_WHEEL_PARTS)]
        archive.extractall(scratch, names)
    return scratch / "executorch"


def configure(build: Path, options: list[str]) -> None:
    """Runs cmake for aarch64 in the folder ``build``. Raises CrossBuildError."""
    toolchain = [
        f"-DCMAKE_TOOLCHAIN_FILE={_CSRC / 'cmake' / 'aarch64-linux-gnu.cmake'}",
        f"-DCMAKE_MAKE_PROGRAM={_which('ninja')}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    command = [str(_which("cmake")), "-S", str(_CSRC), "-B", str(build), "-G", "Ninja"]
    _run([*command, *toolchain, *options], "cmake cannot configure")


def _compile(executorch: Path, build: Path, output: Path) -> None:
    cmake = str(_which("cmake"))
    configure(build, [f"-DEXECUTORCH_ROOT={executorch}", "-DEDGE_FLAT=ON", "-DEDGE_CHECKS=ON"])
    _run([cmake, "--build", str(build)], "the aarch64 build failed")
    _run(
        [cmake, "--install", str(build), "--prefix", str(output), "--strip"], f"cannot install into {output}"
    )


def _add_system_libraries(folder: Path) -> None:
    """Copies what the built files need and are not themselves, from the cross compiler's libraries.

    The folder may hold other files, such as models. Libraries that an older compiler left are replaced.
    """
    waiting = [LOADER, *_BUILT]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        if name not in _BUILT:
            shutil.copy2(_system_library(name), folder / name)
        needed = set(_needed(folder / name)) - seen
        seen |= needed
        waiting += needed


def _needed(path: Path) -> list[str]:
    """The shared libraries that an ELF file names."""
    return re.findall(
        r"\(NEEDED\)[^\[]*\[([^\]]+)\]", _run([READELF, "-d", str(path)], f"cannot read {path}")
    )


def _system_library(name: str) -> Path:
    found = Path(_run([COMPILER, f"-print-file-name={name}"], f"{COMPILER} does not run").strip())
    if not found.is_absolute():  # the compiler repeats a name that it does not know
        raise CrossBuildError(
            f"{name} is missing from {COMPILER}'s libraries: reinstall g++-aarch64-linux-gnu"
        )
    return found


def _which(tool: str) -> str | None:
    """Looks beside the interpreter first: a distribution's own cmake may be too old."""
    return shutil.which(tool, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _run(command: list[str], failure: str) -> str:
    """What a command prints. Raises CrossBuildError, with the end of its output, when it fails."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise CrossBuildError(f"{failure}:\n{(result.stdout + result.stderr).strip()[-2000:]}")
    return result.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the ops and the runner for aarch64 Linux.")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runner and its libraries")
    output = parser.parse_args().output
    try:
        runner = cross_build(output)
    except (CrossBuildError, OSError) as error:
        print(f"cross_build: {error}", file=sys.stderr)
        return 2
    print(f"{runner} and its libraries are ready; copy the folder to the device and start it there with")
    print(f"  {' '.join(launch('DIR', runner.name))} --help")
    print("or emulate it here, with qemu-aarch64 in front")
    return 0


if __name__ == "__main__":
    sys.exit(main())
