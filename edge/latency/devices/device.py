"""What measuring needs of a device, whichever it is."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from edge.latency.schema import DeviceRecord

Tool = Literal["lowbit_runner", "lowbit_kernel_bench", "lowbit_kernel_check"]
#: A hung program is a failed one. A minute's work at the most, even of a large model on a slow core.
TIMEOUT_SECONDS = 1800.0


class DeviceError(OSError):
    """The device itself cannot be used: a sentence with the cure. A program's own failure is an Ended."""


@dataclass(frozen=True)
class Ended:
    """How a tool ended. ``returncode`` is negative for a signal, as in subprocess."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def failure(self) -> str | None:
        """None for success; else the tool's own last sentence, or which signal ended it."""
        if self.returncode == 0:
            return None
        if self.returncode == -signal.SIGKILL:
            return "was killed (SIGKILL), as the system does when memory runs out"
        if self.returncode < 0:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"ended with exit code {self.returncode}"


class Device(AbstractContextManager["Device"], Protocol):
    """Entering prepares the device and leaves nothing there on exit. Every method may raise DeviceError."""

    @property
    def record(self) -> DeviceRecord: ...

    def install(self, program: Path) -> str:
        """Makes a file available on the device, once; returns its path there."""

    def run(self, tool: Tool, arguments: Sequence[str]) -> Ended:
        """Runs a tool to its end on the chosen cores; a timeout reads as a failure of the tool."""

    def output_path(self, name: str) -> str:
        """A path on the device that a tool may write to."""

    def fetch(self, remote: str) -> bytes:
        """Reads a file that a tool wrote, and removes it there."""

    def current_khz(self) -> int | None:
        """The highest frequency among the used cores now; None where it is not readable."""
