"""The table of opponents that are runtimes of their own, and the names of all opponents."""

from __future__ import annotations

from edge.latency.opponents.llama_cpp.run import LLAMA_CPP
from edge.latency.opponents.recipes import RECIPES

RUNTIMES = (LLAMA_CPP,)
#: Every name that --opponents takes.
OPPONENTS = (*RECIPES, *(name for runtime in RUNTIMES for name in runtime.types))


def default_opponents() -> list[str]:
    """All opponents whose packages are installed."""
    return [*RECIPES, *(name for runtime in RUNTIMES if runtime.is_available for name in runtime.types)]
