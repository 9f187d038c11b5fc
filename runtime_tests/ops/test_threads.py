"""The core under ThreadSanitizer: several threads, every kernel, tables that programs share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runtime_tests.native_builds import CSRC, compile_target, configure, find_tool, made_once, require, run

SOURCES = (Path(__file__).with_name("threads_probe.cc"), CSRC / "tools" / "random_table.cc")


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("g++")

    def build(folder: Path) -> None:
        unoptimised = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1")  # compiles faster
        options = ("-DEDGE_CORE_ONLY=ON", "-DEDGE_TOOLS=OFF", "-DEDGE_SANITIZE=thread", *unoptimised)
        configure(CSRC, folder, "-DCMAKE_CXX_COMPILER=g++", *options)
        compile_target(folder, "edge_core")
        flags = ("-std=c++17", "-O1", "-g", "-fsanitize=thread", "-I", CSRC)
        run([find_tool("g++"), *flags, *SOURCES, folder / "libedge_core.a", "-o", folder / "probe"])

    return made_once(tmp_path_factory, "threads", build) / "probe"


def test_threads_that_share_tables_do_not_race(probe):
    assert run([probe]).startswith("0 wrong of ")


def test_a_race_would_be_reported(probe):
    ended = subprocess.run([probe, "race"], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "WARNING: ThreadSanitizer: data race" in ended.stderr
