"""A phone through adb: files, runs and errors; see also test_arm_tools.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.latency.devices.adb import FOLDER, AdbDevice
from edge.latency.devices.device import DeviceError
from runtime_tests.latency.devices.phone import SERIAL, Phone
from runtime_tests.signals import as_in_a_terminal

ODD_NAME = 'it\'s a $HOME "model" & more;.pte'


def opened(scripts: Path, phone: Phone, **changes) -> AdbDevice:
    phone.tell(**changes)
    return AdbDevice(None, scripts, None)


def refused(scripts: Path, phone: Phone, serial: str | None = None, **changes) -> str:
    """The sentence that entering ends with; nothing is left on the phone."""
    phone.tell(**changes)
    with pytest.raises(DeviceError) as error, AdbDevice(serial, scripts):
        pass
    assert phone.left_behind() == []
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_record_tells_the_phone_and_the_cores_used(phone, scripts):
    with AdbDevice(SERIAL, scripts, [2, 6]) as device:
        record = device.record
        assert device.current_khz() == 1_200_000
    assert (record.kind, record.name) == ("adb", "Acme One")
    assert record.cpu == "AC100: 4x Cortex-A55 + 4x Cortex-A76"
    assert record.features == ["asimd", "fphp", "asimdhp", "asimddp"]
    assert (record.cores, record.max_khz) == ([2, 6], 2_400_000)
    assert record.governors == ["schedutil", "performance"]
    assert record.memory_bytes == 7654321 * 1024
    assert record.system == "Linux 5.10.149 aarch64"
    assert all(command == ["devices"] or command[:2] == ["-s", SERIAL] for command in phone.commands())


def test_a_tool_runs_on_the_chosen_cores(phone, scripts):
    with AdbDevice(None, scripts, [4, 5, 6, 7]) as device:
        assert device.run("lowbit_runner", ["echo hello; echo aside >&2"]).stdout == "hello\n"
    assert phone.masks() == ["f0"]
    with AdbDevice(None, scripts) as device:
        assert device.record.cores == list(range(8))
        device.run("lowbit_runner", ["true"])
    assert phone.masks() == ["f0"]


def test_how_a_tool_ended_is_told_from_how_adb_did(phone, scripts):
    with opened(scripts, phone) as device:
        ended = device.run("lowbit_runner", ["echo out; printf 'one\\nthe reason' >&2; exit 2"])
        assert (ended.returncode, ended.stdout, ended.failure) == (2, "out\n", "the reason")
        killed = device.run("lowbit_runner", ["kill -9 $$"])
        assert killed.returncode == -signal.SIGKILL
        assert "when memory runs out" in (killed.failure or "")
        assert "SIGSEGV" in (device.run("lowbit_runner", ["kill -SEGV $$"]).failure or "")
        assert device.run("lowbit_runner", ["exit 255"]).failure == "ended with exit code 255"
        # A tool may complain in adb's own words.
        assert device.run("lowbit_runner", ["echo adb: device offline >&2; exit 1"]).returncode == 1


def test_words_arrive_as_they_were_given(phone, scripts):
    words = ["a b", "$HOME", "it's", '"', "*", "", "x;y", "line\nbreak"]
    with opened(scripts, phone) as device:
        ended = device.run("lowbit_runner", ['shift; for w in "$@"; do echo "<$w>"; done', *words])
    assert ended.stdout == "".join(f"<{word}>\n" for word in words)


def test_programs_are_installed_once_and_outputs_fetched(phone, scripts, tmp_path):
    programs = [tmp_path / name for name in ("a/model.pte", "b/model.pte", f"b/{ODD_NAME}")]
    for index, program in enumerate(programs):
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(bytes([index]))
    with opened(scripts, phone) as device:
        paths = [device.install(program) for program in programs]
        assert len(set(paths)) == 3
        pushes = [command for command in phone.commands() if "push" in command]
        assert [device.install(program) for program in programs] == paths
        assert [command for command in phone.commands() if "push" in command] == pushes
        output = device.output_path("it's an output")
        for index, path in enumerate(paths):
            assert device.run("lowbit_runner", ['cat "$2" >"$3"', path, output]).failure is None
            assert device.fetch(output) == bytes([index])
        with pytest.raises(DeviceError, match=r"adb pull failed .*failed to stat remote object"):
            device.fetch(output)
    assert phone.left_behind() == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_on_the_phone(phone, scripts, error):
    def use() -> None:
        with opened(scripts, phone):
            assert phone.left_behind() == ["edge-latency"]
            raise error

    with pytest.raises(error):
        use()
    assert phone.left_behind() == []


def running(phone: Phone) -> list[str]:
    """Commands that run on the phone, known by their working directory."""
    commands = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() == phone.root:
                commands.append(process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended meanwhile
            continue
    return commands


def wait_until(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


def test_a_tool_that_hangs_is_a_failure_and_is_ended(phone, scripts, monkeypatch):
    with opened(scripts, phone) as device:
        with monkeypatch.context() as patch:
            patch.setattr("edge.latency.devices.adb.TIMEOUT_SECONDS", 3.0)  # time to start, on a busy machine
            ended = device.run("lowbit_runner", ["exec sleep 600"])
        assert ended.failure == "did not end within 3 seconds"
        assert wait_until(lambda: not running(phone))
        assert device.run("lowbit_runner", ["echo on"]).stdout == "on\n"


def test_ctrl_c_ends_the_tool_and_cleans_up(phone, scripts):
    code = (
        "from pathlib import Path\n"
        "from edge.latency.devices.adb import AdbDevice\n"
        f"with AdbDevice(None, Path({str(scripts)!r})) as device:\n"
        "    device.run('lowbit_runner', ['exec sleep 600'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=as_in_a_terminal,
    )
    assert wait_until(lambda: any(command.startswith("sleep") for command in running(phone)), 240)
    os.killpg(process.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=120)[1]
    assert phone.left_behind() == []
    assert wait_until(lambda: not running(phone))


def test_no_adb_and_no_phone(phone, scripts, monkeypatch):
    assert "connect a phone" in refused(scripts, phone, devices={})
    monkeypatch.setenv("PATH", "/nowhere")
    assert "adb is missing: install" in refused(scripts, phone)


def test_one_of_several_phones_is_chosen_by_serial(phone, scripts):
    states = {"A1": "device", "192.168.1.5:5555": "unauthorized"}
    message = refused(scripts, phone, devices=states)
    assert "A1 (device), 192.168.1.5:5555 (unauthorized): choose one, as in --device adb:A1" in message
    assert "no device B, only A1" in refused(scripts, phone, "B", devices=states)
    with AdbDevice("A1", scripts) as device:
        assert device.record.name == "Acme One"


@pytest.mark.parametrize(
    ("state", "cure"),
    [
        ("unauthorized", "accept its question"),
        ("offline", "adb reconnect offline"),
        ("no permissions (missing udev rules? user is in the plugdev group); see [http://x]", "udev rules"),
        ("recovery", "start Android"),
    ],
)
def test_a_phone_that_is_not_ready_is_refused_with_the_cure(phone, scripts, state, cure):
    message = refused(scripts, phone, devices={SERIAL: state})
    assert SERIAL in message
    assert cure in message


@pytest.mark.parametrize("machine", ["x86_64", "armv8l"])
def test_another_cpu_is_refused_by_name(phone, scripts, machine):
    assert f"of type {machine}; aarch64 is needed" in refused(scripts, phone, machine=machine)


def test_a_core_that_the_phone_lacks_is_refused(phone, scripts):
    with pytest.raises(ValueError, match="Acme One does not offer core 8-9, only 0-7"):
        AdbDevice(None, scripts, [7, 8, 9]).__enter__()
    assert phone.left_behind() == []


def test_no_space(phone, scripts, tmp_path):
    program = tmp_path / "model.pte"
    program.write_bytes(bytes(3_000_000))
    with opened(scripts, phone, free_kb=2000) as device:
        with pytest.raises(DeviceError, match=r"model\.pte needs 3\.0 MB and .* has 2\.0 MB free"):
            device.install(program)
        assert not any(str(program) in command for command in phone.commands())
    with opened(scripts, phone, room_kb=2000) as device:  # it fills up meanwhile
        with pytest.raises(DeviceError, match=r"adb push failed .*No space left on device"):
            device.install(program)
        with pytest.raises(DeviceError, match="No space left"):  # and is not taken for installed
            device.install(program)
    assert phone.left_behind() == []
    assert "the tools needs 0.0 MB" in refused(scripts, phone, free_kb=0)


def test_a_folder_that_is_there_already_is_left_alone(phone, scripts):
    (phone.root / FOLDER[1:]).mkdir()
    with pytest.raises(DeviceError, match=f"adb -s {SERIAL} shell rm -rf {re.escape(FOLDER)}"):
        AdbDevice(None, scripts).__enter__()
    assert phone.left_behind() == ["edge-latency"]


def test_a_lost_connection_is_no_failure_of_the_program(phone, scripts, capsys):
    """A DeviceError at every command, and the user is told what may be left on the phone."""

    def use(lose_at: int | None) -> None:
        subprocess.run(["rm", "-rf", phone.base / "commands", phone.root / FOLDER[1:]], check=True)
        with opened(scripts, phone, lose_at=lose_at) as device:
            assert device.run("lowbit_runner", ["echo whole"]).stdout == "whole\n"

    use(None)
    removal = len(phone.commands())
    warning = f"remove what is left with: adb -s {SERIAL} shell rm -rf {FOLDER}"
    for lose_at in range(2, removal):
        with pytest.raises(DeviceError, match=r"lost|not found"):
            use(lose_at)
        assert warning in capsys.readouterr().err or not phone.left_behind()
    use(removal)
    assert warning in capsys.readouterr().err
