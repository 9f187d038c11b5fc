"""Round in eager PyTorch what a program rounds: inputs of linears, and queries, keys and values.

Written without our ops, so that a program is compared with something independent of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edge.model.decoder import AttentionCore, Layer, clone_structure, replace_module
from edge.runtime.manifest import KVCacheFormat
from export.tables import RestTable, packed_tables


def round_to_int8(x: Tensor) -> Tensor:
    """x [..., n] on the int8 grid of its row, as the ops quantise it: symmetric, 127 steps each way."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    codes = torch.round(x * (127 / largest).nan_to_num(posinf=0.0)).clamp(-127, 127)
    return codes * (largest / 127)


def with_int8_inputs(layer: Layer, names: Iterable[str]) -> Layer:
    """A copy of a layer whose modules of these names round their first argument to int8."""
    rounding = clone_structure(layer)
    for name in names:
        rounding.get_submodule(name).register_forward_pre_hook(_round_first_argument)
    return rounding


def with_int8_inputs_of(layer: Layer, name: str, fused: nn.Module) -> Layer:
    """A copy of the layer of this name that rounds the input of every linear whose table is quantised."""
    tables = [
        table
        for table in packed_tables(fused).values()
        if table.is_quantized and not isinstance(table, RestTable)
    ]
    return with_int8_inputs(layer, [n.removeprefix(f"{name}.") for table in tables for n in table.rows])


def round_to_int4(x: Tensor) -> Tensor:
    """x [..., n] on the int4 grid of its row: the 16 odd multiples of 1/15 of its largest element."""
    largest = x.abs().amax(dim=-1, keepdim=True)
    codes = torch.round(x * (7.5 / largest).nan_to_num(posinf=0.0) + 7.5)
    return (2 * codes - 15) * (largest / 15)


def hadamard_matrix(dim: int) -> Tensor:
    """An orthogonal matrix [dim, dim]: Hadamard matrices of the largest power of two that divides dim."""
    block = torch.ones(1, 1)
    while dim % (2 * len(block)) == 0:
        block = torch.cat([torch.cat([block, block], 1), torch.cat([block, -block], 1)])
    return torch.block_diag(*[block] * (dim // len(block))) / len(block) ** 0.5


def with_rounded_cache(layer: Layer, kv_cache: KVCacheFormat) -> Layer:
    """A copy of a layer whose attention rounds queries, keys and values as the op of this cache does."""
    rounding = clone_structure(layer)
    for name, module in list(rounding.named_modules()):
        if isinstance(module, AttentionCore) and kv_cache != "fp32":
            core = Int4CacheCore if kv_cache == "int4" else Int8CacheCore
            replace_module(rounding, name, core(module.window, module.cap))
    return rounding


class Int8CacheCore(AttentionCore):
    """Attention on int8 queries, keys and values, with one scale per position and head; from position 0."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        assert start == 0  # verification runs the whole text at once
        return super().attend(round_to_int8(q), round_to_int8(k), round_to_int8(v), start)


def _round_first_argument(module: nn.Module, args: tuple) -> tuple:
    return (round_to_int8(args[0]), *args[1:])


class Int4CacheCore(AttentionCore):
    """The same with int4 keys and values, and with queries and keys multiplied by a Hadamard matrix."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        assert start == 0
        matrix = hadamard_matrix(q.shape[-1])
        return super().attend(round_to_int8(q @ matrix), round_to_int4(k @ matrix), round_to_int4(v), start)
