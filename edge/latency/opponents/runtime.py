"""Opponents that are runtimes of their own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.latency.candidate import Candidate
from edge.model.config import ModelConfig


@dataclass(frozen=True)
class Runtime:
    """Another runtime with formats of its own, measured on this computer only.

    Attributes:
        types: names of its formats on the command line.
        package: Python package that it needs; without it the types are no defaults.
        words: as progress calls the types.
        candidates: one for each type named, of a model's shape: (model, its config, the shape's name, types,
            cache).
    """

    types: tuple[str, ...]
    package: str
    words: str
    candidates: Callable[[str, ModelConfig, str, Sequence[str], Path], list[Candidate]]

    @property
    def is_available(self) -> bool:
        return importlib.util.find_spec(self.package) is not None
