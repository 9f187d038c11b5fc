"""Reports of the app, which measures on a phone by itself."""

from __future__ import annotations

import pytest

from edge.latency.__main__ import pages
from edge.latency.devices.core_names import with_core_names
from edge.latency.devices.open import DEVICES, open_device
from edge.latency.report.answers import unfinished
from edge.latency.report.compare import read_finished
from edge.latency.report.notes import circumstances
from edge.latency.schema import Report, read_report, write_report
from runtime_tests.latency.reports import DEVICE, made_up_report

CPU = "SM0000: 4x core 0x41:0xd05 + 4x core 0x41:0xd41"


@pytest.fixture
def report() -> Report:
    """A made-up report of a phone that grew warm."""
    report = made_up_report()
    device = DEVICE.model_copy(update={"kind": "app", "name": "a made-up phone", "cpu": CPU})
    for program in report.programs:
        for run in program.runs:
            run.temperature_c, run.battery_percent, run.charging = 30.5 + run.round, 80 - run.round, False
    return report.model_copy(update={"device": device})


def test_its_page_shows_heat_battery_and_cores_by_name(report):
    facts = dict(circumstances(report))
    assert facts["Device"] == "a made-up phone (measured by the app, within its own process)"
    assert facts["Temperature"] == "30.5 to 34.5 °C"
    assert facts["Battery"] == "76 to 80 %, not charging"
    assert facts["Processor"].startswith("SM0000: 4x Cortex-A55 + 4x Cortex-A78;")
    assert all("30.5 to 34.5" in text for name, text in pages(report).items() if not name.endswith(".svg"))


def test_other_devices_have_no_such_facts():
    facts = dict(circumstances(made_up_report()))
    assert "Temperature" not in facts
    assert "Battery" not in facts


def test_numbers_of_unknown_cores_stay():
    assert with_core_names("2x core 0x99:0xabc") == "2x core 0x99:0xabc"


def test_a_report_that_was_stopped_says_why_and_is_not_compared(report, tmp_path):
    report.finished, report.stopped = False, "the device became too warm"
    warning = unfinished(report)
    assert warning is not None
    assert "because the device became too warm; figures" in warning
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    with pytest.raises(ValueError, match="is unfinished: measure it again"):
        read_finished(tmp_path / "report.json")


def test_the_command_does_not_measure_in_its_place():
    assert DEVICES["app"].has_speed
    with pytest.raises(ValueError, match="only names the origin of a report; choose host, adb"):
        open_device("app")
    with pytest.raises(ValueError, match="is no device; choose host") as refused:
        open_device("nothing")
    assert " app" not in str(refused.value)
