"""Read linears in the format of GPTQ (arXiv 2210.17323) as AutoGPTQ and GPTQModel write it.

For a linear [n, k] of b bits in groups of columns:

    qweight  int32 [k * b / 32, n]   codes of a column of words, along k
    qzeros   int32 [G, n * b / 32]   zeros, along n
    scales   float16 [G, n]
    g_idx    int32 [k]               the group of each column; may be absent

Both streams run on from word to word, which only 3 bits show. Version 1 stores zero - 1, modulo 2^b.

GPTQModel's ``dynamic`` has settings of single modules by regular expression: ``+:`` or nothing in front of it
changes some of them, ``-:`` leaves a module alone. The first one that matches the start of a name decides,
those with ``-:`` before all others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch

from edge.checkpoints.hf_values import boolean, integer, short_json
from edge.checkpoints.imported.formats import Format, columns_of_group
from edge.checkpoints.imported.linear import StoredLinear
from edge.checkpoints.imported.tensors import INTEGERS, LinearTensors
from edge.checkpoints.imported.words import codes_from_words, words_for

_BITS = (2, 3, 4, 8)
#: What to add to a stored zero, by ``checkpoint_format``.
_ZEROS_ADD = {"gptq": 1, "gptq_v2": 0}
#: What GPTQModel reads of a module in ``dynamic`` when it loads a file, besides the dtype of words.
_OF_A_MODULE = {"bits", "group_size", "sym", "desc_act"}


@dataclass(frozen=True)
class Gptq(Format):
    """The settings of a GPTQ checkpoint.

    Attributes:
        group_size: None for one scale a row.
        symmetric: all zeros are promised to be 2^(bits - 1).
        sorts_columns: columns were quantised by importance (desc_act), so ``g_idx`` must be there.
        zeros_add: what to add to a stored zero.
        others: patterns of the names of modules with other settings, in the order in which they are tried;
            None for modules that are left alone.
    """

    bits: int
    group_size: int | None
    symmetric: bool
    sorts_columns: bool
    zeros_add: int
    others: tuple[tuple[re.Pattern[str], Gptq | None], ...] = ()

    parts = ("qweight", "qzeros", "scales", "g_idx")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Gptq:
        bits = integer(settings, "bits")
        if bits not in _BITS:
            raise ValueError(
                f"bits is {bits}; GPTQ is read with 2, 3, 4 or 8: quantise again with one of these"
            )
        version = settings.get("checkpoint_format") or settings.get("format") or "gptq"
        if version not in tuple(_ZEROS_ADD):
            raise ValueError(
                f"checkpoint_format is {short_json(version)}, another order of the same codes; save the "
                "model as gptq or gptq_v2"
            )
        common = cls(
            bits,
            columns_of_group(settings.get("group_size", 128)),
            boolean(settings, "sym"),
            boolean(settings, "desc_act"),
            _ZEROS_ADD[version],
        )
        return replace(common, others=_others(settings)) if settings.get("dynamic") else common

    def linear(self, tensors: LinearTensors, shape: tuple[int, int]) -> StoredLinear:
        settings = next((other for pattern, other in self.others if pattern.match(tensors.module)), self)
        if settings is None:
            raise ValueError(f"{tensors.where('qweight')} is there, where dynamic leaves its module alone")
        return settings._read(tensors, shape)

    def _read(self, tensors: LinearTensors, shape: tuple[int, int]) -> StoredLinear:
        """Check the tensors of a linear with these settings."""
        n, k = shape
        size = min(self.group_size or k, k)
        groups, bits = -(-k // size), self.bits
        tensors.check("qweight", (words_for(k, bits), n))
        tensors.check("qzeros", (groups, words_for(n, bits)))
        tensors.check_scales("scales", (groups, n))
        g_idx = None
        if "g_idx" in tensors:
            tensors.check("g_idx", (k,), INTEGERS)
            g_idx = tensors["g_idx"].long()
        elif self.sorts_columns and groups > 1:
            raise ValueError(f"{tensors.where('g_idx')} is missing, which desc_act needs")

        def zeros(rows: torch.Tensor) -> torch.Tensor:
            stored = codes_from_words(tensors["qzeros"], bits, rows).T
            return stored + self.zeros_add & 2**bits - 1

        return StoredLinear(
            name=tensors.where("qweight"),
            shape=shape,
            bits=bits,
            group_size=size,
            codes=lambda rows: codes_from_words(tensors["qweight"][:, rows].T, bits, torch.arange(k)),
            zeros=zeros,
            scales=lambda rows: tensors["scales"][:, rows].T,
            scale_dtype=tensors.dtype("scales"),
            symmetric=self.symmetric,
            g_idx=g_idx,
        )


def _others(settings: dict[str, Any]) -> tuple[tuple[re.Pattern[str], Gptq | None], ...]:
    """Read ``dynamic``: patterns and settings of single modules."""
    dynamic = settings["dynamic"]
    if not isinstance(dynamic, dict) or not all(isinstance(changes, dict) for changes in dynamic.values()):
        raise ValueError(f"dynamic must be an object of objects, not {short_json(dynamic)}")
    found: list[tuple[re.Pattern[str], Gptq | None]] = []
    for key in sorted(dynamic, key=lambda key: not key.startswith("-:")):
        try:
            pattern = re.compile(key[2:] if key.startswith(("-:", "+:")) else key)
            changes = {name: dynamic[key][name] for name in _OF_A_MODULE & dynamic[key].keys()}
            changed = settings | changes | {"dynamic": None}
            found.append((pattern, None if key.startswith("-:") else Gptq.of(changed)))
        except (re.error, ValueError) as error:
            raise ValueError(f"dynamic: {short_json(key)}: {error}") from error
    return tuple(found)
