"""Settings and helpers that every test shares."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from runtime_tests.android_builds import android_natives, android_system, android_tools, npm_parts  # noqa: F401

# The GPU kernels run in Triton's interpreter; with TRITON_INTERPRET=0 their tests need a GPU. Triton reads
# this when it is imported, which other packages do too.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Timings vary on shared machines; a slow example is not a wrong one.
settings.register_profile("edge", deadline=None, max_examples=40)
settings.load_profile("edge")


def pytest_collection_finish() -> None:
    """Spare tests garbage collection over all imports and collected tests, a seventh of an export's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the user's cache, and find nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_data(name: str) -> Path:
    """A file or directory of shared/data beside the checkout; skips the test where there is none."""
    path = _SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}: put it under shared/data beside the checkout")
    return path


@pytest.fixture(scope="session")
def tiny_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny program of runtime_tests/ops, exported. Do not change it."""
    from runtime_tests.ops.programs import TinyBlock, write_program

    return write_program(TinyBlock(), tmp_path_factory.mktemp("program") / "model.pte")


@pytest.fixture(scope="session")
def arm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tools built for aarch64; skips the test where that, or running them, lacks a tool."""
    from edge.ops.cross_build import cross_build, missing_tools
    from runtime_tests.native_builds import made_once

    lacking = missing_tools()
    if shutil.which("qemu-aarch64") is None:
        lacking.append("qemu-aarch64 is missing: apt-get install qemu-user")
    if lacking:
        pytest.skip("; ".join(lacking))
    return made_once(tmp_path_factory, "aarch64", lambda folder: cross_build(folder))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny full-precision checkpoint with random weights, and text.txt beside it. Do not change them."""
    from runtime_tests.tiny import TEXT, save_tiny

    directory = save_tiny(tmp_path_factory.mktemp("model") / "full")
    (directory.parent / "text.txt").write_text(TEXT)
    return directory


@pytest.fixture(scope="module")
def text(full: Path) -> Path:
    """A text to train on. Do not change it."""
    return full.parent / "text.txt"
