"""Opponents that our exporter makes and our runner runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A recipe of the exporter, run by our own runner on every device.

    Attributes:
        name: of the recipe, and on the command line.
        bits: that the exporter is asked for.
        shown_bits: of a weight in the program.
    """

    name: str
    bits: float
    shown_bits: float
