"""Build the op library and the runner for 64-bit ARM Linux, into one relocatable folder.

    python -m edge.ops cross-build --output DIR

The build downloads the aarch64 wheel of the installed ExecuTorch version with pip and compiles against it
with Debian's g++-aarch64-linux-gnu. The folder holds the tools, every library that they need (ExecuTorch's,
C's and C++'s) and the loader, so it runs on any 64-bit ARM Linux kernel or emulated::

    DIR/ld-linux-aarch64.so.1 --library-path DIR DIR/lowbit_runner --model model.pte --tokens 1,2,3
    qemu-aarch64 DIR/ld-linux-aarch64.so.1 --library-path DIR DIR/lowbit_runner ...
"""

from __future__ import annotations

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
    """Error whose message says what is missing or failed, and what to do."""


def missing_tools() -> list[str]:
    """Name the tools that a cross build lacks, one line each, with the command that installs it."""
    return [f"{tool} is missing: {cure}" for tool, cure in _CURES.items() if _which(tool) is None]


def cross_build(output: Path) -> Path:
    """Build into ``output`` (created if needed) and return the runner's path there.

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
    """Return the command that starts one of TOOLS from ``folder``, which ``cross_build`` made."""
    return [f"{folder}/{LOADER}", "--library-path", folder, f"{folder}/{tool}"]


def _fetch_executorch(scratch: Path) -> Path:
    """Download the aarch64 wheel, unpack what a build needs, and return its executorch/ folder."""
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


def configure(folder: Path, options: list[str]) -> None:
    """Run cmake for aarch64 in a folder. Raises CrossBuildError."""
    toolchain = [
        f"-DCMAKE_TOOLCHAIN_FILE={_CSRC / 'cmake' / 'aarch64-linux-gnu.cmake'}",
        f"-DCMAKE_MAKE_PROGRAM={_which('ninja')}",
    ]
    command = [str(_which("cmake")), "-S", str(_CSRC), "-B", str(folder), "-G", "Ninja"]
    _run([*command, *toolchain, *options], "cmake cannot configure")


def build(folder: Path, target: str = "all") -> None:
    """Build a target in a folder that ``configure`` made. Raises CrossBuildError."""
    _run([str(_which("cmake")), "--build", str(folder), "--target", target], "the aarch64 build failed")


def _compile(executorch: Path, folder: Path, output: Path) -> None:
    configure(folder, [f"-DEXECUTORCH_ROOT={executorch}", "-DEDGE_FLAT=ON"])
    build(folder)
    install = [str(_which("cmake")), "--install", str(folder), "--prefix", str(output), "--strip"]
    _run(install, f"cannot install into {output}")


def _add_system_libraries(folder: Path) -> None:
    """Copy the cross compiler's libraries that the built files need, replacing older copies.

    The folder may hold other files, such as models.
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
    """List the shared libraries that an ELF file needs."""
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
    """Find a program, beside the interpreter first: a distribution's own cmake may be too old."""
    return shutil.which(tool, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _run(command: list[str], failure: str) -> str:
    """Run a command and return what it prints. Raises CrossBuildError with the end of its output."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise CrossBuildError(f"{failure}:\n{(result.stdout + result.stderr).strip()[-2000:]}")
    return result.stdout
