"""Interrupt a command anywhere: end it, or fill its disk, at one of the calls that change files.

``fault.c`` counts those calls below a directory. ``survives`` runs a command to its end, then again and again
with a fault at another call, and after each fault once more without. Any number of points can be tried:
EDGE_FAULT_POINTS=200 for each test that uses it, or "all".
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime_tests.native_builds import made_once, run

_SOURCE = Path(__file__).with_name("fault.c")


def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile ``fault.c`` once; skips the test where that cannot be done."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not Path("/proc/self/fd").exists():
        pytest.skip("needs Linux and a C compiler: apt-get install gcc")

    def build(folder: Path) -> None:
        run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", folder / "fault.so", _SOURCE, "-ldl"])

    return made_once(tmp_path_factory, "fault", build) / "fault.so"


#: Runs a command with these variables in its environment: its exit code, and what it prints to stderr.
Command = Callable[[dict[str, str]], tuple[int, str]]


def preloaded(shim: Path, words: Sequence[str | Path]) -> Command:
    """Return a command that ``words`` start, with ``fault.c`` preloaded."""

    def run(variables: dict[str, str]) -> tuple[int, str]:
        environment = os.environ | variables | {"LD_PRELOAD": str(shim)}
        command = [str(word) for word in words]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
        return ended.returncode, ended.stderr

    return run


@dataclass
class Interrupted:
    """A command that writes into ``folder``, and what may be there at any moment.

    Attributes:
        command: runs with ``fault.c`` preloaded.
        prepare: makes the folder's content before each run; the command finds the same each time.
        check: asserts that nothing was lost or is half done, right after a fault.
        result: what the command must leave behind in the end, whatever happened before.
        complete: what a command says that refuses to repeat what was done before the fault; "" if it repeats.
    """

    command: Command
    folder: Path
    prepare: Callable[[], None]
    check: Callable[[], None]
    result: Callable[[], object]
    complete: str = ""

    def run(self, **faults: str) -> tuple[int, str]:
        return self.command({"EDGE_FAULT_UNDER": str(self.folder), **faults})

    def survives(self, points: int, seed: int = 0) -> None:
        """Assert that faults at ``points`` of the calls lose nothing, and that the command then ends well."""
        self.prepare()
        log = self.folder.parent / "calls"
        code, printed = self.run(EDGE_FAULT_LOG=str(log))
        assert code == 0, printed
        wanted, calls = self.result(), log.stat().st_size
        log.unlink()
        for fault in _chosen(calls, points, seed):
            self.prepare()
            code, printed = self.run(EDGE_FAULT=fault)
            assert "Traceback" not in printed, f"{fault}: {printed}"
            assert code in ((-signal.SIGKILL, 0) if fault[0] == "k" else (2, 0)), printed
            self.check()
            code, printed = self.run()
            done = bool(self.complete) and self.complete in printed
            assert code == 0 or done, f"after {fault}: {printed}"
            found = self.result()
            assert found == wanted, f"after {fault}"


def _chosen(calls: int, points: int, seed: int) -> list[str]:
    every = [f"{kind}:{call}" for kind in ("kill", "enospc") for call in range(1, calls + 1)]
    asked = os.environ.get("EDGE_FAULT_POINTS", str(points))
    return every if asked == "all" else random.Random(seed).sample(every, min(int(asked), len(every)))
