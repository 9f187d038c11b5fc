"""Check the tensors of one quantised linear of another project's format."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge.checkpoints.tensor_files import FLOAT_DTYPES, StoredTensors, hf_name

INTEGERS = (torch.int32, torch.int64)


@dataclass(frozen=True)
class LinearTensors:
    """The tensors that a file has for a linear, by the last part of their names (``qweight``).

    Attributes:
        name: the linear's full name in ``Decoder``.
    """

    stored: StoredTensors
    name: str

    def __contains__(self, part: str) -> bool:
        return f"{self.name}.{part}" in self.stored

    def __getitem__(self, part: str) -> Tensor:
        """Read a tensor, or map it into memory, so that what is not used is not read."""
        return self.stored[f"{self.name}.{part}"]

    @property
    def module(self) -> str:
        """The linear's name in transformers, which settings of single modules mean."""
        return self.where("weight").removesuffix(".weight")

    def where(self, part: str) -> str:
        """A tensor's name in messages."""
        return hf_name(f"{self.name}.{part}")

    def shape(self, part: str) -> tuple[int, ...]:
        """A tensor's shape; ValueError if it is missing."""
        if part not in self:
            raise ValueError(f"{self.where(part)} is missing")
        return self.stored.shapes[f"{self.name}.{part}"]

    def dtype(self, part: str) -> torch.dtype:
        return self.stored.dtypes[f"{self.name}.{part}"]

    def check(
        self, part: str, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...] = (torch.int32,)
    ) -> None:
        """Raise ValueError unless a tensor is there, in this shape and one of these dtypes."""
        if (found := self.shape(part)) != shape:
            raise ValueError(f"{self.where(part)} is {list(found)} where config.json implies {list(shape)}")
        if (dtype := self.dtype(part)) not in dtypes:
            allowed = " or ".join(map(str, dtypes))
            raise ValueError(f"{self.where(part)} is {dtype}; the format has {allowed} there")

    def check_scales(self, part: str, shape: tuple[int, int]) -> None:
        self.check(part, shape, FLOAT_DTYPES)
