"""The team of threads: every item once, whoever calls; under ThreadSanitizer too, and behind a fork."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime_tests.native_builds import CSRC, find_tool, made_once, require, run

SOURCES = (Path(__file__).with_name("team_probe.cc"), CSRC / "core" / "team.cc")


@pytest.fixture(scope="session")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the probe, plain and with ThreadSanitizer."""
    require("g++")

    def build(folder: Path) -> None:
        flags = ("-std=c++17", "-O1", "-g", "-pthread", "-I", CSRC)
        for name, more in (("plain", ()), ("sanitized", ("-fsanitize=thread",))):
            run([find_tool("g++"), *flags, *more, *SOURCES, "-o", folder / name])

    return made_once(tmp_path_factory, "team", build)


@pytest.mark.parametrize("probe", ["plain", "sanitized"])
def test_every_item_is_seen_once(probes: Path, probe: str) -> None:
    assert run([probes / probe, "loops"]) == "0 wrong\n"


def test_a_forked_process_gets_a_team_of_its_own(probes: Path) -> None:
    assert run([probes / "plain", "fork"]) == "0 wrong\n"
