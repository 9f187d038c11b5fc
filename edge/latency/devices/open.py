"""The table of devices, and how one is opened by its name on the command line."""

from __future__ import annotations

from pathlib import Path

from edge.latency.devices import adb, app, emulator, host
from edge.latency.devices.device import Device

#: One row for each kind of device, by name.
DEVICES = {module.KIND.name: module.KIND for module in (host, adb, emulator, app)}


def open_device(name: str, cores: list[int] | None = None, tools: Path | None = None) -> Device:
    """The device of a name, to be entered: "host", "adb", "adb:SERIAL", "emulator" or "emulator:CORE".

    Args:
        cores: that tools run on; None: all that are allowed.
        tools: the folder of tools; None: made when first needed, and kept in the user's cache.

    Raises:
        ValueError: there is no such device.
        DeviceError: the tools cannot be built for it.
    """
    word, colon, variant = name.partition(":")
    kind = DEVICES.get(word)
    if kind is None or (colon and not kind.has_variant(variant)):
        raise ValueError(f"{name!r} is no device; choose {_choices()}")
    if kind.open is None:
        raise ValueError(f"--device {name} only names the origin of a report; choose {_choices()}")
    if cores is not None and not kind.takes_cores:
        raise ValueError(f"--cores has no meaning for {kind.words}: leave out --cores")
    folder = tools or (kind.tools() if kind.tools else Path())
    return kind.open(variant or None, cores, folder)


def _choices() -> str:
    """Every name with its variants, as a sentence's end."""
    names, notes = [], ""
    for kind in (kind for kind in DEVICES.values() if kind.open is not None):
        names += [kind.name, *([f"{kind.name}:{kind.variant}"] if kind.variant else [])]
        if kind.variants:
            notes += f", with a {kind.variant} of {', '.join(kind.variants)}"
    return f"{', '.join(names[:-1])} or {names[-1]}{notes}"
