"""Time products on a GPU: each is a CUDA graph, which runs after the cache was overwritten."""

from __future__ import annotations

from collections.abc import Callable

import torch

_COPIED_BYTES = 1 << 30


class Clock:
    """Time work on the current GPU with events; what it reads is not in the L2 cache."""

    def __init__(self) -> None:
        cache_bytes = torch.cuda.get_device_properties().L2_cache_size
        self._flush = torch.empty(2 * cache_bytes, dtype=torch.uint8, device="cuda")

    def captured(self, work: Callable[[], object]) -> Callable[[], None]:
        """Run work some times, and capture it as a graph; returns what replays it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    def microseconds(self, replay: Callable[[], None]) -> float:
        """Time one replay, the start of its graph included."""
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._flush.zero_()
        start.record()
        replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e3

    def copy_bandwidth(self, rounds: int) -> float:
        """Bytes per second that a copy of a gigabyte reads and writes; the median."""
        source = torch.empty(_COPIED_BYTES, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        replay = self.captured(lambda: target.copy_(source))
        times = sorted(self.microseconds(replay) for _ in range(rounds))
        return 2 * _COPIED_BYTES / (times[len(times) // 2] * 1e-6)

    def empty_microseconds(self, rounds: int) -> float:
        """Time the smallest graph: what every time includes; the median."""
        one = torch.zeros(1, device="cuda")
        replay = self.captured(one.zero_)
        return sorted(self.microseconds(replay) for _ in range(rounds))[rounds // 2]
