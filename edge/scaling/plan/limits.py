"""Read a device's limits in words, such as 60MB and 1s, and tell by how much a program misses them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_BYTES = {
    "B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_SECONDS = {"ms": 1e-3, "s": 1.0}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*([A-Za-z]+)")


def parse_bytes(text: str, flag: str) -> float:
    """Read 60MB or 57MiB. Raises ValueError for anything else."""
    return _parse(text, flag, _BYTES, "60MB")


def parse_seconds(text: str, flag: str) -> float:
    """Read 1s or 800ms. Raises ValueError for anything else."""
    return _parse(text, flag, _SECONDS, "1.5s")


def _parse(text: str, flag: str, units: dict[str, float], example: str) -> float:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or match[2] not in units or not 0 < float(match[1]) < math.inf:
        raise ValueError(
            f"{flag} takes a positive number of {', '.join(units)}, as in {example}, not {text!r}"
        )
    return float(match[1]) * units[match[2]]


@dataclass(frozen=True)
class Need:
    """What a program needs of a device.

    Attributes:
        first_token_seconds: of the prompt, from the start of the process where the report tells it.
    """

    file_bytes: int
    memory_bytes: float
    decode_tokens_per_second: float
    first_token_seconds: float


@dataclass(frozen=True)
class Limits:
    """What a device allows; None is no limit."""

    max_bytes: float | None = None
    max_memory: float | None = None
    min_decode: float | None = None
    max_first_token: float | None = None

    def excess(self, need: Need) -> dict[str, float]:
        """By flag, how many times more than it allows a program needs; at most 1 fits."""
        ratios = {
            "--max-bytes": self.max_bytes and need.file_bytes / self.max_bytes,
            "--max-memory": self.max_memory and need.memory_bytes / self.max_memory,
            "--min-decode": self.min_decode and self.min_decode / need.decode_tokens_per_second,
            "--max-first-token": self.max_first_token and need.first_token_seconds / self.max_first_token,
        }
        return {flag: ratio for flag, ratio in ratios.items() if ratio is not None}
