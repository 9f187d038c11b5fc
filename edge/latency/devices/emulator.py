"""An ARM core that qemu plays: it shows that programs are right there, and nothing of their speed."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from edge.latency.devices.device import DeviceError, Tool
from edge.latency.devices.local import LocalDevice
from edge.latency.devices.process import run_process
from edge.latency.schema import DeviceRecord
from edge.ops.cross_build import launch

QEMU = "qemu-aarch64"
#: The cores offered: one without dot products, one with them, one with all that qemu knows; what of it the
#: kernels can use, by Linux's names.
CORES = {
    "cortex-a53": ["asimd"],
    "cortex-a76": ["asimd", "fphp", "asimdhp", "asimddp"],
    "max": ["asimd", "fphp", "asimdhp", "asimddp", "i8mm", "sve", "sve2"],
}


class EmulatedDevice(LocalDevice):
    """The tools of ``folder``, made by ``edge.ops.cross_build``, on one of ``CORES``."""

    def __init__(self, core: str, folder: Path) -> None:
        self._core = core
        self._folder = folder.resolve()

    def describe(self) -> DeviceRecord:
        if shutil.which(QEMU) is None:
            raise DeviceError(f"{QEMU} is missing: apt-get install qemu-user")
        version = run_process([QEMU, "--version"]).stdout.split()[2]  # "qemu-aarch64 version 7.2.22 (...)"
        return DeviceRecord(
            kind="emulator",
            name=f"emulated {self._core}",
            cpu=self._core,
            features=CORES[self._core],
            cores=[],
            max_khz=None,
            governors=[],
            memory_bytes=None,
            system=f"{QEMU} {version} on {platform.system()} {platform.machine()}",
        )

    def launch(self, tool: Tool) -> list[str]:
        return [QEMU, "-cpu", self._core, *launch(str(self._folder), tool)]

    def current_khz(self) -> int | None:
        return None
