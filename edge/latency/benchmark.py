"""``python -m edge.latency.benchmark``: whole models side by side, random weights, as a Markdown table.

Our programs run in ``lowbit_runner``; opponents are ExecuTorch's XNNPACK 8da4w (group size 32) with the
same embedding, head and attention op, and llama.cpp's types. Every program was verified when it was
exported. The rows take turns, round after round, so that a change of the machine's speed meets them all;
a speed-up is the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import track

from edge.cli import main_guard
from edge.config import MOBILELLM
from edge.latency import llama_cpp
from edge.latency.llama_cpp_build import build
from edge.latency.llama_cpp_models import prepare
from edge.latency.programs import Variant, export_random, run_benchmark
from edge.ops import kernel_bench_path

XNNPACK = "xnnpack-8da4w"


@dataclass(frozen=True)
class Plan:
    """What every row is measured at. ``context`` is the mean context of the decoded tokens."""

    threads: int
    prompt: int
    context: int
    generated: int
    rounds: int

    @property
    def depth(self) -> int:
        return self.context - self.generated // 2


@dataclass(frozen=True)
class Sample:
    """One round of one row; speeds in tokens/s, times in ms, None where a row does not tell."""

    prefill: float
    decode: float
    load_ms: float | None = None
    first_token_ms: float | None = None
    peak_bytes: int | None = None
    kernel: str | None = None


@dataclass
class Row:
    """A program and its samples.

    Attributes:
        file_bytes: the program's size.
        cache_bytes: its KV cache as far as the positions used reach, 0 where unknown.
        read_seconds: per round, a pure read of the program's bytes, one thread.
    """

    name: str
    file_bytes: int
    cache_bytes: int
    run: Callable[[], Sample]
    path: Path | None = None
    samples: list[Sample] = field(default_factory=list)
    read_seconds: list[float] = field(default_factory=list)


def our_row(size: str, variant: Variant, plan: Plan, directory: Path) -> Row:
    program = export_random(size, variant, directory)

    def run() -> Sample:
        got = run_benchmark(program.path, plan.threads, plan.prompt, plan.depth, plan.generated)
        return Sample(
            got["prefill_tokens_per_second"][0],
            got["decode_tokens_per_second"][0],
            got["load_ms"],
            got["time_to_first_token_ms"],
            got["memory"]["peak_resident_bytes"],
            got["kernel"],
        )

    manifest = program.manifest
    positions = max(plan.prompt, plan.depth + plan.generated)
    cache_bytes = manifest.kv_cache_bytes * positions // manifest.max_seq_len
    return Row(variant.name, manifest.program.bytes, cache_bytes, run, program.path)


def llama_rows(size: str, types: Sequence[str], plan: Plan, directory: Path) -> list[Row]:
    if not types:
        return []
    binaries = build(directory)

    def row(model: llama_cpp.QuantizedModel) -> Row:
        def run() -> Sample:
            prefill = llama_cpp.bench(binaries, model.path, plan.threads, prompt_tokens=plan.prompt)
            decode = llama_cpp.bench(
                binaries, model.path, plan.threads, generated_tokens=plan.generated, depth=plan.depth
            )
            return Sample(prefill.prefill[0], decode.decode[0])

        return Row(f"llama.cpp {model.type_name}", model.file_bytes, 0, run)

    return [row(model) for model in prepare(binaries, directory / "models", size, types)]


def read_seconds(path: Path) -> float:
    """A pure read of a file's bytes from memory, one thread: the best of a few passes."""
    result = subprocess.run(
        [str(kernel_bench_path()), "--read", str(path)], capture_output=True, text=True, check=True
    )
    return float(result.stdout)


def measure(rows: list[Row], rounds: int) -> None:
    """A warm-up round that does not count, then ``rounds`` that do, all rows in turn."""
    for index in track(range(rounds + 1), "measuring", transient=True):
        for row in rows:
            sample = row.run()
            seconds = None if row.path is None else read_seconds(row.path)
            if index > 0:
                row.samples.append(sample)
                if seconds is not None:
                    row.read_seconds.append(seconds)


