"""Define what the formats of other projects share: the protocol, and checks of ``quantization_config``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from edge.checkpoints.hf_values import short_json
from edge.checkpoints.imported.linear import StoredLinear
from edge.checkpoints.imported.tensors import LinearTensors
from edge.formats.weight import GROUP_SIZES


class Format(ABC):
    """One way to store quantised linears; an instance is what a ``quantization_config`` says of it.

    Attributes:
        parts: last names of the tensors that a linear may have; a linear with the first is quantised.
    """

    parts: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def of(cls, settings: dict[str, Any]) -> Format:
        """Read a ``quantization_config``.

        Raises:
            ValueError: settings that are wrong, or that this project cannot run.
        """

    @abstractmethod
    def linear(self, tensors: LinearTensors, shape: tuple[int, int]) -> StoredLinear:
        """Check the tensors of a linear [n, k], whose codes stay on disk.

        Raises:
            ValueError: a tensor is missing, or has another shape or dtype.
        """


def columns_of_group(group_size: Any) -> int | None:
    """Check a number of columns that share a scale; None for -1, a whole row.

    Raises:
        ValueError: a number that the groups of a program's table cannot make up.
    """
    if group_size == -1 and type(group_size) is int:
        return None
    largest = max(GROUP_SIZES)
    whole = type(group_size) is int and group_size > 0 and group_size % largest == 0
    if not whole and (type(group_size) is not int or group_size not in GROUP_SIZES):
        raise ValueError(
            f"group_size is {short_json(group_size)}; a program's groups have 32, 64, 128, 256 or a multiple "
            "of 256 columns, or -1 for one scale a row: quantise again with one of these"
        )
    return group_size


def refuse(settings: dict[str, Any], key: str, reason: str) -> None:
    """Raise ValueError if a setting is there and not empty."""
    if settings.get(key):
        raise ValueError(f"{key} is {short_json(settings[key])}: {reason}")
