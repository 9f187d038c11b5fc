"""Run commands in processes of their own, forked from a server that has imported everything.

A process that torchrun or ``python -m`` starts spends most of its time on imports; these start in a moment.
They are otherwise the same: real processes with signals, exit codes and gloo between them.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import tempfile
import time
from importlib import import_module
from multiprocessing import forkserver, get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from edge.cli import main_guard
from edge.training import monitor

ROOT = Path(__file__).parents[2]
SERVER = get_context("forkserver")
#: Only these are imported by the server; the tests themselves are imported by each process.
IMPORTED = [
    "edge.training.train",
    "edge.training.ablation.__main__",
    "runtime_tests.training.launch",
    "pytest",
]


def start(name: str, arguments: list[str], log: Path, **environment: str) -> BaseProcess:
    """Start a command, ``edge.training.train`` for example; what it prints goes to the log."""
    with pytest.MonkeyPatch.context() as patch:  # for the server, which the first call starts
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        SERVER.set_forkserver_preload(IMPORTED)
        forkserver.ensure_running()
        process = SERVER.Process(target=_run, args=(name, arguments, str(log), environment))
        process.start()
    return process


def launch(
    arguments: list[str],
    ranks: int = 2,
    accident: str = "",
    name: str = "edge.training.train",
    shard: bool = True,
) -> tuple[int, str]:
    """Run a command on several ranks, as torchrun does.

    Args:
        accident: befalls rank 1.
        shard: --fsdp shards on CPUs too.

    Returns:
        the exit code of the first rank that failed, else 0; and all that was printed.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        world = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1"}
        world |= {"MASTER_PORT": str(_free_port()), "SHARD": "1" * (shard and "--fsdp" in arguments)}
        processes = []
        for rank in range(ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCIDENT": accident * (rank == 1)}
            processes.append(start(name, arguments, log, **world, **own))
        return _wait(processes, log), log.read_text()


def _wait(processes: list[BaseProcess], log: Path) -> int:
    """Wait for all ranks. As torchrun does, end those that live on when one has failed."""
    code, since = 0, 0.0
    for _ in range(12_000):
        if not any(process.is_alive() for process in processes):
            return code or next((process.exitcode for process in processes if process.exitcode), 0)
        time.sleep(0.02)
        if code := code or next((process.exitcode for process in processes if process.exitcode), 0):
            since += 0.02
        if 1 <= since < 1.02:  # torchrun looks every 0.1 s, but its processes take longer to exit
            for process in processes:
                process.terminate()
    raise AssertionError(f"a rank did not end: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(name: str, arguments: list[str], log: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(file), "w", buffering=1) for _ in range(2))
    if environment.get("SHARD"):
        from runtime_tests.training.fsdp_on_cpu import shard_on_cpus

        shard_on_cpus()
    gc.freeze()
    monitor.draw = lambda records, path: None
    sys.argv[1:] = arguments
    if accident := environment.get("ACCIDENT"):
        from runtime_tests.training.accidents import ACCIDENTS

        ACCIDENTS[accident]()
    main_guard(import_module(name).main)
