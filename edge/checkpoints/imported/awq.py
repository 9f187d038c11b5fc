"""Read linears in the formats of AutoAWQ (arXiv 2306.00978), 4 bits.

For a linear [n, k] in groups of columns, G of them:

    gemm   qweight int32 [k, n / 8], qzeros int32 [G, n / 8]: along n, eight at a time in another order;
           scales float16 [G, n]
    gemv   qweight int32 [n, k / 8], qzeros int32 [n, w]: along k and along the groups, in order;
           scales float16 [n, 8 w]; w has room to spare
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.hf_values import integer, short_json
from edge.checkpoints.imported.formats import Format, columns_of_group
from edge.checkpoints.imported.linear import RowsAt, StoredLinear
from edge.checkpoints.imported.tensors import LinearTensors
from edge.checkpoints.imported.words import codes_from_words, words_for

_BITS, _IN_A_WORD = 4, 8
#: Where a word of gemm holds the codes 0 to 7 of its columns.
_PLACES = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])


@dataclass(frozen=True)
class Awq(Format):
    """The settings of an AutoAWQ checkpoint.

    Attributes:
        group_size: None for one scale a row.
        along_rows: words run along the rows of the weight (gemm), not along its columns (gemv).
    """

    group_size: int | None
    along_rows: bool

    parts = ("qweight", "qzeros", "scales")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Awq:
        bits = integer(settings, "bits", _BITS)
        if bits != _BITS:
            raise ValueError(f"bits is {bits}; AWQ is read with {_BITS}")
        version = settings.get("version") or settings.get("format") or "gemm"
        if str(version).lower() not in ("gemm", "gemv"):
            raise ValueError(f"version is {short_json(version)}; save the model as gemm or gemv")
        group = columns_of_group(settings.get("group_size", 128))
        return cls(group, str(version).lower() == "gemm")

    def linear(self, tensors: LinearTensors, shape: tuple[int, int]) -> StoredLinear:
        n, k = shape
        size = min(self.group_size or k, k)
        groups = -(-k // size)
        if self.along_rows:
            codes, zeros, scales = _gemm(tensors, n, k, groups)
        else:
            codes, zeros, scales = _gemv(tensors, n, k, groups, size)
        return StoredLinear(
            name=tensors.where("qweight"),
            shape=shape,
            bits=_BITS,
            group_size=size,
            codes=codes,
            zeros=zeros,
            scales=scales,
            scale_dtype=tensors.dtype("scales"),
            symmetric=False,
        )


def _gemm(tensors: LinearTensors, n: int, k: int, groups: int) -> tuple[RowsAt, RowsAt, RowsAt]:
    """Check the tensors of version gemm; returns what reads rows of codes, zeros and scales."""
    tensors.check("qweight", (k, words_for(n, _BITS)))
    tensors.check("qzeros", (groups, words_for(n, _BITS)))
    tensors.check_scales("scales", (groups, n))

    def read(part: str, rows: Tensor) -> Tensor:
        places = rows - rows % _IN_A_WORD + _PLACES[rows % _IN_A_WORD]
        return codes_from_words(tensors[part], _BITS, places).T

    return (
        lambda rows: read("qweight", rows),
        lambda rows: read("qzeros", rows),
        lambda rows: tensors["scales"][:, rows].T,
    )


def _gemv(tensors: LinearTensors, n: int, k: int, groups: int, size: int) -> tuple[RowsAt, RowsAt, RowsAt]:
    """The same for version gemv, whose kernels read zeros of a multiple of several words at a time."""
    width = words_for(groups, _BITS)
    multiple = {32: 4, 64: 2}.get(size, 1)
    width = -(-width // multiple) * multiple
    tensors.check("qweight", (n, words_for(k, _BITS)))
    tensors.check("qzeros", (n, width))
    tensors.check_scales("scales", (n, width * _IN_A_WORD))

    def read(part: str, rows: Tensor, count: int) -> Tensor:
        return codes_from_words(tensors[part][rows], _BITS, torch.arange(count))

    return (
        lambda rows: read("qweight", rows, k),
        lambda rows: read("qzeros", rows, groups),
        lambda rows: tensors["scales"][rows, :groups],
    )
