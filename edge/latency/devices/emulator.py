"""An ARM core emulated by qemu: it shows that programs are right, and says nothing of their speed."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from edge.latency.devices.device import DeviceError, DeviceKind, DeviceRecord, Tool
from edge.latency.devices.local import LocalDevice
from edge.latency.devices.process import run_process
from edge.latency.devices.tools import linux_tools
from edge.ops.cross_build import launch

QEMU = "qemu-aarch64"
#: The cores on offer (without dot products, with them, with everything that qemu knows) and the features of
#: each that the kernels can use, by Linux's names.
CORES = {
    "cortex-a53": ["asimd"],
    "cortex-a76": ["asimd", "fphp", "asimdhp", "asimddp"],
    "max": ["asimd", "fphp", "asimdhp", "asimddp", "i8mm", "sve", "sve2"],
}


class EmulatedDevice(LocalDevice):
    """One of ``CORES`` with the tools of ``folder``, made by ``edge.ops.cross_build``."""

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


KIND = DeviceKind(
    "emulator",
    "an emulator",
    lambda core, cores, tools: EmulatedDevice(core or "max", tools),
    variant="CORE",
    variants=tuple(CORES),
    tools=linux_tools,
    has_speed=False,
    takes_cores=False,
)
