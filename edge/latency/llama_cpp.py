"""llama.cpp as the opponent: its own benchmark, on random weights of our shapes.

Command line: ``python -m edge.latency.llama_cpp --sizes 125M --types TQ1_0,TQ2_0,Q4_0 --threads 1``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge.cli import main_guard
from edge.config import MOBILELLM
from edge.latency.llama_cpp_build import BENCH, SOURCE_PACKAGE, build, run_tool
from edge.latency.llama_cpp_models import (
    HEAD_TYPE,
    TYPES,
    QuantizedModel,
    check_type,
    prepare,
    published_shape,
)


@dataclass(frozen=True)
class Speeds:
    """What one run of llama-bench measured, and where.

    Attributes:
        prefill: tokens/s of each repetition; empty where no prompt was asked for.
        decode: tokens/s of each repetition; empty where nothing was generated.
        parameters: of the model as llama.cpp counts them.
        commit: of llama.cpp.
    """

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    cpu: str
    threads: int
    parameters: int
    cache_type: str
    commit: str


def bench(
    binaries: Path,
    model: Path,
    threads: int = 1,
    prompt_tokens: int = 0,
    generated_tokens: int = 0,
    depth: int = 0,
    repetitions: int = 1,
) -> Speeds:
    """One run of llama-bench, short enough to take turns with other programs: load, warm up, measure.

    Prefill and decode each start behind ``depth`` positions that are filled beforehand, untimed: decode at
    context 256 is 32 tokens from depth 240. Decode includes the head but no sampling.

    Raises:
        ValueError: nothing to measure, or a count below its smallest.
        OSError: llama-bench is missing, fails, or reports something else than was asked for.
    """
    if threads < 1 or repetitions < 1 or min(prompt_tokens, generated_tokens, depth) < 0:
        raise ValueError("llama-bench needs 1 thread, 1 repetition and no negative token counts")
    if not prompt_tokens + generated_tokens:
        raise ValueError("llama-bench needs tokens to time: a prompt, tokens to generate, or both")
    counts = {"-t": threads, "-p": prompt_tokens, "-n": generated_tokens, "-d": depth, "-r": repetitions}
    options = [text for option, count in counts.items() for text in (option, str(count))]
    report = run_tool([binaries / BENCH, "-m", model, *options, "-o", "json"], stdout_only=True)
    speeds = parse_bench_report(report)
    asked = [repetitions if tokens else 0 for tokens in (prompt_tokens, generated_tokens)]
    if [len(speeds.prefill), len(speeds.decode), speeds.threads] != [*asked, threads]:
        raise OSError("llama-bench reports other repetitions or threads than were asked for")
    return speeds


def parse_bench_report(report: str) -> Speeds:
    """Reads ``llama-bench -o json``.

    Raises:
        OSError: it is not the JSON this module knows.
    """
    try:
        tests = json.loads(report)
        first = tests[0]
        return Speeds(
            prefill=tuple(float(x) for test in tests if test["n_prompt"] for x in test["samples_ts"]),
            decode=tuple(float(x) for test in tests if test["n_gen"] for x in test["samples_ts"]),
            cpu=str(first["cpu_info"]),
            threads=int(first["n_threads"]),
            parameters=int(first["model_n_params"]),
            cache_type=f"{first['type_k']}/{first['type_v']}",
            commit=str(first["build_commit"]),
        )
    except (ValueError, LookupError, TypeError) as error:
        raise OSError(f"llama-bench's report is not understood: {error!r}") from error


@dataclass(frozen=True)
class Plan:
    """What every row of a table is measured at; token counts, threads and rounds are at least 1.

    Attributes:
        prompt: tokens of the prefill, from an empty cache.
        context: mean context of the decoded tokens.
        generated: tokens decoded in each round.
    """

    threads: int = 1
    prompt: int = 128
    context: int = 256
    generated: int = 32
    rounds: int = 5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, not {value}")
        if self.depth < 0:
            raise ValueError(
                f"--context {self.context} cannot be the mean over --generated {self.generated} tokens: "
                f"take at least {self.generated // 2}"
            )

    @property
    def depth(self) -> int:
        """Positions filled before decoding starts."""
        return self.context - self.generated // 2


@dataclass
class Row:
    """A model's samples over all rounds, in tokens/s."""

    size: str
    model: QuantizedModel
    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)


