"""This computer."""

from __future__ import annotations

from edge.latency.devices.circumstances import highest, read_circumstances
from edge.latency.devices.cores import on_cores
from edge.latency.devices.device import DeviceKind, DeviceRecord, Tool
from edge.latency.devices.local import LocalDevice
from edge.latency.devices.process import run_process
from edge.ops.library import kernel_bench_path, kernel_check_path, runner_environment, runner_path

_PATHS = {
    "lowbit_runner": runner_path,
    "lowbit_kernel_bench": kernel_bench_path,
    "lowbit_kernel_check": kernel_check_path,
}


class HostDevice(LocalDevice):
    """This computer with the installed tools, on ``cores``; None: on all that this process may use."""

    def __init__(self, cores: list[int] | None = None) -> None:
        self._cores = cores
        self.environment = runner_environment()

    def describe(self) -> DeviceRecord:
        return read_circumstances(run_process).record("host", self._cores)

    def launch(self, tool: Tool) -> list[str]:
        return [*on_cores(self._cores), str(_PATHS[tool]())]

    def current_khz(self) -> int | None:
        return highest(read_circumstances(run_process).current_khz, self.record.cores)


KIND = DeviceKind(
    "host",
    "this computer",
    lambda variant, cores, tools: HostDevice(cores),
    is_this_computer=True,
)
