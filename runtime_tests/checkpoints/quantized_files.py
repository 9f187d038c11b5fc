"""Write checkpoints as GPTQ, AutoAWQ and compressed-tensors do, from their published layouts alone.

Random codes, zeros and scales are laid out bit by bit, and nothing of this project is used, so that what it
reads can be compared with something independent.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
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
    return np.packbits(stream, axis=1, bitorder="little").view(np.int32)


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
    **changes: Any,
) -> Written:
    """Write a random Llama whose linears are quantised, in float16.

    Args:
        form: gptq, gptq_v2, gemm, gemv or pack-quantized.
        permuted: columns are in act-order; linears of one input share it, as their inputs' importance does.
    """
    model = random_llama(**SHAPE | changes)
    tensors: dict[str, Tensor] = {n: t.half() for n, t in model.state_dict().items()}
    tables = {}
    for seed, name in enumerate(sorted(n for n in tensors if n.split(".")[-2] in LINEARS)):
        n, k = tensors.pop(name).shape
        linear = name.removesuffix(".weight")
        table = random_table(n, k, bits, group_size, symmetric, permuted, seed)
        if permuted:
            dice = np.random.default_rng([k, int(linear.split(".")[2])])
            table.group = dice.permutation(np.sort(table.group))
        tables[linear] = table
        parts = _parts(table, form, symmetric)
        tensors |= {f"{linear}.{part}": torch.from_numpy(a.copy()) for part, a in parts.items()}
    for name in tensors:
        if name.endswith("scale") and scale_dtype != torch.float16:
            tensors[name] = tensors[name].to(scale_dtype)
            table = tables[name.removesuffix(".weight_scale")]
            table.scales = tensors[name].float().numpy()
    settings = _settings(form, bits, group_size, symmetric, permuted)
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


def _settings(form: str, bits: int, group_size: int, symmetric: bool, permuted: bool) -> dict[str, Any]:
    common = {"bits": bits, "group_size": group_size}
    if form.startswith("gptq"):
        keys = {"quant_method": "gptq", "checkpoint_format": form, "sym": symmetric, "desc_act": permuted}
        return common | keys
    if form in ("gemm", "gemv"):
        return common | {"quant_method": "awq", "version": form, "zero_point": True}
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": symmetric,
        "strategy": "channel" if group_size == -1 else "group",
        "group_size": None if group_size == -1 else group_size,
        "actorder": "group" if permuted else None,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}},
        "ignore": ["lm_head"],
    }
