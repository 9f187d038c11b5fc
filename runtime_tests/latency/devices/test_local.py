"""This computer as a device."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from edge.latency.devices import host
from edge.latency.devices.device import DeviceError
from edge.latency.devices.host import HostDevice
from edge.latency.devices.process import run_process

CORE = max(os.sched_getaffinity(0))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the runner, a shell that runs its first argument."""
    path = tmp_path / "shell"
    path.write_text('#!/bin/sh\neval "$1"\n')
    path.chmod(0o755)
    monkeypatch.setitem(host._PATHS, "lowbit_runner", lambda: path)


def test_the_real_tools_run():
    with HostDevice() as device:
        assert device.record.kind == "host"
        ended = device.run("lowbit_kernel_check", ["--rounds", "1"])
        assert (ended.failure, ended.stdout.split(":")[0]) == (None, "selected")
        for tool in ("lowbit_runner", "lowbit_kernel_bench"):
            refused = device.run(tool, ["--no-such-option", "1"])
            assert refused.returncode == 2
            assert refused.failure


@pytest.mark.usefixtures("shell")
def test_a_tool_runs_on_the_chosen_cores_only():
    with HostDevice([CORE]) as device:
        assert device.record.cores == [CORE]
        ended = device.run("lowbit_runner", ["cat /proc/self/status"])
    assert f"Cpus_allowed_list:\t{CORE}\n" in ended.stdout
    assert os.sched_getaffinity(0) != {CORE} or CORE == 0


def test_a_core_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"does not offer core 4000, only "):
        HostDevice([4000]).__enter__()


@pytest.mark.usefixtures("shell")
def test_how_a_tool_ended(monkeypatch):
    with HostDevice() as device:
        assert device.run("lowbit_runner", ["echo why >&2; exit 2"]).failure == "why"
        assert device.run("lowbit_runner", ["kill -9 $$"]).returncode == -signal.SIGKILL
        impatient = partial(run_process, timeout_seconds=0.5)
        monkeypatch.setattr("edge.latency.devices.local.run_process", impatient)
        assert device.run("lowbit_runner", ["exec sleep 600"]).failure == "did not end within 0.5 seconds"


@pytest.mark.usefixtures("shell")
def test_outputs_are_fetched_once_and_do_not_stay(tmp_path):
    with HostDevice() as device:
        path = device.output_path("an output")
        device.run("lowbit_runner", [f"printf abc >'{path}'"])
        assert device.fetch(path) == b"abc"
        with pytest.raises(DeviceError, match="cannot be read"):
            device.fetch(path)
        device.run("lowbit_runner", [f"printf abc >'{path}'"])
    assert not Path(path).parent.exists()
    program = tmp_path / "model.pte"
    assert device.install(program) == str(program)