def measure(binaries: Path, rows: Sequence[Row], plan: Plan) -> Speeds:
    """Fills the rows in turns, so that a slow minute slows them all; returns the last run's circumstances.

    Raises:
        OSError: see ``bench``; also where llama.cpp counts other parameters than the shape has.
    """
    for index in range(plan.rounds):
        print(f"round {index + 1} of {plan.rounds}", file=sys.stderr)
        for row in rows:
            path = row.model.path
            prefill = bench(binaries, path, plan.threads, prompt_tokens=plan.prompt)
            decode = bench(binaries, path, plan.threads, generated_tokens=plan.generated, depth=plan.depth)
            if decode.parameters != published_shape(row.size).parameters:
                raise OSError(f"{path} is not the {row.size} shape: delete it to make it anew")
            row.prefill += prefill.prefill
            row.decode += decode.decode
    return decode


def table(rows: Sequence[Row], where: Speeds, plan: Plan) -> str:
    """The rows as Markdown, under the circumstances they hold for."""
    lines = [
        f"llama.cpp {where.commit} (from {SOURCE_PACKAGE}; Release, GGML_NATIVE=ON) on {where.cpu}, "
        f"{where.threads} {'thread' if where.threads == 1 else 'threads'}; random weights; embedding and "
        f"head {HEAD_TYPE}; KV cache {where.cache_type}; no sampling; median (min-max) of {plan.rounds} "
        "interleaved rounds; files without a tokenizer.",
        "",
        f"| shape | type | file bytes | matrices of another type | prefill of {plan.prompt}, tok/s "
        f"| decode at context {plan.context}, tok/s |",
        "|---|---|---:|---|---:|---:|",
    ]
    for row in rows:
        model = row.model
        lines.append(
            f"| {row.size} | {model.type_name} | {model.file_bytes} | {_fallback_words(model)} "
            f"| {_spread(row.prefill)} | {_spread(row.decode)} |"
        )
    return "\n".join(lines)


def _fallback_words(model: QuantizedModel) -> str:
    if not model.fell_back:
        return f"0 of {model.matrices}"
    return (
        f"{model.fell_back} of {model.matrices} fell back to {', '.join(model.fallback_types)} "
        f"({model.fell_back_share:.0%} of the linear weights)"
    )


def _spread(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.1f} ({min(samples):.1f}-{max(samples):.1f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge.latency.llama_cpp",
        description="Times llama.cpp on random weights of our shapes.",
    )
    parser.add_argument("--sizes", default="125M", help=f"of {', '.join(MOBILELLM)}; separated by commas")
    parser.add_argument("--types", default=",".join(TYPES), help="llama.cpp's types, separated by commas")
    helps = {
        "threads": "of llama.cpp",
        "prompt": "tokens of the prefill",
        "context": "mean context of the decoded tokens",
        "generated": "tokens decoded per round",
        "rounds": "how often every row is measured, in turns",
    }
    for name, text in helps.items():
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name), help=text)
    parser.add_argument("--directory", type=Path, default=Path("runs/llama.cpp"), help="for build and models")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    plan = Plan(args.threads, args.prompt, args.context, args.generated, args.rounds)
    sizes, types = args.sizes.split(","), args.types.split(",")
    for size in sizes:
        published_shape(size)
    for name in types:
        check_type(name)
    binaries = build(args.directory)
    models = args.directory / "models"
    rows = [Row(size, model) for size in sizes for model in prepare(binaries, models, size, types)]
    print(table(rows, measure(binaries, rows, plan), plan))
    return 0


if __name__ == "__main__":
    main_guard(main)
