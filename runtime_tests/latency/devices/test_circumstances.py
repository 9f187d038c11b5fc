"""Records made from a device's own words; a phone's are in test_adb.py."""

from __future__ import annotations

import os

import pytest

from edge.latency.devices.circumstances import SCRIPT, parse, read_circumstances
from edge.latency.devices.device import DeviceError, Ended
from edge.latency.devices.process import run_process

SERVER = """uname: Linux 6.1.0 x86_64
processor\t: 0
model name\t: Some CPU @ 2.00GHz: stepping 3
flags\t\t: fpu avx avx2 fma f16c avx512f avx512dq avx512bw avx512vl avx512_vnni avx512_vbmi2
processor\t: 1
model name\t: Some CPU @ 2.00GHz: stepping 3
MemTotal:       16318480 kB
Cpus_allowed:\t3
Cpus_allowed_list:\t0-1
cpuinfo_max_freq 0: 3000000
cpuinfo_max_freq 1: 3500000
scaling_cur_freq 1: 1234567
scaling_governor 0: powersave
scaling_governor 1: powersave
"""


def test_a_server():
    found = parse(SERVER)
    record = found.record("host", None)
    assert (record.name, record.cpu) == ("x86_64 computer", "Some CPU @ 2.00GHz: stepping 3")
    assert record.features == [
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512dq",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
    ]
    assert (record.cores, record.max_khz, record.governors) == ([0, 1], 3_500_000, ["powersave"])
    assert (record.memory_bytes, record.system) == (16318480 * 1024, "Linux 6.1.0 x86_64")
    assert found.current_khz == {1: 1234567}
    assert found.record("host", [0]).max_khz == 3_000_000


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ([(0x41, 0xD03)] * 4, "Cortex-A53"),
        ([(0x41, 0xD46), (0x41, 0xD4D), (0x41, 0xD46)], "2x Cortex-A510 + 1x Cortex-A715"),
        ([(0x51, 0x001)], "Oryon"),
        ([(0x41, 0xFFF), (0x61, 0x001)], "1x core 0x41:0xfff + 1x core 0x61:0x001"),
    ],
)
def test_arm_cores_by_name(cores, expected):
    lines = [f"CPU implementer\t: {implementer:#x}\nCPU part\t: {part:#x}" for implementer, part in cores]
    assert parse("uname: Linux 6 aarch64\nboard: A Board\n" + "\n".join(lines)).cpu == expected


def test_a_phone_whose_model_names_its_maker():
    lines = "ro.product.manufacturer: acme\nro.product.model: Acme One\nro.soc.model: \n"
    assert parse(lines).name == "Acme One"


def test_what_is_not_told_is_left_out():
    record = parse("uname: Linux 6.1.0 riscv64\n").record("host", None)
    assert (record.name, record.cpu, record.features) == ("riscv64 computer", "riscv64", [])
    assert (record.cores, record.max_khz, record.governors, record.memory_bytes) == ([0], None, [], None)


def test_the_script_says_of_this_computer_what_python_does():
    found = read_circumstances(run_process)
    assert found.allowed == sorted(os.sched_getaffinity(0))
    assert found.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    uname = os.uname()
    assert found.system == f"{uname.sysname} {uname.release} {uname.machine}"
    assert run_process(["sh", "-c", SCRIPT]).stderr == ""


def test_a_shell_that_fails_is_the_devices_fault():
    with pytest.raises(DeviceError, match="its shell sh: not found"):
        read_circumstances(lambda words: Ended(127, "", "sh: not found\n"))
