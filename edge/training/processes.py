"""What the processes of one run settle among themselves; a run of one process settles it alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object


def several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def refuse_other_sights(what: str, seen: Any) -> None:
    """ValueError, on every process, where they do not all see the same.

    Args:
        what: names it in the sentence.
        seen: this process's; it must pickle.
    """
    sights = gather_object([seen]) if several() else [seen]
    for process, other in enumerate(sights):
        if other != sights[0]:
            raise ValueError(
                f"process {process} sees another {what} ({other}) than process 0 ({sights[0]}): --output and "
                "--data must be the same files on every machine, the output on a file system that all share"
            )


class Agreement:
    """Asks all processes one question again and again, over CPUs, so that no accelerator is waited for."""

    def __init__(self) -> None:
        """Every process must make it at the same point of the run."""
        self.group = dist.new_group(backend="gloo") if several() else None

    def any(self, mine: bool) -> bool:
        """Whether any process says so."""
        if self.group is None:
            return mine
        said = torch.tensor(int(mine))
        dist.all_reduce(said, dist.ReduceOp.MAX, group=self.group)
        return bool(said)
