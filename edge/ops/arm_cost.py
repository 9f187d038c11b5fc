"""Estimate what decode costs on ARM cores: llvm-mca simulates our inner loops.

    python -m edge.ops arm-cost

compiles the ARM kernels as the cross build does, finds the decode loops in their assembly (``EDGE_LOOP`` in
csrc/kernels marks them), and asks llvm-mca how many cycles a loop takes when all loads hit the first cache.
It needs no ARM machine and times nothing. llvm-mca models neither caches nor memory, and is only as accurate
as LLVM's table of a core's instructions. LLVM 14, Debian's default, uses the Cortex-A57's table for the A76
and the X1; Debian's llvm-19 has a table for each.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge.ops import cross_build

ROWS = 16  # of a block: one pass of a loop multiplies ROWS x columns weights
BASELINE = "4 bits"
LLVM_VERSIONS = range(25, 13, -1)
_ITERATIONS = 500


@dataclass(frozen=True)
class Core:
    """A core, the kernel that runs there, and a clock it is often sold with."""

    name: str
    mcpu: str  # LLVM's name for a core with the same pipelines
    model: str  # LLVM's name for the table of these pipelines; older versions lack some
    kernel: str
    clock_ghz: float


CORES = (
    Core("Cortex-A76", "neoverse-n1", "N1", "dotprod", 2.4),
    Core("Cortex-X1", "neoverse-v1", "V1", "dotprod", 2.8),
    Core("Neoverse-V1", "neoverse-v1", "V1", "i8mm", 2.6),
    Core("Cortex-A55", "cortex-a55", "CortexA55", "dotprod", 1.8),
    Core("Cortex-A53", "cortex-a53", "A53", "neon", 1.5),
)


@dataclass(frozen=True)
class Loop:
    """The decode loop of one format: its instructions and what one pass multiplies."""

    name: str
    columns: int
    assembly: str

    @property
    def weights(self) -> int:
        return ROWS * self.columns

    @property
    def weight_bytes(self) -> int:
        return self.weights * int(self.name.split()[0]) // 8


@dataclass(frozen=True)
class Estimate:
    loop: Loop
    cycles: float  # per pass

    @property
    def cycles_per_1000(self) -> float:
        return self.cycles / self.loop.weights * 1000

    @property
    def bytes_per_cycle(self) -> float:
        return self.loop.weight_bytes / self.cycles


class CostError(Exception):
    """Error whose message says what is missing or failed, and what to do."""


def find_mca() -> str:
    """Find the newest llvm-mca: later versions know more cores. Raises CostError where there is none."""
    for name in (*(f"llvm-mca-{version}" for version in LLVM_VERSIONS), "llvm-mca"):
        path = shutil.which(name)
        if path is not None:
            return path
    raise CostError("llvm-mca is missing: apt-get install llvm-19")


def compile_kernels(names: set[str]) -> dict[str, str]:
    """Compile each kernel to assembly with its loops marked, with the flags of the real build.

    Raises:
        CostError: a tool is missing or a kernel does not compile.
    """
    missing = cross_build.missing_tools()
    if missing:
        raise CostError("; ".join(missing))
    with tempfile.TemporaryDirectory(prefix="edge-arm-cost-") as scratch:
        build = Path(scratch)
        cross_build.configure(build, ["-DEDGE_CORE_ONLY=ON", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"])
        commands = json.loads((build / "compile_commands.json").read_text())
        by_name = {Path(entry["file"]).stem.removeprefix("kernel_"): entry for entry in commands}
        return {name: _assemble(by_name[name]) for name in sorted(names)}


def _assemble(entry: dict[str, str]) -> str:
    command = shlex.split(entry["command"])
    del command[command.index("-o") : command.index("-o") + 2]
    command[command.index("-c")] = "-S"
    result = _run([*command, "-DEDGE_MARK_LOOPS", "-o", "-"], cwd=entry["directory"])
    if result.returncode != 0:
        raise CostError(f"cannot compile {entry['file']}:\n{result.stderr.strip()[-2000:]}")
    return result.stdout


def decode_loops(assembly: str) -> dict[str, Loop]:
    """Find the marked loops, by format; a loop that was inlined twice counts once.

    Raises:
        CostError: a mark is in no loop.
    """
    lines = assembly.splitlines()
    loops: dict[str, Loop] = {}
    for index, line in enumerate(lines):
        mark = re.search(r"EDGE_LOOP (\d bits?) (\d+)", line)
        if mark and mark[1] not in loops:
            loops[mark[1]] = Loop(mark[1], int(mark[2]), "\n".join(_loop_around(lines, index)))
    return loops


def _loop_around(lines: list[str], index: int) -> list[str]:
    """Return the lines from the label above the mark to the branch back to it."""
    first = next((i for i in range(index, -1, -1) if re.match(r"\.L\w+:", lines[i])), None)
    if first is not None:
        label = re.escape(lines[first].rstrip(":"))
        for last in range(index, len(lines)):
            if re.match(rf"\t(b\S*|cbn?z|tbn?z)\t.*{label}$", lines[last]):
                return [line for line in lines[first + 1 : last + 1] if re.match(r"\t[a-z]", line)]
    raise CostError(f"the mark {lines[index].strip()!r} stands in no loop of the assembly")


def estimate(mca: str, core: Core, loop: Loop) -> tuple[Estimate, str]:
    """Return the cycles of a pass in the steady state, and the name of LLVM's model."""
    options = ["-mtriple=aarch64", f"-mcpu={core.mcpu}", f"--iterations={_ITERATIONS}"]
    result = _run([mca, *options, "--instruction-info=false"], stdin=loop.assembly)
    cycles = re.search(r"Total Cycles:\s+(\d+)", result.stdout)
    model = re.search(r"- (\w+?)Unit", result.stdout)
    if result.returncode != 0 or cycles is None or model is None:
        raise CostError(
            f"llvm-mca cannot simulate {core.kernel}'s {loop.name}: {result.stderr.strip()[-500:]}"
        )
    return Estimate(loop, int(cycles[1]) / _ITERATIONS), model[1]


