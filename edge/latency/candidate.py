"""A program to be measured, whichever runtime runs it."""

from __future__ import annotations

from typing import Protocol

from edge.latency.devices.device import Device
from edge.latency.schema import ProgramRecord, Run, Settings, Trace


class ProgramFailed(Exception):
    """Error for a program that cannot be measured; its row shows the message. Other programs go on."""


def usable(settings: Settings, positions: int) -> Settings:
    """Settings that fit a KV cache of so many positions. Raises ProgramFailed where none do."""
    fitting = settings.within(positions)
    if fitting is None:
        raise ProgramFailed(f"its KV cache holds {positions} positions, fewer than anything asked for")
    return fitting


def note_on_positions(settings: Settings, positions: int) -> str:
    """Note for a program's record on what does not fit; empty where everything does."""
    if settings.within(positions) == settings:
        return ""
    return f"its KV cache holds {positions} positions; what needs more was not measured"


class Candidate(Protocol):
    """A program of a report. Every method may raise ProgramFailed."""

    #: Filled with what is known before anything ran.
    record: ProgramRecord

    def prepare(self, device: Device, settings: Settings) -> str:
        """Install it on the device and run it there once; returns how it was verified."""

    def run(self, device: Device, settings: Settings, threads: int, index: int) -> Run:
        """Measure everything once, in processes of its own, for round ``index``."""

    def trace(self, device: Device, settings: Settings, threads: int) -> Trace | None:
        """Trace a run at the headline context; None where the runtime has no traces."""