def table(rows: list[Row], plan: Plan, size: str) -> str:
    """The rows as Markdown: speeds, times, memory, and speed-ups over each opponent."""
    opponents = [row for row in rows if row.name.startswith(("4 bits", XNNPACK, "llama.cpp"))]
    heads = ["program", "file MB", f"decode tok/s at {plan.context}", f"prefill({plan.prompt}) tok/s"]
    heads += ["load ms", "first token ms", "peak / (file + cache)", "read / token time"]
    lines = [circumstances(rows, plan, size), "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    for title, pick in (("decode", _decode), (f"prefill({plan.prompt})", _prefill)):
        lines += ["", f"| {title}: speed over | " + " | ".join(o.name for o in opponents) + " |"]
        lines += ["|---" * (len(opponents) + 1) + "|"]
        for row in rows:
            ratios = [statistics.median(_ratios(row, o, pick)) for o in opponents]
            lines.append(f"| {row.name} | " + " | ".join(f"{ratio:.2f}x" for ratio in ratios) + " |")
    return "\n".join(lines)


def circumstances(rows: list[Row], plan: Plan, size: str) -> str:
    kernels = sorted({s.kernel for row in rows for s in row.samples if s.kernel})
    return (
        f"MobileLLM {size}, random weights, 8-bit embedding and head, {plan.threads} thread(s) on {_cpu()} "
        f"({os.cpu_count()} cores), kernel {', '.join(kernels)}; greedy argmax not included; median "
        f"(least-most) of {plan.rounds} interleaved rounds."
    )


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _decode(sample: Sample) -> float:
    return sample.decode


def _prefill(sample: Sample) -> float:
    return sample.prefill


def _ratios(row: Row, other: Row, pick: Callable[[Sample], float]) -> list[float]:
    return [pick(a) / pick(b) for a, b in zip(row.samples, other.samples, strict=True)]


def _cells(row: Row) -> list[str]:
    samples = row.samples
    peaks = [s.peak_bytes for s in samples if s.peak_bytes]
    reads = [r * s.decode for r, s in zip(row.read_seconds, samples, strict=False)]
    return [
        row.name,
        f"{row.file_bytes / 1e6:.1f}",
        _spread([s.decode for s in samples]),
        _spread([s.prefill for s in samples]),
        _median([s.load_ms for s in samples], "{:.0f}"),
        _median([s.first_token_ms for s in samples], "{:.0f}"),
        f"{statistics.median(peaks) / (row.file_bytes + row.cache_bytes):.2f}" if peaks else "-",
        _median(reads, "{:.2f}"),
    ]


def _median(values: Sequence[float | None], form: str) -> str:
    known = [v for v in values if v is not None]
    return form.format(statistics.median(known)) if known else "-"


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.latency.benchmark", description=__doc__)
    parser.add_argument("--size", default="125M", choices=list(MOBILELLM), help="published shape")
    parser.add_argument("--bits", default="1,1.58,2,3,4", help="our programs, separated by commas")
    parser.add_argument(
        "--kv-cache", default="fp32", choices=["fp32", "int8"], help="of all but llama.cpp, whose is float16"
    )
    parser.add_argument("--xnnpack", action="store_true", help="also XNNPACK 8da4w; its export takes minutes")
    parser.add_argument("--llama", default="", help="llama.cpp types, such as TQ1_0,TQ2_0,Q4_0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the timed prefill")
    parser.add_argument("--context", type=int, default=256, help="mean context of the decoded tokens")
    parser.add_argument("--generated", type=int, default=32, help="tokens decoded per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, default=Path("runs"), help="for programs and llama.cpp")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    plan = Plan(args.threads, args.prompt, args.context, args.generated, args.rounds)
    if min(args.threads, args.prompt, args.generated, args.rounds) < 1 or plan.depth < 1:
        raise ValueError("counts must be at least 1, and --context more than half of --generated")
    variants = [Variant(float(bits), kv_cache=args.kv_cache) for bits in args.bits.split(",") if bits]
    variants += [Variant(4, XNNPACK, args.kv_cache)] if args.xnnpack else []
    for variant in variants:
        print(f"exporting {args.size}, {variant.name}", file=sys.stderr)
        export_random(args.size, variant, args.directory / "programs")
    rows = [our_row(args.size, variant, plan, args.directory / "programs") for variant in variants]
    rows += llama_rows(args.size, [t for t in args.llama.split(",") if t], plan, args.directory / "llama.cpp")
    if not rows:
        raise ValueError("there is nothing to measure: give --bits, --xnnpack or --llama")
    measure(rows, plan.rounds)
    print(table(rows, plan, args.size))
    return 0


if __name__ == "__main__":
    main_guard(main)
