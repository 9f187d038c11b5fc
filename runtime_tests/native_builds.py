"""Builds of the C++ sources that tests share, one per run of pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import edge

CSRC = Path(edge.__file__).resolve().parent / "ops" / "csrc"
_CLANG_VERSIONS = range(25, 13, -1)


def find_tool(name: str) -> str | None:
    """Find a program, beside the interpreter first: a distribution's own cmake may be too old."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def find_clang() -> str | None:
    """Find the newest Clang++ of a known version, or the one without a version in its name."""
    return next((n for v in _CLANG_VERSIONS if (n := find_tool(f"clang++-{v}"))), find_tool("clang++"))


def require(*tools: str) -> None:
    """Skip the test when a program is missing."""
    missing = [tool for tool in tools if find_tool(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(command: list[object], **options: object) -> str:
    """Run a command, which must succeed, and return what it prints."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def configure(source: Path, build: Path, *options: object, **environment: object) -> None:
    """Run cmake with Ninja, or skip the test where either is missing."""
    require("cmake", "ninja")
    ninja = f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}"
    run([find_tool("cmake"), "-S", source, "-B", build, "-G", "Ninja", ninja, *options], **environment)


def compile_target(build: Path, target: str, **environment: object) -> str:
    """Build one target of a configured folder and return the compiler's output."""
    return run([find_tool("cmake"), "--build", build, "--target", target], **environment)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that all workers of this run share; the first to ask fills it with ``make(folder)``."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with FileLock(root / f"{name}.lock"):
        if not folder.is_dir():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder)
                raise
    return folder
