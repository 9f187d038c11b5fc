"""Write checkpoints as GPTQ, AutoAWQ and compressed-tensors do, from their published layouts alone.

Random codes, zeros and scales are laid out bit by bit, and nothing of this project is used, so that what it
reads can be compared with something independent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime_tests.checkpoints.hf_models import random_llama

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
#: Widths that groups of 32 and 64 do not divide, and with eight a word, as AWQ wants them.
SHAPE = {"hidden_size": 72, "intermediate_size": 136, "head_dim": 12, "vocab_size": 304}


@dataclass
class Table:
    """A linear [n, k]: codes, and scales and zeros [n, G]; ``group`` [k] of each column."""

    bits: int
    codes: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray
    group: np.ndarray
    permuted: bool

    def weight(self, dtype: type = np.float64) -> np.ndarray:
        """scale * (code - zero), each operation in this dtype; exact in float64."""
        difference = (self.codes - self.zeros[:, self.group]).astype(dtype)
        return self.scales.astype(dtype)[:, self.group] * difference


def random_table(
    n: int, k: int, bits: int, group_size: int, symmetric: bool, permuted: bool = False, seed: int = 0
) -> Table:
    """Draw a table; ``group_size`` -1 is one scale a row, and permuted columns are those of act-order."""
    dice = np.random.default_rng(seed)
    size = k if group_size == -1 else min(group_size, k)
    groups = -(-k // size)
    codes = dice.integers(0, 2**bits, (n, k))
    zeros = dice.integers(0, 2**bits, (n, groups))
    zeros = np.full_like(zeros, 2 ** (bits - 1)) if symmetric else zeros
    scales = (0.25 * (0.5 + dice.random((n, groups))) / 2**bits).astype(np.float16)
    group = np.arange(k) // size
    return Table(bits, codes, zeros, scales, dice.permutation(group) if permuted else group, permuted)


def words(rows: np.ndarray, bits: int) -> np.ndarray:
    """Pack each row of codes into int32 words, one stream of bits, lowest first."""
    stream = (rows[:, :, None] >> np.arange(bits) & 1).reshape(len(rows), -1)  # one bit after the other
    padding = -stream.shape[1] % 32
    stream = np.pad(stream, ((0, 0), (0, padding))).astype(np.uint8)
    return np.ascontiguousarray(np.packbits(stream, axis=1, bitorder="little")).view(np.int32)


def gptq(table: Table, version: int) -> dict[str, np.ndarray]:
    stored = (table.zeros - 1) % 2**table.bits if version == 1 else table.zeros
    return {
        "qweight": words(table.codes, table.bits).T,
        "qzeros": words(stored.T, table.bits),
        "scales": table.scales.T,
        "g_idx": table.group.astype(np.int32),
    }


def awq_gemm(table: Table) -> dict[str, np.ndarray]:
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    columns = (np.arange(len(table.codes)).reshape(-1, 8)[:, order]).reshape(-1)
    return {
        "qweight": words(table.codes.T[:, columns], 4),
        "qzeros": words(table.zeros.T[:, columns], 4),
        "scales": table.scales.T,
    }


def awq_gemv(table: Table) -> dict[str, np.ndarray]:
    n, groups = table.zeros.shape
    size = int((table.group == 0).sum())
    multiple = {32: 4, 64: 2}.get(size, 1)
    width = math.ceil(math.ceil(groups / 8) / multiple) * multiple
    zeros, scales = np.zeros((n, 8 * width), int), np.zeros((n, 8 * width), np.float16)
    zeros[:, :groups], scales[:, :groups] = table.zeros, table.scales
    return {"qweight": words(table.codes, 4), "qzeros": words(zeros, 4), "scales": scales}


def pack_quantized(table: Table, symmetric: bool) -> dict[str, np.ndarray]:
    """Codes and zeros are signed there, and stored with 2^(bits - 1) added: as they are here."""
    parts = {
        "weight_packed": words(table.codes, table.bits),
        "weight_scale": table.scales,
        "weight_shape": np.array(table.codes.shape),
    }
    if not symmetric:
        parts["weight_zero_point"] = words(table.zeros.T, table.bits).T
    if table.permuted:
        parts["weight_g_idx"] = table.group.astype(np.int32)
    return parts


@dataclass
class Written:
    """A written model: its directory, and its linears' tables by transformers' full names."""

    directory: Path
    tables: dict[str, Table]


def write(
    directory: Path,
    form: str,
    bits: int = 4,
    group_size: int = 32,
    symmetric: bool = False,
    permuted: bool = False,
    scale_dtype: torch.dtype = torch.float16,
    others: Mapping[str, dict[str, Any] | None] = MappingProxyType({}),
    **changes: Any,
) -> Written:
    """Write a random Llama whose linears are quantised, in float16.

    Args:
        form: gptq, gptq_v2, gemm, gemv or pack-quantized.
        permuted: columns are in act-order; linears of one input share it, as their inputs' importance does.
        others: other settings (bits, group_size, symmetric) of the linears of a last name, or None for those
            that are left alone; ``lm_head`` is left alone unless it is here.
    """
    model = random_llama(**SHAPE | changes)
    tensors: dict[str, Tensor] = {n: t.half() for n, t in model.state_dict().items()}
    common, tables = {"bits": bits, "group_size": group_size, "symmetric": symmetric}, {}
    quantized = {name for name in (*LINEARS, "lm_head") if others.get(name, name in LINEARS)}
    for seed, name in enumerate(sorted(n for n in tensors if n.split(".")[-2] in quantized)):
        n, k = tensors.pop(name).shape
        linear = name.removesuffix(".weight")
        settings = common | (others.get(linear.split(".")[-1]) or {})
        table = random_table(n, k, **settings, permuted=permuted, seed=seed)
        if permuted:
            dice = np.random.default_rng([k, *(int(part) for part in linear.split(".") if part.isdigit())])
            table.group = dice.permutation(np.sort(table.group))
        tables[linear] = table
        parts = _parts(table, form, settings["symmetric"])
        tensors |= {f"{linear}.{part}": torch.from_numpy(a.copy()) for part, a in parts.items()}
    for name in tensors:
        if name.endswith("scale") and scale_dtype != torch.float16:
            tensors[name] = tensors[name].to(scale_dtype)
            table = tables[name.removesuffix(".weight_scale")]
            table.scales = tensors[name].float().numpy()
    settings = _settings(form, common, permuted, others)
    config = model.config.to_dict() | {"torch_dtype": "float16", "quantization_config": settings}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors")
    return Written(directory, tables)


def _parts(table: Table, form: str, symmetric: bool) -> dict[str, np.ndarray]:
    if form.startswith("gptq"):
        return gptq(table, 2 if form == "gptq_v2" else 1)
    if form == "pack-quantized":
        return pack_quantized(table, symmetric)
    return awq_gemm(table) if form == "gemm" else awq_gemv(table)


def _settings(
    form: str, common: dict[str, Any], permuted: bool, others: Mapping[str, dict[str, Any] | None]
) -> dict[str, Any]:
    if form.startswith("gptq"):
        keys = {"quant_method": "gptq", "checkpoint_format": form, "desc_act": permuted}
        return _gptq_keys(common) | keys | _dynamic(others)
    if form in ("gemm", "gemv"):
        left = [name for name, settings in others.items() if settings is None]
        keys = {"quant_method": "awq", "version": form, "zero_point": True, "modules_to_not_convert": left}
        return {"bits": common["bits"], "group_size": common["group_size"]} | keys
    groups = [_config_group(["Linear"], common, permuted)]
    groups += [_config_group([f"re:.*{n}$"], common | c, permuted) for n, c in others.items() if c]
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {f"group_{index}": group for index, group in enumerate(groups)},
        "ignore": [f"re:.*{name}$" for name in ("lm_head", *others) if not others.get(name)],
    }


def _gptq_keys(settings: dict[str, Any]) -> dict[str, Any]:
    return {{"symmetric": "sym"}.get(key, key): value for key, value in settings.items()}


def _dynamic(others: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """GPTQModel's settings of single modules; as it does, those of a head have no prefix."""
    found = {}
    for name, settings in others.items():
        prefix = "-:" if settings is None else "" if name == "lm_head" else "+:"
        found[prefix + (name if name == "lm_head" else rf".*\.{name}$")] = _gptq_keys(settings or {})
    return {"dynamic": found, "lm_head": bool(others.get("lm_head"))} if found else {}


def _config_group(targets: list[str], settings: dict[str, Any], permuted: bool) -> dict[str, Any]:
    """One scheme of compressed-tensors."""
    whole_rows = settings["group_size"] == -1
    weights = {
        "num_bits": settings["bits"],
        "type": "int",
        "symmetric": settings["symmetric"],
        "strategy": "channel" if whole_rows else "group",
        "group_size": None if whole_rows else settings["group_size"],
        "actorder": "group" if permuted else None,
    }
    return {"targets": targets, "weights": weights, "input_activations": None}
