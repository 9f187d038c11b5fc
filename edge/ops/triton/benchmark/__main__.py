"""Measure the low-bit GPU kernels beside cuBLAS and the 4-bit kernels of torchao and gemlite.

Every kernel is verified before it is timed. Candidates take turns; each time is of one CUDA graph, after the
L2 cache was overwritten. Short products take little longer than an empty graph, whose time the JSON names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from edge.cli import flag, main_guard, parse_flags
from edge.files import write_text
from edge.formats.grid import grid_for_bits
from edge.formats.weight import GROUP_SIZES
from edge.ops.triton.benchmark.candidates import make_cublas, make_opponents, make_ours, random_weight
from edge.ops.triton.benchmark.clock import Clock
from edge.ops.triton.benchmark.measure import Result, measure
from edge.ops.triton.benchmark.report import Circumstances, installed_versions, json_of, table_of
from edge.ops.triton.benchmark.shapes import SHAPES, chosen_shapes
from edge.ops.triton.benchmark.tune import tuned
from edge.ops.triton.checks import INTERPRETED, check_device
from edge.ops.triton.weight import GpuWeight

_BITS = (1, 1.58, 2, 3, 4)
_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}


@dataclass(frozen=True)
class BenchmarkFlags:
    """Flags of ``python -m edge.ops.triton.benchmark``."""

    shapes: str = flag(f"models with commas: {', '.join(SHAPES)}", default=",".join(SHAPES))
    batches: str = flag("numbers of tokens, with commas", default="1,2,4,8,16,32,64")
    bits: str = flag("widths of our kernels, with commas", default="1,1.58,2,3,4")
    activations: Literal["fp16", "bf16", "int8"] = flag(
        "what our kernels multiply; int8 without the rounding of tokens", default="fp16"
    )
    group_size: int | None = flag("columns that share a scale (default: one scale a row)", default=None)
    rounds: int = flag("times of each kernel", default=50)
    tune: bool = flag("search tiles of our kernels instead, and print the best", default=False)
    output: Path | None = flag("JSON file for all times", default=None)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"--rounds must be at least 1, not {self.rounds}")
        if self.group_size not in (None, *GROUP_SIZES):
            raise ValueError(f"--group-size must be 32, 64, 128 or 256, not {self.group_size}")
        if self.tune and self.activations == "int8":
            raise ValueError("--tune searches with fp16 or bf16 activations")
        _ = self.chosen_batches, self.chosen_bits, chosen_shapes(self.shapes)

    @property
    def chosen_batches(self) -> list[int]:
        words = self.batches.split(",")
        if not all(word.strip().isdecimal() and int(word) > 0 for word in words):
            raise ValueError(f"--batches must be positive numbers with commas, not {self.batches}")
        return [int(word) for word in words]

    @property
    def chosen_bits(self) -> list[float]:
        return [grid_for_bits(word.strip(), _BITS).bits for word in self.bits.split(",")]


def find_gpu() -> str:
    """The name of the GPU; ValueError if there is none that the kernels run on."""
    if not torch.cuda.is_available():
        raise ValueError("the benchmark needs a GPU, and PyTorch finds none here; nothing was measured")
    if INTERPRETED:
        raise ValueError(
            "TRITON_INTERPRET is set, which runs the kernels in Python; unset it to measure them"
        )
    check_device(torch.device("cuda"))
    return torch.cuda.get_device_name()


def run(flags: BenchmarkFlags, clock: Clock, device: str) -> tuple[list[Result], dict[str, str]]:
    """Measure all shapes and batches; also say why opponents were left out."""
    results: list[Result] = []
    left_out: dict[str, str] = {}
    for n, k in chosen_shapes(flags.shapes):
        weight = torch.randn(n, k, device=device).half() / 64
        dtype = _DTYPES[flags.activations]
        ours = [make_ours(bits, n, k, flags.group_size, dtype, device) for bits in flags.chosen_bits]
        opponents, reasons = make_opponents(weight)
        left_out |= {f"{name} at {n} x {k}": reason for name, reason in reasons.items()}
        for batch in flags.chosen_batches:
            x = torch.randn(batch, k, device=device).half()
            measured, reasons = measure([make_cublas(weight), *ours, *opponents], x, clock, flags.rounds)
            results += measured
            left_out |= {f"{name} at {n} x {k}, batch {batch}": why for name, why in reasons.items()}
    return results, left_out


def circumstances_of(
    flags: BenchmarkFlags, gpu: str, clock: Clock, left_out: dict[str, str]
) -> Circumstances:
    """Collect what the times depend on; measures a copy and an empty graph."""
    major, minor = torch.cuda.get_device_capability()
    return Circumstances(
        gpu=gpu,
        compute_capability=f"{major}.{minor}",
        versions=installed_versions(),
        activations=flags.activations,
        group_size=flags.group_size,
        rounds=flags.rounds,
        copy_bytes_per_second=clock.copy_bandwidth(flags.rounds),
        empty_microseconds=clock.empty_microseconds(flags.rounds),
        left_out=left_out,
    )


def tune(flags: BenchmarkFlags, clock: Clock, console: Console) -> None:
    """Print the best tiles of every shape, batch and width beside those of the table."""
    for n, k in chosen_shapes(flags.shapes):
        for bits in flags.chosen_bits:
            weight = GpuWeight.of(random_weight(bits, n, k, flags.group_size, "cuda"), "cuda")
            for batch in flags.chosen_batches:
                x = torch.randn(batch, k, device="cuda", dtype=_DTYPES[flags.activations])
                (best, tiles), (usual, table) = tuned(weight, x, clock)
                console.print(
                    f"{n} x {k}, batch {batch}, {bits:g} bits: {best:.1f} us with {tiles}; "
                    f"{usual:.1f} us with the table's {table}"
                )


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(BenchmarkFlags, argv, "edge.ops.triton.benchmark", __doc__ or "")
    gpu, console = find_gpu(), Console()
    clock = Clock()
    if flags.tune:
        tune(flags, clock, console)
        return 0
    results, left_out = run(flags, clock, "cuda")
    circumstances = circumstances_of(flags, gpu, clock, left_out)
    console.print(table_of(results, circumstances.copy_bytes_per_second))
    for name, reason in circumstances.left_out.items():
        console.print(f"{name} was left out: {reason}", markup=False)
    if flags.output is not None:
        write_text(flags.output, json_of(circumstances, results))
    return 0


if __name__ == "__main__":
    main_guard(main)
