"""Run modules as ``python -m`` does, in forks of a server that has imported them: imports take seconds.

Each fork is a process of its own with signals, streams and an exit code.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType

_SECONDS = 600  # that a command may take


class Server:
    """A process that has imported the ``modules`` of commands, for use as a context, which ends it.

    Its ``environment`` is set when it starts: LD_PRELOAD works.
    """

    def __init__(self, modules: Sequence[str], **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runtime_tests.forked", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Threads do not survive a fork: PyTorch must not start any in the server.
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            cwd=Path(__file__).parents[1],
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._process.communicate(timeout=60)

    def run(self, *commands: Sequence[object], **environment: str) -> list[tuple[int, str]]:
        """Run commands at once, each a module and its words.

        Returns:
            of each its exit code, as ``subprocess`` gives it, and what it printed to stderr.
        """
        with tempfile.TemporaryDirectory() as folder:
            logs = [Path(folder, str(index)) for index in range(len(commands))]
            started = [
                self._ask([str(log), environment, *map(str, command)])
                for log, command in zip(logs, commands, strict=True)
            ]
            codes = [self._ask(process) for process in started]
            return [(code, log.read_text()) for code, log in zip(codes, logs, strict=True)]

    def _ask(self, question: list[object] | int) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _serve(modules: list[str]) -> None:
    """Answer a command with the number of its process, and such a number with that process's exit code."""
    for module in modules:
        import_module(module)
    gc.freeze()
    for line in sys.stdin:
        question = json.loads(line)
        if isinstance(question, int):
            print(os.waitstatus_to_exitcode(os.waitpid(question, 0)[1]), flush=True)
        elif process := os.fork():
            print(process, flush=True)
        else:
            _run(*question)


def _run(log: str, environment: dict[str, str], module: str, *words: str) -> None:
    """Become the process of a command, which ends with an exception of its own: SystemExit."""
    streams = (os.devnull, os.O_RDONLY), (os.devnull, os.O_WRONLY), (log, os.O_WRONLY | os.O_CREAT)
    for stream, (path, how) in enumerate(streams):
        os.dup2(os.open(path, how), stream)
    signal.alarm(_SECONDS)
    os.environ.update(environment)
    sys.argv = [module, *words]
    for name in (module, f"{module}.__main__"):
        sys.modules.pop(name, None)  # runpy warns of a module that was imported before it runs
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(sys.argv[1:])
