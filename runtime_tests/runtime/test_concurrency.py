"""Programs in several threads and processes at once: each gives the logits that it gives alone.

Scripts run in processes of their own, so that one that hangs ends, and fork meets no threads of pytest.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.formats import grid_for_bits
from edge.ops import kernel_names
from export import to_pte
from runtime_tests.ops.attention_case import supported
from runtime_tests.ops.tables import RUNS_BASE3
from runtime_tests.tiny import save_tiny

ROOT = Path(__file__).resolve().parents[2]
#: Large enough that the ops share their work between threads.
SHAPE = {"n_layers": 1, "dim": 576, "n_heads": 9, "n_kv_heads": 3, "head_dim": 64, "ffn_dim": 1536}
UNPACKING = next((name for name in kernel_names() if name not in RUNS_BASE3 and supported(name)), None)
SECONDS = 120

BEGIN = """
import os, sys, threading
from pathlib import Path
import torch
from edge.runtime.load import Program

PROMPT, THREADS, CALLS = list(range(5, 45)), 2, 40
ternary, four = (Path(name) / "model.pte" for name in sys.argv[1:3])

def logits(program):
    first = program.forward(PROMPT, 0)  # fills the cache, which the second call reads
    return torch.stack([first, program.forward([7], len(PROMPT))])

def same(program, wanted):
    return all(torch.equal(logits(program), wanted) for _ in range(CALLS))

def together(*calls):
    results = []
    threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert results == [True] * len(calls), results
"""
TWO_PROGRAMS = """
a, b = Program(ternary, THREADS), Program(four, THREADS)
wanted_a, wanted_b = logits(a), logits(b)
assert not torch.equal(wanted_a, wanted_b)
together(lambda: same(a, wanted_a), lambda: same(b, wanted_b))
"""
ONE_METHOD = """
program = Program(ternary, THREADS)
alone = program.forward([7], 0)
together(*(lambda: all(torch.equal(program.forward([7], 0), alone) for _ in range(CALLS)) for _ in range(2)))
"""
OPEN_AND_CLOSE = """
a = Program(ternary, THREADS)
wanted = logits(a)
together(
    lambda: same(a, wanted),
    lambda: all(torch.equal(logits(Program(ternary, THREADS)), wanted) for _ in range(CALLS // 4)),
)
"""
FORK = """
program = Program(ternary, THREADS)
wanted = logits(program)
for _ in range(3):
    child = os.fork()
    if child == 0:
        os._exit(0 if same(program, wanted) else 1)
    assert same(program, wanted)
    assert os.waitpid(child, 0)[1] == 0
"""
FOUR_READERS = """
def tell(program):  # one write: print may write a line's end apart from the line
    os.write(1, (logits(program).sum().item().hex() + "\\n").encode())

tell(Program(ternary, THREADS))
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        tell(Program(ternary, THREADS))
        os._exit(0)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("programs")
    for bits in (1.58, 4):
        model = save_tiny(folder / f"model-{bits}", grid_for_bits(bits), **SHAPE)
        to_pte.main(["--bits", str(bits), "--model", str(model), "--output", str(folder / f"{bits}")])
    return [folder / "1.58", folder / "4"]


@pytest.fixture(params=["selected", UNPACKING or "none"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of this CPU, and one that keeps ternary tables unpacked, which threads then share."""
    if request.param == "none":
        pytest.skip("this CPU has no kernel that unpacks ternary tables")
    if request.param != "selected":
        monkeypatch.setenv("EDGE_FORCE_KERNEL", request.param)


def run(script: str, programs: list[Path]) -> list[str]:
    command = [sys.executable, "-c", BEGIN + script, *map(str, programs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.split()


def test_two_programs_in_two_threads(programs, kernel):
    run(TWO_PROGRAMS, programs)


def test_one_method_from_two_threads(programs):
    run(ONE_METHOD, programs)


def test_programs_that_open_and_close_beside_one_that_runs(programs, kernel):
    run(OPEN_AND_CLOSE, programs)


def test_a_fork_after_loading(programs):
    """Tests that the child, which inherits no threads, and the parent both go on."""
    run(FORK, programs)


def test_four_readers_of_one_file(programs):
    printed = run(FOUR_READERS, programs)
    assert len(printed) == 5
    assert len(set(printed)) == 1
