"""Devices by name, and the tools that are built for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.latency.devices import tools
from edge.latency.devices.adb import AdbDevice
from edge.latency.devices.device import DeviceError
from edge.latency.devices.emulator import EmulatedDevice
from edge.latency.devices.host import HostDevice
from edge.latency.devices.open import open_device
from edge.ops.cross_build import CrossBuildError
from runtime_tests.latency.devices.phone import SERIAL


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("host", HostDevice),
        ("adb", AdbDevice),
        ("adb:192.168.1.5:5555", AdbDevice),
        ("emulator", EmulatedDevice),
        ("emulator:cortex-a53", EmulatedDevice),
    ],
)
def test_names_of_devices(name, kind, tmp_path):
    assert type(open_device(name, None, tmp_path)) is kind


@pytest.mark.parametrize("name", ["", "phone", "host:", "host:1", "adb:", "emulator:", "emulator:m4", "ADB"])
def test_another_name_is_refused_with_what_is_allowed(name, tmp_path):
    with pytest.raises(
        ValueError, match="choose host, adb, adb:SERIAL, emulator or emulator:CORE, with a CORE of"
    ):
        open_device(name, None, tmp_path)


def test_a_serial_and_cores_reach_the_device(phone, scripts):
    phone.tell(devices={"other": "offline", SERIAL: "device"})
    with open_device(f"adb:{SERIAL}", [1], scripts) as device:
        assert device.record.cores == [1]


def test_an_emulated_core_is_not_among_this_computers(tmp_path):
    with pytest.raises(ValueError, match="leave out --cores"):
        open_device("emulator", [0], tmp_path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edge-lowbit"


def test_the_cross_build_is_made_once_and_kept(cache, monkeypatch, capsys):
    built = []

    def build(output: Path) -> Path:
        built.append(output)
        output.mkdir()
        (output / "lowbit_runner").touch()
        return output / "lowbit_runner"

    monkeypatch.setattr(tools, "cross_build", build)
    first, second = open_device("emulator:max"), open_device("emulator")
    assert len(built) == 1
    (kept,) = cache.iterdir()
    assert kept.name.startswith("aarch64-")
    assert (kept / "lowbit_runner").exists()
    assert first._folder == second._folder == kept
    assert capsys.readouterr().err.count("building the tools for aarch64") == 1


def test_a_cross_build_that_fails_leaves_nothing(cache, monkeypatch):
    def fail(output: Path) -> Path:
        output.mkdir()
        raise CrossBuildError("the compiler is missing: apt-get install it")

    monkeypatch.setattr(tools, "cross_build", fail)
    with pytest.raises(DeviceError, match="the compiler is missing: apt-get install it"):
        open_device("emulator")
    assert not cache.exists() or not list(cache.iterdir())


@pytest.fixture
def made_build(cache, tmp_path, monkeypatch):
    """Puts a script in place of the app's build, and returns where its tools shall lie."""

    def write(text: str) -> Path:
        script = tmp_path / "build.py"
        script.write_text(text)
        monkeypatch.setattr(tools, "_ANDROID_BUILD", script)
        return cache / "android-tools"

    return write


def test_a_phones_tools_are_those_that_the_apps_build_makes(made_build, capsys):
    folder = made_build("import pathlib, sys\npathlib.Path(sys.argv[2], sys.argv[1]).mkdir(parents=True)\n")
    device = open_device("adb")
    assert device._folder == folder
    assert [path.name for path in folder.iterdir()] == ["--tools"]
    assert "of the tools for Android" in capsys.readouterr().err


def test_a_build_for_android_that_fails_is_told_with_its_cure(made_build):
    sentence = "Clang 18 or newer is missing: apt-get install clang-19"
    folder = made_build(f"import sys\nprint('[  0.1 s] npm')\nsys.exit('error: {sentence}')\n")
    with pytest.raises(DeviceError, match=f"^the tools cannot be built for Android: {sentence}$"):
        open_device("adb")
    assert not folder.exists()


def test_without_a_checkout_a_phone_cannot_be_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(tools, "_ANDROID_BUILD", tmp_path / "build.py")
    with pytest.raises(DeviceError, match="give the command in a checkout of it"):
        open_device("adb")
