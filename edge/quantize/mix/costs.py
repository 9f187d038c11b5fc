"""Find what a layer costs at each width: bytes in a program, or milliseconds of a token's decode."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.slices import layer_of, mixed_slices
from edge.ops.library import runner_environment, runner_path
from edge.ops.packing import header_of
from edge.quantize.table.cells import run
from edge.runtime.manifest import read_manifest

#: Tokens in the KV cache before decode is timed, tokens timed, and rounds through all widths.
_CONTEXT, _TOKENS, _ROUNDS = 128, 32, 5


def layer_bytes(parent: Checkpoint, widths: Sequence[int]) -> list[dict[int, float]]:
    """Count the bytes of each layer's packed tables by width.

    A program's tables hold several linears and so a few headers less.
    """
    layers = parent.config.n_layers
    costs: list[dict[int, float]] = [dict.fromkeys(widths, 0.0) for _ in range(layers)]
    for width in widths:
        for name, weight in mixed_slices(parent, [width] * layers).quantized.items():
            costs[layer_of(name)][width] += header_of(weight).total_bytes
    return costs


def other_bytes(model: str) -> int:
    """Count the bytes of a model's program beside its linears, by exporting its slice of 2 bits."""
    with tempfile.TemporaryDirectory(prefix="edge-mix-") as scratch:
        program = Path(scratch) / "program"
        run("export.to_pte", "--bits", "2", "--model", model, "--output", str(program))
        manifest = read_manifest(program)
    return manifest.program.bytes - manifest.part_bytes["linears"]


def layer_milliseconds(program: Path, layers: int, widths: Sequence[int]) -> list[dict[int, float]]:
    """Time a token at each width here, with one thread, and give each layer an equal share.

    Args:
        program: directory of an elastic program, which is run at each width in turn.

    Raises:
        ValueError: it cannot be run so.
    """
    manifest = read_manifest(program)
    found: dict[int, list[float]] = {width: [] for width in widths}
    for _ in range(_ROUNDS):
        for width in widths:
            found[width].append(milliseconds(program / manifest.program.name, [width]))
    share = {width: statistics.median(times) / layers for width, times in found.items()}
    return [dict(share) for _ in range(layers)]


def milliseconds(program: Path, widths: Sequence[int]) -> float:
    """Time a token's decode at these widths with the C++ runner: the median of a run, one thread."""
    words = ["--threads", "1", "--width", ",".join(map(str, widths))]
    words += ["--prompt-length", str(_CONTEXT), "--generate", str(_TOKENS), "--runs", "1"]
    return float(benchmark(program, words)["decode"][str(_CONTEXT)]["ms_per_token_p50"][0])


def benchmark(program: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run the C++ runner's benchmark in a process of its own and read its JSON.

    Raises:
        ValueError: the runner's own sentence, if it refuses.
    """
    command = [str(runner_path()), "--model", str(program), "--benchmark", *words]
    done = subprocess.run(command, env=runner_environment(), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1].removeprefix("lowbit_runner: "))
    result: dict[str, Any] = json.loads(done.stdout)
    return result
