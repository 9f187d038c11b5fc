"""Base class of devices that run on this computer: files stay where they are."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.latency.devices.device import DeviceError, DeviceRecord, Ended, Tool
from edge.latency.devices.process import run_process


class LocalDevice(ABC):
    """A ``Device`` whose paths are this computer's; outputs go to a temporary directory until exit."""

    record: DeviceRecord
    environment: Mapping[str, str] | None = None

    @abstractmethod
    def describe(self) -> DeviceRecord:
        """Check that the device can be used, and describe it.

        Raises DeviceError, or ValueError for its options.
        """

    @abstractmethod
    def launch(self, tool: Tool) -> list[str]:
        """Command words that start a tool."""

    @abstractmethod
    def current_khz(self) -> int | None: ...

    def __enter__(self) -> LocalDevice:
        self.record = self.describe()
        self._outputs = tempfile.TemporaryDirectory(prefix="edge-latency-")
        return self

    def __exit__(self, *exception: object) -> None:
        self._outputs.cleanup()

    def install(self, program: Path) -> str:
        return str(program.resolve())

    def run(self, tool: Tool, arguments: Sequence[str]) -> Ended:
        try:
            return run_process([*self.launch(tool), *arguments], self.environment)
        except TimeoutError as error:
            return Ended(1, "", str(error))

    def output_path(self, name: str) -> str:
        return str(Path(self._outputs.name) / name)

    def fetch(self, remote: str) -> bytes:
        path = Path(remote)
        try:
            content = path.read_bytes()
            path.unlink()
        except OSError as error:
            raise DeviceError(f"a tool's output {remote} cannot be read: {error.strerror}") from error
        return content
