"""The comparison and its report, which edge.latency reads as its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.latency.__main__ import main as latency
from edge.latency.devices.circumstances import read_circumstances
from edge.latency.devices.process import run_process
from edge.latency.exported import exporters_quality, open_exported
from edge.latency.gather import gather
from edge.latency.schema import Report, read_report
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import GREEDY, DesktopApp, Json, Refused

#: Lengths that take little time; 600 positions are more than the programs hold.
SMALL: Json = {"rounds": 3, "prompt_tokens": [8, 600], "contexts": [16], "generate": 4, "threads": [1, 2]}
READINGS = {"name": "a desktop", "temperature_c": "31.5", "battery_percent": "80", "charging": "false"}


@pytest.fixture(scope="module")
def models(story_program: StoryPrograms) -> list[Path]:
    return [story_program("2"), story_program("4"), story_program("4", "xnnpack-8da4w")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def readings(data: Path) -> Path:
    path = data / "readings.properties"
    tell(path)
    return path


@pytest.fixture(scope="module")
def app(run_app: RunApp, models: list[Path], data: Path, readings: Path) -> Iterator[DesktopApp]:
    with run_app(data, models=models, readings=readings) as app:
        yield app


def tell(readings: Path, **changes: str) -> None:
    """Let the device's sensors say something else."""
    lines = [f"{name}={value}" for name, value in {**READINGS, **changes}.items()]
    staged = readings.with_suffix(".new")
    staged.write_text("\n".join(lines))
    staged.replace(readings)


def own(app: DesktopApp) -> list[str]:
    return [model["id"] for model in app.models() if model["recipe"] == "lowbit"]


def to_the_end(app: DesktopApp) -> Json:
    done = app.wait_for("compare.done", "compare.failed")
    assert done["event"] == "compare.done", done
    return done["report"]


@pytest.fixture(scope="module")
def finished(app: DesktopApp, data: Path) -> Path:
    """The file of a finished report."""
    app.call("compare.start", models=own(app), **SMALL)
    to_the_end(app)
    return data / "report" / "report.json"


def test_the_plan_names_the_opponent_and_what_does_not_fit(app):
    plan = app.call("compare.plan", models=own(app), **SMALL)
    (opponent,) = [model["id"] for model in app.models() if model["recipe"] != "lowbit"]
    assert plan["opponents"] == [opponent]
    assert plan["steps"] == 3 + 3 * 2 * 3  # a warm-up of each, then rounds, threads and programs
    assert plan["seconds"] > 0
    assert len(plan["notes"]) == 3
    assert all("holds 512 positions" in note for note in plan["notes"])
    chosen = app.call("compare.plan", models=[opponent], **SMALL)
    assert chosen["opponents"] == []
    defaults = app.call("compare.plan", models=own(app))
    assert defaults["notes"] == []


def test_every_program_is_measured_in_turns(finished, models):
    report = read_report(finished)
    assert report.finished
    assert report.stopped == ""
    assert report.settings.model_dump() == {
        "threads": [1, 2],
        "prompts": [8, 600],
        "contexts": [16],
        "generated": 4,
        "rounds": 3,
    }
    expected = gather(models, [], [], [], Path(), print)
    assert [program.name for program in report.programs] == [each.record.name for each in expected]
    for program, candidate, folder in zip(report.programs, expected, models, strict=True):
        told = candidate.record
        for field in (
            "model",
            "label",
            "recipe",
            "format",
            "bits",
            "weights",
            "parameters",
            "file_bytes",
            "sha256",
        ):
            assert getattr(program, field) == getattr(told, field)
        for field in (
            "linear_bits_per_weight", "kv_cache", "kv_bytes_per_position", "config", "head_bytes",
        ):  # fmt: skip
            assert getattr(program, field) == getattr(told, field)
        assert program.quality == exporters_quality(open_exported(folder).manifest)
        assert program.note == "its KV cache holds 512 positions; what needs more was not measured"
        assert program.failure is None
        assert [(r.round, r.threads) for r in program.runs] == [(i, t) for i in range(3) for t in (1, 2)]
        for run in program.runs:
            assert set(run.prefill) == {8}
            assert set(run.decode) == {16}
            assert run.load_ms is not None
            assert run.first_token_ms is not None
            assert 0 < run.load_ms < run.first_token_ms
            assert (run.temperature_c, run.battery_percent, run.charging) == (31.5, 80, False)


def test_the_order_of_a_turn_rotates(app, finished):
    lines = [event["line"] for event in app.events if event["event"] == "compare.progress"]
    turns = [line for line in lines if line.endswith(", 1 thread") and "round" in line]
    firsts = [turns[i].split(":")[0] for i in range(0, 9, 3)]
    assert sorted(firsts) == sorted({line.split(":")[0] for line in lines})


