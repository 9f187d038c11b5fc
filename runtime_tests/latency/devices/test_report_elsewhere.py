"""Whole reports of a phone, reached by the stand-in adb, and of emulated cores."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from android_demo.parts.native import LIBRARIES
from edge.cli import main_guard
from edge.latency import __main__ as command
from edge.latency.devices import open as opening
from edge.latency.exported import ExportedCandidate
from edge.latency.schema import read_report

SHORT = ("--prompts", "4", "--contexts", "8", "--generated", "2", "--rounds", "2", "--opponents", "none")


def use_tools(monkeypatch, name: str, folder: Path) -> None:
    kind = replace(opening.DEVICES[name], tools=lambda: folder)
    monkeypatch.setitem(opening.DEVICES, name, kind)


@pytest.fixture
def measured_phone(android_phone, android_tools, monkeypatch):
    """A phone that the tools of Android run on."""
    use_tools(monkeypatch, "adb", android_tools)
    return android_phone


@pytest.fixture
def emulator(arm_folder, monkeypatch):
    use_tools(monkeypatch, "emulator", arm_folder)


def run(*argv: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main_guard(lambda: command.main([str(a) for a in argv]))
    return exit_info.value.code


def test_a_phone(exported, measured_phone, tmp_path):
    output = tmp_path / "report"
    assert run(exported["two"], exported["full"], *SHORT, "--device", "adb", "--output", output) == 0
    report = read_report(output / "report.json")
    assert report.device.kind == "adb"
    assert report.finished
    two, full = report.programs
    assert two.verified == "logits of 4 tokens equal to this computer's, bit for bit"
    assert full.verified.startswith("logits of 4 tokens ")
    for program in report.programs:
        assert program.failure is None
        assert [run.round for run in program.runs] == [0, 1]
        assert {run.kernel for run in program.runs} <= {"neon", "dotprod", "i8mm"}
        assert all(run.read_seconds and run.khz for run in program.runs)
        assert program.traces == []
    assert measured_phone.left_behind() == []
    for library in report.device.libraries:
        shown = f"{library.name}{' of ' * bool(library.origin)}{library.origin} ({library.sha256[:12]})"
        assert shown in (output / "report.md").read_text()
    assert [library.name for library in report.device.libraries] == list(LIBRARIES)


def test_a_phone_that_is_lost_halfway_goes_on_later(exported, measured_phone, tmp_path, capsys):
    phone = measured_phone
    argv = (exported["two"], *SHORT, "--device", "adb", "--output", tmp_path / "report")
    phone.tell(lose_at_benchmark=2)
    assert run(*argv) == 2
    assert "the same command continues" in capsys.readouterr().err
    path = tmp_path / "report" / "report.json"
    kept = read_report(path)
    assert not kept.finished
    assert len(kept.programs[0].runs) == 1
    phone.tell()
    for left in phone.left_behind():  # the command that the user was given
        shutil.rmtree(phone.root / "data/local/tmp" / left)
    whole = path.read_text()
    path.write_text(whole.replace(kept.device.libraries[-1].sha256, "0" * 64))
    assert run(*argv) == 2
    assert "was begun with other libraries" in capsys.readouterr().err
    path.write_text(whole)
    assert run(*argv) == 0
    assert read_report(path).finished
    assert read_report(path).programs[0].runs[0] == kept.programs[0].runs[0]


@pytest.mark.parametrize("core", ["cortex-a53", "max"])
def test_an_emulated_core_is_right_and_has_no_speed(exported, emulator, tmp_path, core):
    output = tmp_path / "report"
    assert (
        run(exported["two"], exported["full"], *SHORT, "--device", f"emulator:{core}", "--output", output)
        == 0
    )
    report = read_report(output / "report.json")
    assert report.finished
    assert report.device.cpu == core
    assert report.programs[0].verified == "logits of 4 tokens equal to this computer's, bit for bit"
    assert all(p.failure is None and p.verified and not p.runs and not p.traces for p in report.programs)
    for name in ("report.md", "report.html"):
        text = (output / name).read_text()
        assert "bit for bit" in text
        assert "tok/s" not in text


def test_a_program_that_computes_otherwise_there_is_not_timed(
    exported, measured_phone, tmp_path, monkeypatch
):
    original = ExportedCandidate._check_logits
    monkeypatch.setattr(
        ExportedCandidate,
        "_check_logits",
        lambda self, device: original(self, device) + (device.record.kind == "adb"),
    )
    output = tmp_path / "report"
    assert run(exported["two"], *SHORT, "--device", "adb", "--output", output) == 2
    (program,) = read_report(output / "report.json").programs
    assert (
        program.failure
        == "its logits of 4 tokens differ from this computer's: it is not right on this device"
    )
    assert program.runs == []
