"""Measure one cell: quantise a model as a user would, in a process of its own, then read held-out text."""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edge.evaluation.candidate import open_candidate
from edge.evaluation.perplexity import file_perplexity
from edge.quantize.__main__ import main as quantize
from edge.runtime.manifest import read_manifest

Result = TypeVar("Result")


@dataclass(frozen=True)
class Way:
    """One way to quantise: flags of ``python -m edge.quantize`` under a name."""

    name: str
    flags: tuple[str, ...]


WAYS = (
    Way("RTN", ("--method", "rtn")),
    Way("RTN, searched", ("--method", "rtn", "--range", "searched")),
    Way("GPTQ", ("--method", "gptq")),
    Way("GPTQ, searched", ("--method", "gptq", "--range", "searched")),
    Way("OmniQuant", ("--method", "omniquant")),
)


@dataclass(frozen=True)
class Cell:
    """One cell of the table: a method at one width and group size, and its measurements.

    Attributes:
        seconds: of the processor, all threads together, without the start of Python.
        peak_bytes: the most memory of the process, Python and its libraries included.
    """

    way: str
    bits: str
    group: str
    perplexity: float
    seconds: float
    peak_bytes: int


def measure_cell(way: Way, bits: str, group: str, common: list[str], text: str, output: Path) -> Cell:
    """Quantise into ``output`` and measure perplexity there.

    Args:
        common: flags of all cells.
        text: held out, see ``measure_perplexity``.

    Raises:
        ValueError: what the command says.
    """
    words = [*way.flags, "--bits", bits, "--group", group, *common, "--output", str(output)]
    seconds, peak = in_new_process(quantize_measured, words)
    return Cell(way.name, bits, group, in_new_process(measure_perplexity, str(output), text), seconds, peak)


def in_new_process(function: Callable[..., Result], *args: Any) -> Result:
    """Call a function in a process that has all modules and nothing else; errors are raised here.

    Modules of the first call are imported once for all.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, function.__module__])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *args).result()


def quantize_measured(words: list[str]) -> tuple[float, int]:
    """Run ``python -m edge.quantize`` with these flags; returns processor seconds and peak bytes."""
    started = time.process_time()
    quantize(words)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return time.process_time() - started, peak


def measure_perplexity(model: str, text: str) -> float:
    """Perplexity of a checkpoint or program on held-out text, in blocks of all its positions."""
    value = file_perplexity(open_candidate(model), text, None).value
    assert value is not None
    return value


def program_bytes(checkpoint: Path, bits: str, output: Path) -> int:
    """Export a checkpoint and read how large its program is."""
    run("export.to_pte", "--bits", bits, "--model", str(checkpoint), "--output", str(output))
    return read_manifest(output).program.bytes


def run(module: str, *words: str) -> None:
    """Run a command of this project; ValueError with its own sentence if it fails."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"{module} failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
