"""The slider for the width of an elastic program, in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.model.tokenizer import Tokenizer
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import DesktopApp, Json
from runtime_tests.android_demo.page_driver import AppPage
from runtime_tests.android_demo.widths import ids_at

PROMPT = "One day, a little dog"
SLIDER = "[name=elastic]"
#: Moves the slider to 2 bits as soon as the answer has its first word: a person is too slow for this model.
NARROW_AT_THE_FIRST_WORD = """() => new Promise((resolve) => {
  const look = () => {
    if (!document.querySelector(".running .written")?.textContent) return setTimeout(look, 1);
    const slider = document.querySelector("[name=elastic]");
    slider.value = 2;
    slider.dispatchEvent(new Event("input"));
    resolve();
  };
  look();
})"""


@pytest.fixture(scope="module")
def app(
    run_app: RunApp,
    elastic_program: Path,
    story_program: StoryPrograms,
    page_libraries: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DesktopApp]:
    models, slow = [elastic_program, story_program("2")], {"EDGE_FORCE_KERNEL": "scalar"}
    data = tmp_path_factory.mktemp("width")
    with run_app(data, models=models, assets=[page_libraries], environment=slow) as app:
        yield app


@pytest.fixture
def ids(app: DesktopApp) -> dict[str, str]:
    """Ids of the programs; the page of the shared fixture begins with that of 2 bits."""
    return {"elastic" if model["widths"] else "2 bits": model["id"] for model in app.models()}


def last_answer(page: AppPage) -> Json:
    latest = page.app.call("conversations.list")["conversations"][0]["id"]
    return page.app.call("conversations.get", id=latest)["conversation"]["turns"][-1]


def test_only_an_elastic_program_has_a_slider(page):
    assert page.page.is_hidden(SLIDER)
    page.page.click(".width:has-text('elastic width')")
    page.page.wait_for_selector(SLIDER)
    assert page.text(".width-slider output") == "8 bits"
    assert page.text(".width-slider small") == "Fewer bits: faster, less memory, less exact."
    limits = [page.page.get_attribute(SLIDER, name) for name in ("min", "max", "step")]
    assert limits == ["2", "8", "1"]
    page.page.click(".width:has-text('2 bits, ')")
    page.page.wait_for_selector(SLIDER, state="hidden")


def test_the_answer_has_the_width_of_the_slider_and_names_it(page, ids, elastic_program):
    page.set(model=ids["elastic"], width=0, max_new_tokens=20)
    page.begin()
    page.page.focus(SLIDER)
    for _ in range(4):
        page.page.keyboard.press("ArrowLeft")
    page.page.wait_for_selector(".width-slider output:has-text('4 bits')")
    page.send(PROMPT)
    (answer,) = page.wait_for_answer()
    prompt = [1, *Tokenizer(elastic_program).encode(PROMPT)]
    expected = ids_at(elastic_program, prompt, [(4, 20)])
    assert last_answer(page)["ids"] == expected
    assert answer == Tokenizer(elastic_program).decode([*prompt, *expected])[len(PROMPT) :]
    assert page.text(".figures").startswith("4 bits width")
    page.page.reload()
    page.page.wait_for_selector(".width-slider output:has-text('4 bits')")


def test_moving_the_slider_changes_the_tokens_that_follow(page, ids, elastic_program):
    page.set(model=ids["elastic"], width=8, max_new_tokens=300)
    page.begin()
    page.send(PROMPT)
    page.page.evaluate(NARROW_AT_THE_FIRST_WORD)
    page.wait_for_answer()
    answer = last_answer(page)
    runs = [(run["bits"], run["tokens"]) for run in answer["stats"]["widths"]]
    assert [bits for bits, _ in runs] == [8, 2]
    prompt = [1, *Tokenizer(elastic_program).encode(PROMPT)]
    assert answer["ids"] == ids_at(elastic_program, prompt, runs)
    assert page.text(".figures").startswith("8, 2 bits width")
    assert page.app.call("settings.get")["settings"]["width"] == 2
