"""Print results as a table, and write them with their circumstances as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.table import Table

from edge.ops.triton.benchmark.candidates import BASELINE
from edge.ops.triton.benchmark.measure import Result

_PACKAGES = ("torch", "triton", "torchao", "gemlite")


@dataclass(frozen=True)
class Circumstances:
    """Hold what the times depend on.

    Attributes:
        copy_bytes_per_second: read and written by a copy of a gigabyte.
        empty_microseconds: of the smallest graph; every time includes about as much.
        left_out: opponents that were not measured, and why.
    """

    gpu: str
    compute_capability: str
    versions: dict[str, str]
    activations: str
    group_size: int | None
    rounds: int
    copy_bytes_per_second: float
    empty_microseconds: float
    left_out: dict[str, str]


def installed_versions() -> dict[str, str]:
    """Versions of the packages that are compared, and of CUDA."""
    found = {"cuda": str(torch.version.cuda)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def table_of(results: Sequence[Result], copy_bandwidth: float) -> Table:
    """A row for each result; speed-ups are over cuBLAS at the same shape and batch."""
    table = Table(title="Times in microseconds: median (percentiles 10 to 90)", title_justify="left")
    for column in ("n x k", "batch", "kernel", "time", "over cuBLAS", "of a copy's bandwidth"):
        table.add_column(column)
    baselines = {(r.n, r.k, r.batch): r for r in results if r.name == BASELINE}
    for result in results:
        low, middle, high = result.speedup(baselines[result.n, result.k, result.batch])
        table.add_row(
            f"{result.n} x {result.k}",
            str(result.batch),
            result.name,
            f"{result.median:.1f} ({result.spread[0]:.1f} to {result.spread[1]:.1f})",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
            f"{result.bandwidth_share(copy_bandwidth):.2f}",
        )
    return table


def json_of(circumstances: Circumstances, results: Sequence[Result]) -> str:
    """All times with their circumstances; nothing derived."""
    return json.dumps({**asdict(circumstances), "results": [asdict(r) for r in results]}, indent=1) + "\n"
