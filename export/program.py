"""A lowered model to the bytes of an ExecuTorch program."""

from __future__ import annotations

from typing import Any, cast

import torch
from executorch.exir import EdgeCompileConfig, ExecutorchBackendConfig, to_edge, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor, nn
from torch.export import Dim, export

from edge.model.decoder import Decoder
from export.recipes import Options

#: Packed tables start on a cache line, which the kernels' 64-byte loads like best.
CONSTANT_ALIGNMENT_BYTES = 64


class Forward(nn.Module):
    """The program's one method: tokens [1, T] and the position of the first, to the last token's logits."""

    def __init__(self, model: Decoder, max_tokens: int) -> None:
        super().__init__()
        self.model = model
        self.max_tokens = max_tokens

    def forward(self, tokens: Tensor, input_pos: Tensor) -> Tensor:
        """tokens int64 [1, T], input_pos int64 [1] -> logits float32 [1, vocab]."""
        start = cast(int, input_pos[0].item())  # symbolic while exporting
        torch._check(start >= 0)
        torch._check(start + tokens.shape[1] <= self.max_tokens)
        hidden = self.model.hidden(tokens, start)  # [1, T, dim], before the final norm
        return self.model.lm_head(hidden[:, -1], self.model.embed_tokens)


def to_program(model: Decoder, options: Options, constant_methods: dict[str, Any]) -> bytes:
    """Exports a lowered model (see ``recipes.lower``) with a dynamic number of tokens.

    Returns:
        the bytes of a ``.pte``; its ``forward`` serves prefill and decode with one KV cache.
    """
    # torch.export takes a length that ends at 2 for a constant. The attention op guards a shorter cache.
    max_tokens = max(options.max_seq_len, 3)
    with torch.no_grad():
        exported = export(
            Forward(model, max_tokens),
            (torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
            dynamic_shapes={"tokens": {1: Dim("tokens", min=1, max=max_tokens)}, "input_pos": None},
            strict=False,
        )
    config = EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True)
    if options.recipe.uses_xnnpack:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        edge = to_edge_transform_and_lower(
            exported,
            partitioner=[XnnpackPartitioner()],
            compile_config=config,
            constant_methods=constant_methods,
        )
    else:
        edge = to_edge(exported, compile_config=config, constant_methods=constant_methods)
    program = edge.to_executorch(
        ExecutorchBackendConfig(
            constant_tensor_alignment=CONSTANT_ALIGNMENT_BYTES,
            memory_planning_pass=MemoryPlanningPass(alloc_graph_input=False),
        )
    )
    return program.buffer
