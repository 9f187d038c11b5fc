"""Read linears in the format pack-quantized of compressed-tensors, which llm-compressor writes.

For a linear [n, k] of b bits in G groups of columns or one (strategy channel):

    weight_packed      int32 [n, k * b / 32]   code + 2^(b-1), along k
    weight_scale       [n, G]                  in the model's dtype
    weight_zero_point  int32 [n * b / 32, G]   zero + 2^(b-1), along n; only if not symmetric
    weight_shape       int64 [2]               n and k
    weight_g_idx       int32 [k]               the group of each column, or -1 everywhere; may be absent

Both streams run on from word to word. Versions 0.17 began each word with a new code, which differs at the
widths that do not divide 32; older ones wrote 4 and 8 bits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edge.checkpoints.hf_values import boolean, integer, short_json
from edge.checkpoints.imported.formats import Format, columns_of_group, refuse
from edge.checkpoints.imported.linear import StoredLinear
from edge.checkpoints.imported.tensors import INTEGERS, LinearTensors
from edge.checkpoints.imported.words import codes_from_words, words_for

_FORMAT = "pack-quantized"
_BITS = range(1, 9)
_VERSION_WITH_GAPS = "0.17."


@dataclass(frozen=True)
class Scheme:
    """One entry of ``config_groups``: a scheme of some linears; group_size is None for one scale a row."""

    bits: int
    group_size: int | None
    symmetric: bool

    @classmethod
    def of(cls, weights: Any) -> Scheme:
        """Read the ``weights`` of a group."""
        if not isinstance(weights, dict):
            raise ValueError(f"weights must be an object, not {short_json(weights)}")
        bits, strategy, kind = (
            integer(weights, "num_bits"),
            weights.get("strategy"),
            weights.get("type", "int"),
        )
        if kind != "int" or bits not in _BITS:
            raise ValueError(f"weights are {short_json(kind)} of {bits} bits; read are int of 1 to 8")
        if strategy not in ("group", "channel"):
            raise ValueError(f"strategy is {short_json(strategy)}; read are group and channel")
        group = columns_of_group(weights.get("group_size")) if strategy == "group" else None
        return cls(bits, group, boolean(weights, "symmetric", True))

    def shapes(self, n: int, k: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes of codes and scales of a linear [n, k]."""
        return (n, words_for(k, self.bits)), (n, 1 if self.group_size is None else -(-k // self.group_size))


@dataclass(frozen=True)
class CompressedTensors(Format):
    """The settings of a pack-quantized checkpoint.

    Attributes:
        schemes: of the linears; which one a linear has shows in its tensors.
    """

    schemes: tuple[Scheme, ...]

    parts = ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx")

    @classmethod
    def of(cls, settings: dict[str, Any]) -> CompressedTensors:
        refuse(settings, "kv_cache_scheme", "quantised keys and values are not read; leave them out")
        refuse(settings, "transform_config", "rotations of activations are not run; fold them into weights")
        sparsity = settings.get("sparsity_config") or {}
        if not isinstance(sparsity, dict) or sparsity.get("format", "dense") != "dense":
            raise ValueError("sparsity_config: sparse weights are not read; save them dense")
        groups = settings.get("config_groups")
        if (
            not isinstance(groups, dict)
            or not groups
            or not all(isinstance(g, dict) for g in groups.values())
        ):
            raise ValueError(f"config_groups must be an object of objects, not {short_json(groups)}")
        for group in groups.values():
            form = group.get("format") or settings.get("format")
            if form != _FORMAT:
                raise ValueError(f"format is {short_json(form)}; save the model as {_FORMAT}, 1 to 8 bits")
            for key in ("input_activations", "output_activations"):
                refuse(
                    group, key, "the model was made for activations of another grid; quantise weights only"
                )
        schemes = tuple(Scheme.of(group.get("weights")) for group in groups.values())
        gaps = [scheme.bits for scheme in schemes if 32 % scheme.bits]
        if gaps and str(settings.get("version")).startswith(_VERSION_WITH_GAPS):
            raise ValueError(
                f"version is {short_json(settings['version'])}, whose words of {gaps[0]} bits have gaps; "
                "save the model again with compressed-tensors 0.18 or newer"
            )
        return cls(schemes)

    def linear(self, tensors: LinearTensors, shape: tuple[int, int]) -> StoredLinear:
        n, k = shape
        scheme = self._scheme(tensors, n, k)
        packed, scales = scheme.shapes(n, k)
        bits, groups = scheme.bits, scales[1]
        tensors.check("weight_packed", packed)
        tensors.check_scales("weight_scale", scales)
        tensors.check("weight_shape", (2,), INTEGERS)
        if tensors["weight_shape"].tolist() != [n, k]:
            found = tensors["weight_shape"].tolist()
            raise ValueError(
                f"{tensors.where('weight_shape')} says {found} where config.json implies {[n, k]}"
            )
        if not scheme.symmetric:
            tensors.check("weight_zero_point", (words_for(n, bits), groups))
        elif "weight_zero_point" in tensors:
            raise ValueError(
                f"{tensors.where('weight_zero_point')} is there, where config.json promises symmetric weights"
            )

        def zeros(rows: Tensor) -> Tensor:
            if scheme.symmetric:
                return torch.full((len(rows), groups), 1 << (bits - 1), dtype=torch.uint8)
            return codes_from_words(tensors["weight_zero_point"].T, bits, rows).T

        return StoredLinear(
            name=tensors.where("weight_packed"),
            shape=shape,
            bits=bits,
            group_size=min(scheme.group_size or k, k),
            codes=lambda rows: codes_from_words(tensors["weight_packed"][rows], bits, torch.arange(k)),
            zeros=zeros,
            scales=lambda rows: tensors["weight_scale"][rows],
            scale_dtype=tensors.dtype("weight_scale"),
            symmetric=scheme.symmetric,
            g_idx=_g_idx(tensors, k),
        )

    def _scheme(self, tensors: LinearTensors, n: int, k: int) -> Scheme:
        """The scheme whose shapes and zeros a linear has, or one that fits best, to name what is wrong."""
        found = tensors.shape("weight_packed"), tensors.shape("weight_scale")
        symmetric = "weight_zero_point" not in tensors
        return max(self.schemes, key=lambda s: (s.shapes(n, k) == found, s.symmetric == symmetric))


def _g_idx(tensors: LinearTensors, k: int) -> Tensor | None:
    if "weight_g_idx" not in tensors:
        return None
    tensors.check("weight_g_idx", (k,), INTEGERS)
    g_idx = tensors["weight_g_idx"].long()
    return None if bool((g_idx == -1).all()) else g_idx
