"""Measure one cell: quantise a model as a user would, in a process of its own, then read held-out text."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edge.evaluation.candidate import open_candidate
from edge.evaluation.perplexity import file_perplexity
from edge.runtime.manifest import read_manifest


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
    """What was measured of one way at one width and group size.

    Attributes:
        seconds, peak_bytes: of the whole command, the start of Python included.
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
        ValueError: the command failed; its own sentence.
    """
    words = [*way.flags, "--bits", bits, "--group", group, *common, "--output", str(output)]
    seconds, peak = run_measured([sys.executable, "-m", "edge.quantize", *words])
    return Cell(way.name, bits, group, measure_perplexity(str(output), text), seconds, peak)


def run_measured(command: list[str]) -> tuple[float, int]:
    """Run a command; returns its seconds and the most bytes of memory it held."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"{' '.join(command[1:])} failed: {said[-1] if said else process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss * 1024


def measure_perplexity(model: str, text: str) -> float:
    """Perplexity of a checkpoint or program on held-out text, in blocks of all its positions."""
    value = file_perplexity(open_candidate(model), text, None).value
    assert value is not None
    return value


def program_bytes(checkpoint: Path, bits: str, output: Path) -> int:
    """Export a checkpoint and read how large its program is."""
    words = ["--bits", bits, "--model", str(checkpoint), "--output", str(output)]
    run_measured([sys.executable, "-m", "export.to_pte", *words])
    return read_manifest(output).program.bytes
