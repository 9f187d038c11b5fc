"""Programs in several threads and processes at once, in a process that imported no more than what runs them.

Usage: a name of ``SCRIPTS``, and the folders of a ternary program and one of 4 bits. What a script tells goes
to stderr.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from edge.runtime.load import Program

PROMPT, THREADS, CALLS = list(range(5, 45)), 2, 40


def logits(program: Program) -> Tensor:
    first = program.forward(PROMPT, 0)  # fills the cache, which the second call reads
    return torch.stack([first, program.forward([7], len(PROMPT))])


def same(program: Program, wanted: Tensor, calls: int = CALLS) -> bool:
    return all(torch.equal(logits(program), wanted) for _ in range(calls))


def together(*calls: Callable[[], bool]) -> None:
    results: list[bool] = []
    threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * len(calls), results


def two_programs(ternary: Path, four: Path) -> None:
    a, b = Program(ternary, THREADS), Program(four, THREADS)
    wanted_a, wanted_b = logits(a), logits(b)
    assert not torch.equal(wanted_a, wanted_b)
    together(lambda: same(a, wanted_a), lambda: same(b, wanted_b))


def one_method(ternary: Path, _: Path) -> None:
    program = Program(ternary, THREADS)
    alone = program.forward([7], 0)
    call = lambda: all(torch.equal(program.forward([7], 0), alone) for _ in range(CALLS))  # noqa: E731
    together(call, call)


def open_and_close(ternary: Path, _: Path) -> None:
    a = Program(ternary, THREADS)
    wanted = logits(a)
    together(
        lambda: same(a, wanted),
        lambda: all(same(Program(ternary, THREADS), wanted, calls=1) for _ in range(CALLS // 4)),
    )


def fork(ternary: Path, _: Path) -> None:
    program = Program(ternary, THREADS)
    wanted = logits(program)
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if same(program, wanted) else 1)
        assert same(program, wanted)
        assert os.waitpid(child, 0)[1] == 0


def four_readers(ternary: Path, _: Path) -> None:
    def tell(program: Program) -> None:  # one write: print may write a line's end apart from the line
        os.write(2, (logits(program).sum().item().hex() + "\n").encode())

    tell(Program(ternary, THREADS))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            tell(Program(ternary, THREADS))
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)


SCRIPTS = (two_programs, one_method, open_and_close, fork, four_readers)

if __name__ == "__main__":
    name, *folders = sys.argv[1:]
    first, second = (Path(folder) / "model.pte" for folder in folders)
    {script.__name__: script for script in SCRIPTS}[name](first, second)
