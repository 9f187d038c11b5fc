"""Tiny exported programs that use every op, for the tests of the runtimes."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, export

import edge.ops  # noqa: F401  (defines torch.ops.lowbit)
from edge.ops.kv_layout import cache_shapes
from runtime_tests.ops.tables import INT8, TERNARY, Form, random_table

HEADS, KV_HEADS, HEAD_DIM, FFN, MAX_SEQ, VOCABULARY = 4, 2, 8, 40, 32, 50
DIM = HEADS * HEAD_DIM
QKV = (HEADS + 2 * KV_HEADS) * HEAD_DIM
EOS = 49


class TinyBlock(nn.Module):
    """Embedding, one layer and head; buffers hold packed tables and the KV cache."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"qkv": (QKV, DIM), "gate": (FFN, DIM), "up": (FFN, DIM), "down": (DIM, FFN)}
        for seed, (name, (n, k)) in enumerate(shapes.items()):
            self.register_buffer(name, random_table(n, k, TERNARY, seed))
        self.register_buffer("table", random_table(VOCABULARY, DIM, INT8, 99))
        self.register_buffer("norm", torch.linspace(0.5, 1.5, DIM))
        angles = torch.arange(MAX_SEQ)[:, None] * torch.logspace(0, -2, HEAD_DIM // 2)[None]
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for suffix, bits in (("", 32), ("_int8", 8), ("_int4", 4)):
            caches = cache_shapes(KV_HEADS, MAX_SEQ, HEAD_DIM, bits)
            self.register_buffer("k_cache" + suffix, torch.zeros(caches.keys, dtype=caches.dtype))
            self.register_buffer("v_cache" + suffix, torch.zeros(caches.values, dtype=caches.dtype))
            for kind in "kv" if caches.scales else "":
                self.register_buffer(f"{kind}_scales{suffix}", torch.zeros(caches.scales))

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """tokens int64 [1, T], input_pos int64 [1] -> logits float32 [1, VOCABULARY] of the last token."""
        ops, count = torch.ops.lowbit, tokens.shape[1]
        start = input_pos[0].item()
        torch._check(start >= 0)
        torch._check(start + count <= MAX_SEQ)
        x = ops.rms_norm(ops.embedding(tokens, self.table, DIM), self.norm, 1e-5)
        qkv, angles = ops.linear(x, self.qkv, QKV), (self.cos, self.sin)
        caches = (self.k_cache, self.v_cache)
        int8 = (self.k_cache_int8, self.v_cache_int8, self.k_scales_int8, self.v_scales_int8)
        int4 = (self.k_cache_int4, self.v_cache_int4, self.k_scales_int4, self.v_scales_int4)
        x = ops.attention(qkv, *angles, *caches, start, HEADS)
        x = x + ops.attention_int8(qkv, *angles, *int8, start, HEADS)
        x = x + ops.attention_int4(qkv, *angles, *int4, start, HEADS)
        x = ops.gate_mul(ops.linear(x, self.gate, FFN), ops.linear(x, self.up, FFN))
        x = ops.rms_norm(ops.linear(x, self.down, DIM), self.norm, 1e-5)
        return ops.linear(x[:, -1, :], self.table, VOCABULARY)


@functools.cache
def unknown_block() -> type[TinyBlock]:
    """A block that ends with an operator that no runtime has; defined once per process."""
    library = torch.library.Library("lowbit_unknown", "DEF")
    library.define("twice(Tensor x) -> Tensor")
    library.define("twice.out(Tensor x, *, Tensor(a!) out) -> Tensor(a!)")
    library.impl("twice", lambda x: x + x, "CompositeExplicitAutograd")

    class Unknown(TinyBlock):
        kept = library  # its operators live as long as it does

        def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
            return torch.ops.lowbit_unknown.twice(super().forward(tokens, input_pos))

    return Unknown


class Tables(nn.Module):
    """One table of each form, as embedding and as linear: one program that runs them all."""

    def __init__(self, forms: list[Form]) -> None:
        super().__init__()
        for i, form in enumerate(forms):
            self.register_buffer(f"table{i}", random_table(VOCABULARY, DIM, form, i))

    def forward(self, tokens: Tensor, input_pos: Tensor) -> tuple[Tensor, ...]:
        """tokens int64 [1, T] -> for each form float32 [1, T, VOCABULARY]."""
        ops = torch.ops.lowbit
        return tuple(ops.linear(ops.embedding(tokens, t, DIM), t, VOCABULARY) for t in self.buffers())


def write_program(module: nn.Module, path: Path) -> Path:
    """Exports ``forward(tokens, input_pos)`` with a dynamic number of tokens."""
    from executorch.exir import ExecutorchBackendConfig, to_edge

    methods = {"get_max_seq_len": MAX_SEQ, "enable_dynamic_shape": True, "get_eos_ids": [EOS]}
    inputs = (torch.arange(5)[None], torch.tensor([0]))
    shapes = ({1: Dim("tokens", min=1, max=MAX_SEQ)}, None)
    with torch.no_grad():
        program = to_edge(export(module.eval(), inputs, dynamic_shapes=shapes), constant_methods=methods)
        config = ExecutorchBackendConfig(constant_tensor_alignment=64)
        path.write_bytes(program.to_executorch(config).buffer)
    return path


def greedy(module: nn.Module, prompt: list[int], count: int) -> tuple[list[int], Tensor]:
    """Eager tokens and their logits [count, VOCABULARY], caches starting empty."""
    tokens, position, ids, logits = torch.tensor([prompt]), 0, [], []
    with torch.no_grad():
        for _ in range(count):
            logits.append(module(tokens, torch.tensor([position]))[0])
            position += tokens.shape[1]
            ids.append(int(logits[-1].argmax()))
            tokens = torch.tensor([[ids[-1]]])
    return ids, torch.stack(logits)