def test_progress_tells_the_steps_and_the_time_left(app, finished):
    steps = [event for event in app.events if event["event"] == "compare.progress"]
    assert [step["done"] for step in steps] == list(range(21))
    assert {step["total"] for step in steps} == {21}
    assert all(step["seconds_left"] > 0 for step in steps)
    counts = [sum(len(p["runs"]) for p in step["report"]["programs"]) for step in steps]
    assert counts == [0, 0, 0, *range(18)]  # nothing is kept of a warm-up


def test_the_device_is_described_as_the_command_does(app, finished):
    record = read_report(finished).device
    expected = read_circumstances(run_process).record("app", None)
    told = {"name": "a desktop"}
    assert record == expected.model_copy(update=told)
    device = app.call("device.get")
    assert device["memory_bytes"] == expected.memory_bytes
    assert len(device["cores"]) == len(expected.cores)
    assert (device["temperature_c"], device["battery_percent"], device["charging"]) == (31.5, 80, False)


def test_the_report_is_rendered_compared_and_shared(app, finished, data, capsys):
    page = "<!doctype html><title>A picture</title>"
    assert app.call("report.share", html=page)["files"] == ["report.json", "report.html"]
    assert (data / "report" / "report.html").read_text() == page
    assert app.call("compare.last")["report"]["finished"] is True
    assert app.call("compare.last")["run"] is None
    assert latency(["--render", str(finished)]) == 0
    text = (data / "report" / "report.md").read_text()
    assert "measured by the app" in text
    assert "xnnpack-8da4w" in text
    assert "31.5 °C" in text
    assert latency(["--compare", str(finished), str(finished)]) == 0
    assert "0 " in capsys.readouterr().out


def test_a_comparison_stops_when_the_device_throttles(app, finished, readings, data):
    app.call("compare.start", models=own(app), **{**SMALL, "rounds": 200})
    while app.wait_for("compare.progress")["done"] < 8:
        pass
    tell(readings, throttling="true")
    try:
        report = Report.model_validate(to_the_end(app))
        assert not report.finished
        assert report.stopped == "the device became too warm and slowed down (throttling)"
        begun = [event["done"] for event in app.events if event["event"] == "compare.progress"][-1]
        warm_ups = len(report.programs)
        # The step that was running is over, and not kept.
        assert sum(len(program.runs) for program in report.programs) == begun - warm_ups < 1200
        assert report == read_report(data / "report" / "report.json")
        with pytest.raises(Refused, match="Nothing can be measured now"):
            app.call("compare.start", models=own(app), **SMALL)
        tell(readings, temperature_c="45.5")  # the system does not tell of throttling
        with pytest.raises(Refused, match=r"too warm \(45\.5"):
            app.call("compare.start", models=own(app), **SMALL)
    finally:
        tell(readings)


def test_nothing_else_runs_beside_a_comparison_and_it_can_be_stopped(app, finished, data):
    two = own(app)[0]
    run = app.call("compare.start", models=own(app), **{**SMALL, "rounds": 200})["run"]
    for name, arguments in (
        ("compare.start", {"models": own(app), **SMALL}),
        ("generate.start", {"model": two, "tokens": [1], **GREEDY}),
        ("models.add", {"path": str(data)}),
        ("models.delete", {"id": two}),
    ):
        with pytest.raises(Refused, match="A comparison is running"):
            app.call(name, **arguments)
    assert app.call("compare.last")["run"] == run
    app.call("compare.stop", run=run)
    report = to_the_end(app)
    assert (report["finished"], report["stopped"]) == (False, "it was stopped by hand")
    ids, _ = app.generate(two, [1, 5, 6])
    assert ids


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"models": []}, "at least one program"),
        ({"models": ["nothing"]}, "no program nothing"),
        ({"rounds": 0}, "Rounds must be at least 1"),
        ({"rounds": 1001}, r"rounds must lie in 1\.\.1000"),
        ({"contexts": []}, "contexts must name at least one"),
        ({"threads": [0]}, "threads must be at least 1"),
        ({"threads": [257]}, r"threads must lie in 1\.\.256"),
    ],
)
def test_what_cannot_be_compared_is_refused(app, asked, sentence):
    with pytest.raises(Refused, match=sentence):
        app.call("compare.plan", **{"models": own(app), **SMALL, **asked})


def test_a_program_that_fails_has_the_reason_and_the_others_go_on(run_app, models, tmp_path):
    with run_app(tmp_path, models=models[:2]) as app:
        with pytest.raises(Refused, match="no report yet"):
            app.call("report.share", html="")
        damaged, whole = own(app)
        (path,) = (path for path in tmp_path.rglob("model.pte") if damaged in str(path))
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        app.call("compare.start", models=[damaged, whole], **{**SMALL, "rounds": 1})
        report = Report.model_validate(to_the_end(app))
        bad, good = report.programs
        assert report.finished
        assert (bad.runs, good.failure) == ([], None)
        assert bad.failure is not None
        assert bad.failure.startswith("model.pte is not as it was exported")
        assert len(good.runs) == 2
