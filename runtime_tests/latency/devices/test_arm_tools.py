"""The tools themselves: Android's on a phone reached through adb, Linux's on emulated cores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.files import sha256_of
from edge.latency.devices.adb import FOLDER, AdbDevice
from edge.latency.devices.device import Device, DeviceError
from edge.latency.devices.emulator import CORES, EmulatedDevice
from edge.latency.devices.host import HostDevice

BEST_KERNEL = {"cortex-a53": "neon", "cortex-a76": "dotprod", "max": "i8mm"}
PROMPT = ["--tokens", "3,14,15,9,2", "--max-new-tokens", "8"]


def logits(device: Device, program: Path) -> bytes:
    output = device.output_path("logits.bin")
    arguments = ["--model", device.install(program), *PROMPT, "--logits", output]
    assert device.run("lowbit_runner", arguments).failure is None
    return device.fetch(output)


def check_tools(device: Device, program: Path, kernel: str) -> None:
    checked = device.run("lowbit_kernel_check", ["--rounds", "1"])
    assert checked.failure is None
    assert checked.stdout.startswith(f"selected: {kernel}\n")

    path = device.install(program)
    speed = ["--benchmark", "--prompt-length", "4", "--generate", "2", "--runs", "1", "--threads", "2"]
    measured = device.run("lowbit_runner", ["--model", path, *speed])
    assert measured.failure is None
    report = json.loads(measured.stdout)
    assert (report["model"], report["model_bytes"]) == (path, program.stat().st_size)
    assert report["kernel"] == kernel

    refused = device.run("lowbit_runner", ["--model", path + ".lost", *PROMPT])
    assert refused.returncode == 2
    assert path in (refused.failure or "")


def test_the_tools_run_on_a_phone(android_phone, android_tools, tiny_program):
    with HostDevice() as host:
        expected = logits(host, tiny_program)
    for core, kernel in BEST_KERNEL.items():
        android_phone.tell(core=core)
        with AdbDevice(None, android_tools, [4, 5]) as device:
            check_tools(device, tiny_program, kernel)
            assert logits(device, tiny_program) == expected
            there = android_phone.root / FOLDER[1:] / "tools"
            assert {(path.name, sha256_of(path)) for path in there.glob("*.so")} == {
                (library.name, library.sha256) for library in device.record.libraries
            }
        assert android_phone.left_behind() == []
    assert set(android_phone.masks()) == {"30"}


@pytest.mark.parametrize("core", CORES)
def test_the_tools_run_on_an_emulated_core(arm_folder, tiny_program, core):
    with EmulatedDevice(core, arm_folder) as device:
        check_tools(device, tiny_program, BEST_KERNEL[core])
        record = device.record
        assert device.current_khz() is None
    assert (record.kind, record.cpu, record.name) == ("emulator", core, f"emulated {core}")
    assert (record.cores, record.max_khz, record.governors) == ([], None, [])
    assert record.system.startswith("qemu-aarch64 ")


def test_the_emulator_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="qemu-aarch64 is missing: apt-get install qemu-user"):
        EmulatedDevice("max", tmp_path).__enter__()
