"""Consistency checks across distributed ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object


def has_several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def require_same_on_all_ranks(what: str, value: Any) -> None:
    """Raise a ValueError on every rank unless all ranks hold the same value.

    Args:
        what: name of the value in the error message.
        value: this rank's; it must pickle.
    """
    values = gather_object([value]) if has_several_ranks() else [value]
    for rank, other in enumerate(values):
        if other != values[0]:
            raise ValueError(
                f"rank {rank} sees a different {what} ({other}) from rank 0 ({values[0]}): --data must be "
                "the same on every machine, and --output on a file system that all machines share"
            )


class SharedFlag:
    """A flag that is set on all ranks as soon as one rank sets it; exchanged over gloo, not the accelerator.

    Every rank must create it at the same point of the run.
    """

    def __init__(self) -> None:
        self.group = dist.new_group(backend="gloo") if has_several_ranks() else None

    def any(self, mine: bool) -> bool:
        """Tell whether any rank passes True; every rank must call it equally often."""
        if self.group is None:
            return mine
        flag = torch.tensor(int(mine))
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self.group)
        return bool(flag)
