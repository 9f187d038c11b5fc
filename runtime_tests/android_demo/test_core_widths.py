"""The width of an elastic program: with a request, between tokens, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.latency.gather import gather
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import GREEDY, DesktopApp, Json, Refused, until
from runtime_tests.android_demo.widths import ids_at

PROMPT = [1, 300, 17, 904, 33]


@pytest.fixture(scope="module")
def app(
    run_app: RunApp,
    elastic_program: Path,
    story_program: StoryPrograms,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DesktopApp]:
    """The app with an elastic program and one of 2 bits, at the kernel whose tokens take longest."""
    models = [elastic_program, story_program("2")]
    slow = {"EDGE_FORCE_KERNEL": "scalar"}
    with run_app(tmp_path_factory.mktemp("app"), models=models, environment=slow) as app:
        app.call("settings.set", settings={"threads": 1})
        yield app


@pytest.fixture
def elastic(app: DesktopApp) -> str:
    return next(model["id"] for model in app.models() if model["widths"])


@pytest.fixture
def ordinary(app: DesktopApp) -> str:
    return next(model["id"] for model in app.models() if not model["widths"])


def runs_of(stats: Json) -> list[tuple[int, int]]:
    return [(run["bits"], run["tokens"]) for run in stats["widths"]]


def wait_for_tokens(app: DesktopApp, count: int) -> None:
    """Wait until the answer has so many tokens more than now."""

    def length() -> int:
        return len(app.call("generate.current")["ids"])

    before = length()
    until(lambda: length() > before + count)


def test_the_page_is_told_which_widths_there_are(app, elastic, ordinary, elastic_program):
    described = {model["id"]: model for model in app.models()}
    (candidate,) = gather([elastic_program], [], [], [], Path(), print)
    assert described[elastic]["label"] == candidate.record.label == "8 bits elastic, int8 cache"
    assert described[elastic]["widths"] == [2, 3, 4, 5, 6, 7, 8]
    assert described[ordinary]["widths"] == []
    assert elastic.startswith("default-elastic-")


def test_a_request_names_the_width(app, elastic, ordinary, elastic_program):
    found = {}
    for position, (asked, bits) in enumerate([({}, 8), ({"width": 2}, 2), ({"width": 0}, 8)]):
        prompt = [2 + position, *PROMPT]  # nothing of another width's KV cache serves
        ids, stats = app.generate(elastic, prompt, max_new_tokens=12, **asked)
        assert runs_of(stats) == [(bits, 12)]
        assert ids == ids_at(elastic_program, prompt, [(bits, 12)])
        found[position] = ids
    assert ids_at(elastic_program, [3, *PROMPT], [(8, 12)]) != found[1]
    _, stats = app.generate(ordinary, PROMPT, max_new_tokens=2, width=0)
    assert stats["widths"] == []


def test_only_what_was_computed_at_the_same_width_is_reused(app, elastic, elastic_program):
    """Tests that a request gives its own width's answer, whatever was asked before."""
    for width, reused in ((5, 0), (5, len(PROMPT)), (3, 0), (5, 0)):
        ids, stats = app.generate(elastic, [9, *PROMPT], max_new_tokens=10, width=width)
        assert stats["reused_tokens"] == reused
        assert ids == ids_at(elastic_program, [9, *PROMPT], [(width, 10)])


def test_a_change_in_the_middle_of_an_answer_gives_pythons_tokens(app, elastic, elastic_program):
    request = {**GREEDY, "model": elastic, "tokens": [8, *PROMPT], "max_new_tokens": 400, "width": 8}
    run = app.call("generate.start", **request)["run"]
    wait_for_tokens(app, 10)
    for width in (2, 4):
        app.call("generate.width", run=run, width=width)
        wait_for_tokens(app, 10)
    app.call("generate.stop", run=run)
    stats = app.wait_for("done", "failed")["stats"]
    told = [i for event in app.events if event.get("run") == run for i in event.get("ids", [])]
    assert [bits for bits, _ in runs_of(stats)] == [8, 2, 4]
    assert stats["widths"][0]["tokens"] > 10
    assert sum(count for _, count in runs_of(stats)) == stats["generated_tokens"] == len(told)
    assert told == ids_at(elastic_program, [8, *PROMPT], runs_of(stats))
    _, stats = app.generate(elastic, [8, *PROMPT], max_new_tokens=2, width=4)
    assert stats["reused_tokens"] == 0  # the cache is not of 4 bits alone


def test_what_is_no_width_is_refused_at_once(app, elastic, ordinary):
    fixed = "This program is not elastic, so its width is fixed: export it with --bits elastic."
    unheld = "An elastic program holds 2 to 8 bits, not {}: choose one of these."
    for model, width, sentence in (
        (elastic, 1, unheld.format(1)),
        (elastic, 9, unheld.format(9)),
        (elastic, -1, unheld.format(-1)),
        (elastic, 2.5, "Width must be a whole number."),
        (ordinary, 2, fixed),
    ):
        with pytest.raises(Refused) as refused:
            app.call("generate.start", **{**GREEDY, "model": model, "tokens": PROMPT, "width": width})
        assert str(refused.value) == sentence
    assert app.call("generate.current") == {"run": None}
    for model, width, sentence in ((elastic, 9, unheld.format(9)), (ordinary, 2, fixed)):
        request = {**GREEDY, "model": model, "tokens": PROMPT, "max_new_tokens": 400}
        run = app.call("generate.start", **request)["run"]
        with pytest.raises(Refused) as refused:
            app.call("generate.width", run=run, width=width)
        assert str(refused.value) == sentence
        app.call("generate.stop", run=run)
        assert app.wait_for("done", "failed")["event"] == "done"
        app.call("generate.width", run=run, width=width)  # of a run that has ended: nothing happens
    with pytest.raises(Refused, match="width must lie in"):
        app.call("settings.set", settings={"width": 9})
