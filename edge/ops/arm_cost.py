"""Estimate what decode costs on ARM cores: llvm-mca simulates the instructions of whole blocks.

    python -m edge.ops arm-cost

traces what the ARM kernels run for a block of 16 rows (arm_trace.py) and asks llvm-mca how many cycles that
takes, block after block. It needs no ARM machine and times nothing. llvm-mca takes every load from the first
cache and every branch as foreseen, and is only as accurate as LLVM's table of a core's instructions. LLVM 14,
Debian's default, uses the Cortex-A57's table for the A76 and the X1; Debian's llvm-19 has a table for each.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge.ops.arm_trace import Product, Tracer, build_probe

WIDTHS = (1, 2, 3, 4, 8)
BASELINE = 4
# Products of models: gate and up of k 576 and 2048, and a projection back to the residual of k 1536.
SHAPES = ((576, True), (1536, False), (2048, True))
GROUPS = (0, 128, 32)
LLVM_VERSIONS = range(25, 13, -1)
_ITERATIONS = 3  # blocks in a row: each has some thousands of instructions

BlockOf = Callable[[str, Product], list[str]]  # of a kernel's name and a product


@dataclass(frozen=True)
class Core:
    """A core, the kernel that runs there, and a clock it is often sold with."""

    name: str
    mcpu: str  # LLVM's name for a core with the same pipelines
    model: str  # LLVM's name for the table of these pipelines; older versions lack some
    kernel: str
    clock_ghz: float


CORES = (
    Core("Cortex-A76, Neoverse-N1", "neoverse-n1", "N1", "dotprod", 2.4),
    Core("Cortex-X1", "neoverse-v1", "V1", "dotprod", 2.8),
    Core("Neoverse-V1", "neoverse-v1", "V1", "i8mm", 2.6),
    Core("Cortex-A55", "cortex-a55", "CortexA55", "dotprod", 1.8),
    Core("Cortex-A53", "cortex-a53", "A53", "neon", 1.5),
)


@dataclass(frozen=True)
class Estimate:
    """Estimate what a block of a product costs on a core."""

    product: Product
    instructions: int
    cycles: float

    @property
    def instructions_per_1000(self) -> float:
        return self.instructions / self.product.weights * 1000

    @property
    def cycles_per_1000(self) -> float:
        return self.cycles / self.product.weights * 1000

    @property
    def bytes_per_cycle(self) -> float:
        """Bytes of codes that a core must be given each cycle."""
        return self.product.weights * self.product.bits / 8 / self.cycles


class CostError(Exception):
    """Error whose message says what is missing or failed, and what to do."""


def find_mca() -> str:
    """Find the newest llvm-mca: later versions know more cores. Raises CostError where there is none."""
    for name in (*(f"llvm-mca-{version}" for version in LLVM_VERSIONS), "llvm-mca"):
        path = shutil.which(name)
        if path is not None:
            return path
    raise CostError("llvm-mca is missing: apt-get install llvm-19")


def estimate(mca: str, core: Core, product: Product, block: list[str]) -> Estimate:
    """Return what a block costs when the same block follows. Raises CostError."""
    options = [f"--iterations={_ITERATIONS}", "--instruction-info=false", "--resource-pressure=false"]
    # llvm-mca charges a call 100 cycles for what it does not see. The trace has that, so calls become jumps.
    jumps = [re.sub(r"^bl(r?)\b", r"b\1", instruction) for instruction in block]
    cycles = _simulate([mca, *options], core, jumps, r"Total Cycles:\s+(\d+)")
    return Estimate(product, len(block), int(cycles) / _ITERATIONS)


def model_of(mca: str, core: Core) -> str:
    """Return LLVM's name for the table that it uses for a core. Raises CostError."""
    return _simulate([mca], core, ["nop"], r"- (\w+?)Unit")


def _simulate(command: list[str], core: Core, block: list[str], pattern: str) -> str:
    options = ["-mtriple=aarch64", f"-mcpu={core.mcpu}", "-mattr=+dotprod,+i8mm"]
    result = _run([*command, *options], stdin="\n".join(block))
    found = re.search(pattern, result.stdout)
    if result.returncode != 0 or found is None:
        raise CostError(f"llvm-mca cannot simulate kernel {core.kernel}: {result.stderr.strip()[-500:]}")
    return found[1]


def estimates(mca: str, core: Core, block_of: BlockOf) -> list[Estimate]:
    """Return what every product costs on a core. Raises CostError or TraceError."""
    products = [Product(bits, *shape) for shape in _shapes() for bits in WIDTHS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda p: estimate(mca, core, p, block_of(core.kernel, p)), products))


def _shapes() -> list[tuple[int, int, bool]]:
    return [(columns, group, gate_up) for columns, gate_up in SHAPES for group in GROUPS]


def ratios(results: list[Estimate]) -> dict[Product, float]:
    """Return each product's cycles over those of 4 bits, of the same shape and groups."""
    cycles = {result.product: result.cycles for result in results}
    baseline = {(p.columns, p.group): taken for p, taken in cycles.items() if p.bits == BASELINE}
    return {p: taken / baseline[p.columns, p.group] for p, taken in cycles.items()}


def report() -> Iterator[str]:
    """Yield a heading and one table per core, as text. Raises CostError, TraceError or CrossBuildError."""
    mca = find_mca()
    version = re.search(r"version (\S+)", _run([mca, "--version"]).stdout)
    with tempfile.TemporaryDirectory(prefix="edge-arm-cost-") as scratch:
        tracer = Tracer(build_probe(Path(scratch)))
        yield (
            "Estimates from a model of the core, not timings: whole blocks of decode, every load from the\n"
            "first cache, no branch mispredicted. Groups have a scale and a zero each. 1.58 bits run as 2.\n"
            f"llvm-mca {version[1] if version else 'of unknown version'}"
        )
        block_of = functools.cache(tracer.block)
        for core in CORES:
            yield _core_table(core, model_of(mca, core), estimates(mca, core, block_of))


def _core_table(core: Core, model: str, results: list[Estimate]) -> str:
    of_baseline = ratios(results)
    lines = [
        f"\n{core.name}, kernel {core.kernel}, -mcpu={core.mcpu}",
        *([] if model == core.model else [f"  (by the model of {model}: this LLVM has none of the core)"]),
        "  per 1000 weights:                instructions  cycles  of 4 bits'  bytes/cycle"
        f"  GB/s asked at {core.clock_ghz} GHz",
    ]
    for result in results:
        product = result.product
        fused = "gate, up" if product.gate_up else "residual"
        group = f"group {product.group}" if product.group else "row"
        lines.append(
            f"  k {product.columns:<4}  {fused}  {group:<9}  {product.bits} bits"
            f"  {result.instructions_per_1000:12.0f}  {result.cycles_per_1000:6.1f}"
            f"  {of_baseline[product]:10.2f}  {result.bytes_per_cycle:11.2f}"
            f"  {result.bytes_per_cycle * core.clock_ghz:24.1f}"
        )
    return "\n".join([*lines, _summary(of_baseline)])


def _summary(of_baseline: dict[Product, float]) -> str:
    """Say the range of the ratios of each width below 4 bits."""
    parts = []
    for bits in (width for width in WIDTHS if width < BASELINE):
        found = [ratio for product, ratio in of_baseline.items() if product.bits == bits]
        parts.append(f"{bits} bits {min(found):.2f} to {max(found):.2f}")
    return f"  of 4 bits' cycles: {', '.join(parts)}"


def _run(command: list[str], stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True)
