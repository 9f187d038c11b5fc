"""Training with FSDP2 on CPUs, for tests: Accelerate shards over accelerators only and would run DDP.

Everything behind that decision is the code that runs on accelerators, over gloo.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType


def shard_on_cpus() -> None:
    """Has Accelerate take FSDP where it is asked for, whatever the devices."""
    begin = AcceleratorState.__init__

    def init(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin

    def get(self: AcceleratorState) -> DistributedType:
        sharded = self.__dict__.get("fsdp_plugin") is not None
        return DistributedType.FSDP if sharded else self.__dict__["distributed_type"]

    def put(self: AcceleratorState, kind: DistributedType) -> None:
        self.__dict__["distributed_type"] = kind

    AcceleratorState.__init__ = init
    AcceleratorState.distributed_type = property(get, put)
