"""``torch.compile`` and PyTorch's own checks take the ops; the batch may change."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="needs Triton: pip install '.[gpu]'")

from edge.ops.triton import linear, linear_int8, quantize_tokens
from runtime_tests.ops.triton.cases import DEVICE, make_input, make_weight, on_device

HELD = on_device(make_weight("bits3", None, 20, 300, 64))


def test_a_dynamic_batch_is_compiled_once() -> None:
    def layer(x: torch.Tensor) -> torch.Tensor:
        q, scale = quantize_tokens(x)
        return linear(x, HELD) + linear_int8(q, scale, HELD, x.dtype)

    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(layer, dynamic=True, fullgraph=True, backend=backend)
    for m in (2, 5, 33):
        x = make_input(m, 300, torch.float16).to(DEVICE).reshape(m, 1, 300)
        assert torch.equal(compiled(x), layer(x))
    assert len(graphs) == 1


def test_wrong_shapes_are_refused_while_compiling() -> None:
    compiled = torch.compile(lambda x: linear(x, HELD), dynamic=True, backend="eager")
    with pytest.raises(Exception, match="must end with 300 columns"):
        compiled(make_input(2, 299, torch.float16).to(DEVICE))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pytorch_finds_nothing_wrong_with_the_ops(dtype: torch.dtype) -> None:
    x = make_input(2, 300, dtype).to(DEVICE)
    parts = (HELD.words, HELD.scale, HELD.zero, 0.0, HELD.k, HELD.bits, HELD.group_size)
    torch.library.opcheck(torch.ops.lowbit.gpu_linear, (x, *parts))
    q, scale = quantize_tokens(x)
    torch.library.opcheck(torch.ops.lowbit.gpu_linear_int8, (q, scale, *parts, dtype))