def report() -> str:
    """Return one table per core, as text. Raises CostError."""
    mca = find_mca()
    assemblies = compile_kernels({core.kernel for core in CORES})
    loops = {kernel: decode_loops(text) for kernel, text in assemblies.items()}
    version = re.search(r"version (\S+)", _run([mca, "--version"]).stdout)
    parts = [
        "Estimates from a model of the core, not timings: the inner loop of decode, all loads from L1.",
        f"llvm-mca {version[1] if version else 'of unknown version'}",
    ]
    return "\n".join(parts + [_core_table(mca, core, loops[core.kernel]) for core in CORES])


def _core_table(mca: str, core: Core, loops: dict[str, Loop]) -> str:
    results = [estimate(mca, core, loops[name]) for name in sorted(loops)]
    estimates, model = [result[0] for result in results], results[0][1]
    (baseline,) = (e.cycles_per_1000 for e in estimates if e.loop.name == BASELINE)
    lines = [
        "",
        f"{core.name}, kernel {core.kernel}, -mcpu={core.mcpu}",
        *([] if model == core.model else [f"  (by the model of {model}: this LLVM has none of the core)"]),
        f"  weights  cycles/1000  of 4 bits'  weight bytes/cycle  GB/s asked at {core.clock_ghz} GHz",
    ]
    for e in estimates:
        lines.append(
            f"  {e.loop.name:<7}  {e.cycles_per_1000:11.1f}  {e.cycles_per_1000 / baseline:10.2f}"
            f"  {e.bytes_per_cycle:18.2f}  {e.bytes_per_cycle * core.clock_ghz:21.1f}"
        )
    return "\n".join(lines)


def _run(
    command: list[str], stdin: str | None = None, cwd: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, cwd=cwd, capture_output=True, text=True)
