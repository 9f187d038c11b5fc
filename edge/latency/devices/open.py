"""Devices by name, and cores as they are written: what a command line needs."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

from edge.latency.devices.adb import AdbDevice
from edge.latency.devices.cores import parse_cores
from edge.latency.devices.device import Device, DeviceError
from edge.latency.devices.emulator import CORES, EmulatedDevice
from edge.latency.devices.host import HostDevice
from edge.ops.cross_build import CrossBuildError, cross_build
from edge.ops.source_hash import source_hash

__all__ = ["open_device", "parse_cores"]


def open_device(name: str, cores: list[int] | None = None, arm_folder: Path | None = None) -> Device:
    """The device of a name, to be entered: "host", "adb", "adb:SERIAL", "emulator" or "emulator:CORE".

    Args:
        cores: that tools run on; None: all that are allowed.
        arm_folder: what ``edge.ops.cross_build`` made; None: made when first needed, and kept in the user's
            cache.

    Raises:
        ValueError: there is no such device.
        DeviceError: the tools cannot be built for it.
    """
    kind, colon, which = name.partition(":")
    if name == "host":
        return HostDevice(cores)
    if kind == "adb" and (which or not colon):
        return AdbDevice(which or None, arm_folder or _cached_arm_folder(), cores)
    if name == "emulator" or (kind == "emulator" and which in CORES):
        if cores is not None:
            raise ValueError("an emulated core has no place among this computer's: leave out --cores")
        return EmulatedDevice(which or "max", arm_folder or _cached_arm_folder())
    raise ValueError(
        f"{name!r} is no device; choose host, adb, adb:SERIAL, emulator or emulator:CORE, "
        f"with a CORE of {', '.join(CORES)}"
    )


def _cached_arm_folder() -> Path:
    """A cross build of these sources, made unless it is there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lowbit"
    folder = cache / f"aarch64-{importlib.metadata.version('executorch')}-{source_hash()[:12]}"
    if folder.exists():
        return folder
    print("building the tools for aarch64, once", file=sys.stderr)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="partial-", dir=cache) as partial:
        try:
            built = cross_build(Path(partial) / "aarch64").parent
        except CrossBuildError as error:
            raise DeviceError(f"the tools cannot be built for aarch64: {error}") from error
        if not folder.exists():  # another process may have been as quick
            os.rename(built, folder)
    return folder
