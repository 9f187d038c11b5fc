"""What measuring needs of a program, whichever runtime runs it."""

from __future__ import annotations

from typing import Protocol

from edge.latency.devices.device import Device
from edge.latency.schema import ProgramRecord, Run, Settings, Trace


class ProgramFailed(Exception):
    """This program cannot be measured: the reason, for its row. The others go on."""


def usable(settings: Settings, positions: int) -> Settings:
    """What of the settings a KV cache of so many positions can hold; ProgramFailed where that is nothing."""
    fitting = settings.within(positions)
    if fitting is None:
        raise ProgramFailed(f"its KV cache holds {positions} positions, fewer than anything asked for")
    return fitting


def note_on_positions(settings: Settings, positions: int) -> str:
    """For a program's record; nothing where all of the settings fit."""
    if settings.within(positions) == settings:
        return ""
    return f"its KV cache holds {positions} positions; what needs more was not measured"


class Subject(Protocol):
    """A program of a report. Every method may raise ProgramFailed."""

    #: what is known before anything ran
    record: ProgramRecord

    def prepare(self, device: Device, settings: Settings) -> str:
        """Makes it ready on the device and runs it there once; says how it was verified."""

    def run(self, device: Device, settings: Settings, threads: int, index: int) -> Run:
        """One process that measures everything once, for round ``index``."""

    def trace(self, device: Device, settings: Settings, threads: int) -> Trace | None:
        """A traced run at the headline context; None where the runtime has no traces."""
