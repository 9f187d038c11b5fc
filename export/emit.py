"""Export a lowered model, check which ops its graph calls, and write the program."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from executorch.exir import (
    EdgeCompileConfig,
    EdgeProgramManager,
    ExecutorchBackendConfig,
    to_edge,
    to_edge_transform_and_lower,
)
from executorch.exir.lowered_backend_module import LoweredBackendModule
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from edge.model.decoder import Decoder
from edge.runtime.load import WIDTHS
from export.tables import PackedTable, packed_tables

#: Packed tables start on a cache line, for the kernels' 64-byte loads.
CONSTANT_ALIGNMENT_BYTES = 64
#: Matrix products of PyTorch.
PRODUCTS = {"aten.linear", "aten.mm", "aten.addmm", "aten.bmm", "aten.matmul"}
_COMPILE_CONFIG = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)


class Forward(nn.Module):
    """The program's only method: the last token's logits, from tokens [1, T] and the first one's position.

    Args:
        all_logits: those of every token instead.
    """

    def __init__(self, model: Decoder, max_tokens: int, all_logits: bool = False) -> None:
        super().__init__()
        self.all_logits = all_logits
        elastic = [table for table in packed_tables(model).values() if table.is_elastic]
        self.chosen = elastic[0].widths if elastic else None
        for name, tensor in _first_buffers(elastic):
            self.register_buffer(name, tensor, persistent=False)
        self.model = model
        self.max_tokens = max_tokens

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """tokens int64 [1, T], input_pos int64 [1] -> logits float32 [1, vocab], or all [1, T, vocab]."""
        if self.chosen is not None:
            self.chosen.bits = self.get_buffer(WIDTHS)
        start = cast(int, input_pos[0].item())  # symbolic during export
        torch._check(start >= 0)
        torch._check(start + tokens.shape[1] <= self.max_tokens)
        hidden = self.model.hidden(tokens, start)  # [1, T, dim], before the final norm
        read = hidden if self.all_logits else hidden[:, -1]
        return self.model.capped(self.model.lm_head(read, self.model.embed_tokens))


def _first_buffers(tables: Sequence[PackedTable]) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers of elastic weights in the order that they will have in the program's file.

    All bases come first, then what 4 bits need, then the rest, because the system reads the neighbours of a
    page too. The widths get the name by which a runtime finds them.
    """
    if tables:
        yield WIDTHS, tables[0].widths.bits
    for part in ("", "middle.", "low."):
        for index, table in enumerate(tables):
            yield f"elastic_{part.removesuffix('.')}{index}", table.get_buffer(f"{part}packed")


def export_forward(lowered: Decoder, max_seq_len: int, all_logits: bool = False) -> ExportedProgram:
    """Export a lowered model with a dynamic number of tokens, so that one method does prefill and decode."""
    # torch.export treats a length of at most 2 as a constant, so the limit is at least 3. If the cache is
    # shorter, the attention op checks the positions.
    max_tokens = max(max_seq_len, 3)
    with torch.no_grad():
        return export(
            Forward(lowered, max_tokens, all_logits),
            (torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
            dynamic_shapes={"tokens": {1: Dim("tokens", min=1, max=max_tokens)}, "input_pos": None},
            strict=False,
        )


def keep_ops(exported: ExportedProgram, constant_methods: dict[str, Any]) -> EdgeProgramManager:
    """Turn an exported model into ExecuTorch's dialect; every op stays as it is."""
    return to_edge(exported, compile_config=_COMPILE_CONFIG, constant_methods=constant_methods)


def delegate_to_xnnpack(exported: ExportedProgram, constant_methods: dict[str, Any]) -> EdgeProgramManager:
    """Turn an exported model into ExecuTorch's dialect, and delegate to XNNPACK the ops that it takes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return to_edge_transform_and_lower(
        exported,
        partitioner=[XnnpackPartitioner()],
        compile_config=_COMPILE_CONFIG,
        constant_methods=constant_methods,
    )


def require_ops(edge: EdgeProgramManager, native: Counter[str], delegated_linears: int = 0) -> None:
    """Check that a program calls the ops it was lowered to.

    Args:
        native: number of calls by op of ``torch.ops.lowbit``, see ``modules.op_calls``.
        delegated_linears: number of matrix products that must be inside delegates; none may be outside.

    Raises:
        ValueError: it calls others.
    """
    graph = edge.exported_program().graph_module
    outside = _calls(graph)
    delegates = [m for _, m in graph.named_children() if isinstance(m, LoweredBackendModule)]
    inside = sum((_calls(d.original_module.graph_module) for d in delegates), Counter[str]())
    found = Counter({op: count for op, count in outside.items() if op.startswith("lowbit.")})
    wrong = [
        f"{op} {found[op]} times instead of {native[op]}"
        for op in sorted(found | native)
        if found[op] != native[op]
    ]
    wrong += [f"{op}, which belongs in a native op or a delegate" for op in sorted(PRODUCTS & outside.keys())]
    products = sum(inside[op] for op in PRODUCTS)
    if products != delegated_linears:
        wrong.append(f"{products} matrix products in delegates instead of {delegated_linears}")
    if wrong:
        raise ValueError(f"the exported graph is not what its recipe lowers to: it calls {'; '.join(wrong)}")


def write_program(edge: EdgeProgramManager, path: Path, is_elastic: bool = False) -> None:
    """Write a ``.pte``; its ``forward`` serves prefill and decode with one KV cache.

    Args:
        is_elastic: the program's widths can be set by name.
    """
    program = edge.to_executorch(
        ExecutorchBackendConfig(
            constant_tensor_alignment=CONSTANT_ALIGNMENT_BYTES,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
            emit_mutable_buffer_names=is_elastic,
        )
    )
    with path.open("wb") as file:
        program.write_to_file(file)


def _calls(graph: torch.fx.GraphModule) -> Counter[str]:
    """Count a graph's calls by op, without the overload's name."""
    calls: Counter[str] = Counter()
    for node in graph.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        # an op that writes to the cache is the first argument of a call that returns the cache anew
        target = node.args[0] if str(node.target) == "auto_functionalized_v2" else node.target
        calls[str(getattr(target, "overloadpacket", target))] += 1
    return calls
