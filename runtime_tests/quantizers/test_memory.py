"""Tests that a quantisation-aware step allocates only one weight-sized buffer at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edge.formats import BITS_CHOICES, FULL_PRECISION, Grid, grid_for_bits
from edge.quantizers.paretoq import QATLinear

SIZE, LINEARS, EXAMPLES = 1024, 4, 8
LOW_BITS = [grid_for_bits(bits) for bits in BITS_CHOICES if bits != FULL_PRECISION.bits]


class WeightSized(TorchDispatchMode):
    """Counts, after every op, storages as large as a weight that no gradient is kept in.

    Attributes:
        most: the largest count so far.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.parameters = parameters
        self.made: dict[int, StorageWeakRef] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() >= SIZE * SIZE * 4:
                reference = StorageWeakRef(tensor.untyped_storage())
                self.made[reference.cdata] = reference
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        known = {tensor.untyped_storage()._cdata for tensor in (*self.parameters, *gradients)}
        alive = [r for r in self.made.values() if not r.expired() and r.cdata not in known]
        self.most = max(self.most, len(alive))
        return result


@pytest.mark.parametrize("fmt", LOW_BITS, ids=lambda fmt: fmt.name)
def test_a_step_makes_one_weight_sized_buffer_at_a_time(fmt: Grid):
    model = nn.Sequential(*(QATLinear(torch.randn(SIZE, SIZE), fmt) for _ in range(LINEARS)))
    with WeightSized(list(model.parameters())) as buffers:
        model(torch.randn(EXAMPLES, SIZE)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert buffers.most == 1


def test_a_second_buffer_would_be_seen():
    model = nn.Sequential(*(QATLinear(torch.randn(SIZE, SIZE), LOW_BITS[0]) for _ in range(LINEARS)))
    with WeightSized(list(model.parameters())) as buffers:
        rounded = [linear.quantized_weight() for linear in model]
    assert len(rounded) == buffers.most == LINEARS
