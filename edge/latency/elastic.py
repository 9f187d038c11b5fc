"""Compare an elastic program with the programs of its slices: speed, memory, and pages of the file.

    python -m edge.latency.elastic --model PARENT --output compared
    python -m edge.latency.elastic --model 125M --random-weights --output compared

exports the parent as one elastic program and each width by itself, and runs them in turns with the C++
runner, each run in a process of its own. Pages of the file that are in memory behind a run are those that it
touched, and their neighbours that the system read with them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.checkpoints.random_weights import random_parent
from edge.checkpoints.write import save_checkpoint
from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.formats.elastic import ELASTIC_WIDTHS
from edge.model.config import NAMED_MODELS
from edge.quantize.mix.costs import benchmark
from edge.quantize.table.cells import run
from edge.runtime.manifest import MANIFEST_NAME, PROGRAM_NAME, read_manifest

_SEED = 0


@dataclass(frozen=True)
class ElasticFlags:
    """Flags of ``python -m edge.latency.elastic``."""

    model: str = flag("parent of 8 bits; with --random-weights a published shape, as 125M")
    output: Path = flag("directory for the programs, which another call uses again")
    random_weights: bool = flag("a random parent, to measure speed and memory", default=False)
    widths: str = flag("with commas", default="2,3,4,6,8")
    rounds: int = flag("runs of each, in turns", default=7)
    context: int = flag("tokens in the KV cache before decode is timed", default=256)
    generate: int = flag("tokens that are decoded and timed", default=32)
    threads: int = flag("threads of the runner", default=1)

    def parsed_widths(self) -> list[int]:
        words = self.widths.split(",")
        if not all(word.isdecimal() and int(word) in ELASTIC_WIDTHS for word in words):
            raise ValueError(f"--widths takes some of 2 to 8 with commas, not {self.widths!r}")
        return [int(word) for word in words]


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(ElasticFlags, argv, "edge.latency.elastic", str(__doc__))
    widths = flags.parsed_widths()
    if flags.random_weights and flags.model not in NAMED_MODELS:
        raise ValueError(f"--random-weights needs one of {', '.join(NAMED_MODELS)}, not {flags.model}")
    refuse_unwritable(flags.output)
    elastic, own = _programs(flags, widths)
    runs: dict[tuple[int, bool], list[dict[str, Any]]] = {}
    for _ in range(flags.rounds):
        for width in widths:
            for is_elastic in (True, False):
                program, chosen = (elastic, ["--width", str(width)]) if is_elastic else (own[width], [])
                runs.setdefault((width, is_elastic), []).append(_run(program, flags, chosen))
    print(_table(flags, widths, runs, elastic))
    return 0


def _programs(flags: ElasticFlags, widths: Sequence[int]) -> tuple[Path, dict[int, Path]]:
    """Export what is missing; returns the elastic program's directory and those of the slices."""
    model = flags.model
    if flags.random_weights:
        model = str(flags.output / "parent")
        if not Path(model).is_dir():
            save_checkpoint(random_parent(NAMED_MODELS[flags.model], _SEED), Path(model))
    programs = {bits: flags.output / bits for bits in ("elastic", *map(str, widths))}
    for bits, directory in programs.items():
        if not (directory / MANIFEST_NAME).is_file():
            run("export.to_pte", "--bits", bits, "--model", model, "--output", str(directory))
    return programs["elastic"], {width: programs[str(width)] for width in widths}


def _run(program: Path, flags: ElasticFlags, chosen: Sequence[str]) -> dict[str, Any]:
    words = ["--prompt-length", "8", "--context", str(flags.context)]
    words += ["--generate", str(flags.generate), "--runs", "1", "--threads", str(flags.threads), *chosen]
    return benchmark(program / PROGRAM_NAME, words)


def _table(
    flags: ElasticFlags,
    widths: Sequence[int],
    runs: dict[tuple[int, bool], list[dict[str, Any]]],
    elastic: Path,
) -> str:
    manifest = read_manifest(elastic)
    linears = manifest.part_bytes["linears"]
    others = manifest.program.bytes - linears
    lines = [
        f"{manifest.model}, {manifest.weights} weights, kernel {runs[widths[0], True][0]['kernel']}, "
        f"{flags.threads} thread, decode of {flags.generate} tokens behind {flags.context}, medians of "
        f"{flags.rounds} rounds in turns; linears {linears:,} of {manifest.program.bytes:,} bytes",
        "",
        "| bits | elastic, tok/s | own program | ratio (least-most) | elastic, MB | own program "
        "| share of the linears touched |",
        "|---|---|---|---|---|---|---|",
    ]
    for width in widths:
        pair = [runs[width, True], runs[width, False]]
        speeds = [[r["decode"][str(flags.context)]["tokens_per_second"][0] for r in each] for each in pair]
        ratios = sorted(a / b for a, b in zip(*speeds, strict=True))
        used = [statistics.median(_memory(r) for r in each) / 1e6 for each in pair]
        # An upper bound: everything beside the linears counts as touched too.
        touched = (statistics.median(r["memory"]["model_file_bytes"] for r in pair[0]) - others) / linears
        lines.append(
            f"| {width} | {statistics.median(speeds[0]):.0f} | {statistics.median(speeds[1]):.0f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) "
            f"| {used[0]:.1f} | {used[1]:.1f} | {'' if width > 2 else f'{touched:.3f}'} |"
        )
    return "\n".join(lines)


def _memory(result: dict[str, Any]) -> int:
    """Count the bytes that the process holds: its own, and the pages of the model's file."""
    return int(result["memory"]["anonymous_bytes"] + result["memory"]["model_file_bytes"])


if __name__ == "__main__":
    main_guard(main)
