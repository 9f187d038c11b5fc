"""The protocol of a device, what a kind of device can do, and the record of one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

Tool = Literal["lowbit_runner", "lowbit_kernel_bench", "lowbit_kernel_check"]
#: A program that takes longer counts as failed. Even large models on slow cores need about a minute.
TIMEOUT_SECONDS = 1800.0


class DeviceError(OSError):
    """Error for a device that cannot be used: why, and what to do. A program's own failure is an Ended."""


class LibraryRecord(BaseModel):
    """A native library that the tools ran.

    Attributes:
        origin: the package and version that it comes from; empty for one built from this project's sources.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    origin: str = ""


class DeviceRecord(BaseModel):
    """The machine that ran the programs, as far as it can be read.

    Attributes:
        kind: the name of a ``DeviceKind``.
        name: as a reader would call it; a phone's with its model.
        cpu: the processor, and its core types where they differ.
        features: instruction sets that the kernels can use, by the system's own names.
        cores: the cores that the programs were allowed to run on.
        max_khz: of those cores, the highest frequency of the fastest; None where it is not readable.
        governors: of those cores, each named once.
        system: kernel name, release and machine.
        libraries: of the Android app, which a phone's tools ran; empty elsewhere.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    kind: str
    name: str
    cpu: str
    features: list[str]
    cores: list[int]
    max_khz: int | None
    governors: list[str]
    memory_bytes: int | None
    system: str
    libraries: list[LibraryRecord] = []


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a tool. ``returncode`` is negative for a signal, as in subprocess."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def failure(self) -> str | None:
        """The tool's last line on stderr, or the signal that ended it; None for success."""
        if self.returncode == 0:
            return None
        if self.returncode == -signal.SIGKILL:
            return "was killed (SIGKILL), as the system does when memory runs out"
        if self.returncode < 0:
            return f"was ended by {signal.Signals(-self.returncode).name}"
        lines = [line for line in self.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"ended with exit code {self.returncode}"


class Device(AbstractContextManager["Device"], Protocol):
    """A device, prepared on entering and left clean on exit. Every method may raise DeviceError."""

    @property
    def record(self) -> DeviceRecord: ...

    def install(self, program: Path) -> str:
        """Make a file available on the device, once; returns its path there."""

    def run(self, tool: Tool, arguments: Sequence[str]) -> Ended:
        """Run a tool to its end on the chosen cores; a timeout reads as a failure of the tool."""

    def output_path(self, name: str) -> str:
        """A path on the device that a tool may write to."""

    def fetch(self, remote: str) -> bytes:
        """Read a file that a tool wrote, and remove it there."""

    def current_khz(self) -> int | None:
        """The highest frequency among the used cores now; None where it is not readable."""


@dataclass(frozen=True)
class DeviceKind:
    """One row of the table of devices: its name on the command line, and what it can do.

    Attributes:
        words: as reports describe it.
        open: makes the device from the text behind the colon, the cores and the folder of tools; None where
            it measures by itself, and only its reports are read.
        variant: what may stand behind a colon, such as SERIAL; nothing may where it is empty.
        variants: all that it can be; empty for any text.
        has_speed: its times mean something.
        is_this_computer: programs run where their exporter and the opponents' builds ran.
        takes_cores: it can keep a program on chosen cores.
        tools: makes the folder of tools for ``open``, and may raise DeviceError; None where it needs none.
        has_traces: its runner can trace a token.
    """

    name: str
    words: str
    open: Callable[[str | None, list[int] | None, Path], Device] | None
    variant: str = ""
    variants: tuple[str, ...] = ()
    has_speed: bool = True
    is_this_computer: bool = False
    takes_cores: bool = True
    tools: Callable[[], Path] | None = None
    has_traces: bool = True

    def has_variant(self, text: str) -> bool:
        return bool(self.variant and text) and (not self.variants or text in self.variants)
