"""Trace the instructions with which an ARM kernel multiplies one block of a table, under qemu.

qemu runs csrc/tools/decode_probe.cc one instruction at a time and logs each address; objdump says which
instruction lies there. What runs between two passes over the same instruction of the loop over blocks is one
block: its start, its inner loops with their flushes, what ends a group, scales, SiLU and stores.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.ops import cross_build

QEMU = "qemu-aarch64"
OBJDUMP = "aarch64-linux-gnu-objdump"
BLOCK_ROWS = 16
PROBE = "lowbit_decode_probe"
_BLOCKS = 3  # the second is like any other: the first may do what is done once, the last what ends the loop
_LOOP_OVER_BLOCKS = ("multiply_", "linear_blocks")  # in names of functions of csrc/kernels/generic


class TraceError(Exception):
    """Error whose message says what is missing or failed, and what to do."""


@dataclass(frozen=True)
class Product:
    """A packed table times one token, with what is fused behind it."""

    bits: int
    columns: int
    group: int  # columns that share a scale and a zero; 0: one scale per row and one zero for the table
    gate_up: bool  # two tables give SiLU(gate) * up; else a residual is added

    @property
    def weights(self) -> int:
        """Weights of one block of the result."""
        return BLOCK_ROWS * self.columns * (2 if self.gate_up else 1)

    def arguments(self) -> list[str]:
        """Return the arguments of the probe that follow the kernel's name."""
        numbers = (self.columns, self.group, int(self.group != 0), int(self.gate_up), _BLOCKS)
        return [f"bits{self.bits}", *map(str, numbers)]


def build_probe(build: Path) -> Path:
    """Cross-compile the probe in the folder ``build``, with the flags of the real build.

    Raises:
        TraceError: a tool is missing.
        CrossBuildError: the build fails.
    """
    missing = cross_build.missing_tools()
    if shutil.which(QEMU) is None:
        missing.append(f"{QEMU} is missing: apt-get install qemu-user")
    if missing:
        raise TraceError("; ".join(missing))
    cross_build.configure(build, ["-DEDGE_CORE_ONLY=ON", "-DCMAKE_EXE_LINKER_FLAGS=-static"])
    cross_build.build(build, PROBE)
    return build / PROBE


class Tracer:
    """A built probe, ready to run."""

    def __init__(self, probe: Path) -> None:
        self._probe = probe
        self._instructions = _disassemble(probe)
        newer = "-one-insn-per-tb"  # qemu 8.1 renamed the option
        self._step = newer if newer in _run([QEMU, "-help"]).stdout else "-singlestep"

    def block(self, kernel: str, product: Product) -> list[str]:
        """Return the instructions of one block of the product, in the order in which they ran.

        Raises:
            TraceError: the probe fails, or its loop over blocks cannot be found.
        """
        log = ["-d", "exec,nochain"]
        command = [QEMU, "-cpu", "max", self._step, *log, str(self._probe), kernel, *product.arguments()]
        result = _run(command)
        if result.returncode != 0:
            raise TraceError(f"{PROBE} failed under {QEMU}:\n{result.stderr.strip()[-500:]}")
        addresses = _block_of(re.findall(r"^Trace .*?/([0-9a-f]+)/.*\] ?(.*)$", result.stderr, re.MULTILINE))
        return [self._instructions[address] for address in addresses]


def _block_of(steps: list[tuple[str, str]]) -> list[int]:
    """Cut one block out of all steps, (address, function): between two passes over what runs once a block."""
    passes: dict[str, list[int]] = {}
    for index, (address, function) in enumerate(steps):
        if any(name in function for name in _LOOP_OVER_BLOCKS):
            passes.setdefault(address, []).append(index)
    once = next((found for found in passes.values() if len(found) == _BLOCKS), None)
    if once is None:
        raise TraceError(f"no instruction of {' or '.join(_LOOP_OVER_BLOCKS)} runs once for each block")
    return [int(address, 16) for address, _ in steps[once[1] : once[2]]]


def _disassemble(program: Path) -> dict[int, str]:
    """Return the instruction at each address, without the targets of branches, which need labels."""
    text = _run([OBJDUMP, "-d", "--no-show-raw-insn", str(program)]).stdout
    found = re.findall(r"^ +([0-9a-f]+):\t([^/\n]*)", text, re.MULTILINE)
    return {int(a, 16): re.sub(r"\b[0-9a-f]+ <.*", "#0", line).strip() for a, line in found}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)
