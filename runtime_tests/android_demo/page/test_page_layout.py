"""The look of the page: it fits every screen, can be read and touched, and names what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import DesktopApp, until
from runtime_tests.android_demo.page_driver import DESKTOP, LANDSCAPE, PHONE, TABLET, AppPage
from runtime_tests.latency.report.contrast import contrast

#: What is seen of the page: every word with its size and colours, and everything that can be touched.
MEASURE = """() => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const shown = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  const solid = (colour) => !/rgba\\(.*, 0\\)|transparent/.test(colour);
  const paper = (e) => {
    while (!solid(getComputedStyle(e).backgroundColor)) e = e.parentElement;
    return getComputedStyle(e).backgroundColor;
  };
  const inView = [...document.querySelectorAll(".view:not([hidden]) *, .tabs *")].filter(shown);
  const words = inView.filter((e) => own(e) && !e.closest(".hidden, :disabled"));
  const typed = "select, textarea, input:not([type=radio], [type=checkbox])";
  const touched = `a[href], button, summary, label:has(input), ${typed}`;
  return {
    width: innerWidth, wide: document.documentElement.scrollWidth,
    words: words.map((e) => {
      const style = getComputedStyle(e), svg = e.closest("svg");
      const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
      return { text: e.textContent.trim(), size: parseFloat(style.fontSize) * scale,
               colour: svg ? style.fill : style.color, paper: paper(e) };
    }),
    targets: inView.filter((e) => e.matches(touched)).map((e) => ({
      text: e.getAttribute("aria-label") ?? e.textContent.trim(), box: box(e),
      named: Boolean(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length),
    })),
  };
}"""

LOOKS = [(PHONE, "light"), (PHONE, "dark"), (LANDSCAPE, "dark"), (TABLET, "light"), (DESKTOP, "dark")]


@pytest.fixture(scope="module")
def app(
    run_app: RunApp,
    elastic_program: Path,
    story_program: StoryPrograms,
    page_libraries: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DesktopApp]:
    models = [elastic_program, story_program("4"), story_program("4", "xnnpack-8da4w")]
    with run_app(tmp_path_factory.mktemp("layout"), models=models, assets=[page_libraries]) as app:
        first, second = (model["id"] for model in app.models()[:2])
        settings = {"model": first, "side_by_side": second, "max_new_tokens": 60}
        app.call("settings.set", settings=settings)
        yield app


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0][0]}-{look[1]}")
def page(request: pytest.FixtureRequest, chromium: Any, app: DesktopApp) -> Iterator[AppPage]:
    """A page with an answer side by side and a report."""
    page = AppPage(chromium, app, *request.param)
    page.begin()
    page.send("One day, a little dog")
    page.wait_for_answer(2)
    page.show("compare")
    page.page.click("summary:has-text('Lengths')")
    for name in ("rounds", "prompt_tokens", "contexts", "generate", "threads"):
        page.page.fill(f"[name={name}]", "2")
    page.page.wait_for_selector(".plan:has-text('9 steps')")
    page.page.click("text=Start")
    page.page.wait_for_selector(".progress:not([hidden])")
    page.page.wait_for_selector(".plan-form:not([hidden])")
    page.page.click("summary:has-text('Circumstances')")
    yield page
    page.close()
    assert page.complaints == []


@pytest.fixture(params=["models", "chat", "compare"])
def found(request: pytest.FixtureRequest, page: AppPage) -> dict[str, Any]:
    page.show(request.param)
    return page.page.evaluate(MEASURE)


def test_it_fits_and_can_be_read_and_touched(found):
    assert found["wide"] <= found["width"]
    assert len(found["words"]) > 10
    for word in found["words"]:
        assert word["size"] >= 9.5, word
        assert contrast(_hex(word["colour"]), _hex(word["paper"])) >= 4.5, word
    for target in found["targets"]:
        left, top, right, bottom = target["box"]
        assert target["named"], target
        assert bottom - top >= 43.5, target
        assert right - left >= 43.5, target


def _hex(colour: str) -> str:
    """Convert "rgb(1, 2, 3)" to "#010203"."""
    return "#" + "".join(f"{int(channel):02x}" for channel in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("view", ["models", "chat", "compare"])
def test_every_view_has_one_heading_and_the_tab_says_where_one_is(page, view):
    page.show(view)
    assert page.page.locator(f"#{view} h1").count() == 1
    assert page.page.locator(".tabs [aria-current=page]").all_text_contents()[0].strip().lower() == view
    assert page.page.locator(".view:visible").count() == 1


def test_words_in_the_picture_do_not_meet_and_lie_inside_it(page):
    page.show("compare")
    boxes = page.page.evaluate(
        "[...document.querySelectorAll('.chart text')].map((t) => [t.textContent, t.getBoundingClientRect()])"
        ".map(([text, r]) => [text, r.left, r.top, r.right, r.bottom])"
    )
    left, right = page.page.evaluate(
        "(({left, right}) => [left, right])(document.querySelector('.chart').getBoundingClientRect())"
    )
    for index, one in enumerate(boxes):
        assert left - 1 <= one[1], one
        assert one[3] <= right + 1, one
        for other in boxes[:index]:
            across = min(one[3], other[3]) - max(one[1], other[1])
            down = min(one[4], other[4]) - max(one[2], other[2])
            assert across <= 1 or down <= 4, (one, other)


def test_everything_is_reached_by_keyboard(page):
    page.show("chat")
    page.page.focus(".tabs a")
    reached = set()
    for _ in range(40):
        page.page.keyboard.press("Tab")
        reached.add(
            page.page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.name ?? ''")
        )
    wanted = {
        "Conversations",
        "Side by side",
        "New conversation",
        "Sampling settings",
        "Conversation",
        "Your text",
        "Send",
    }
    assert wanted <= reached
    page.page.focus("textarea")
    assert page.page.evaluate("getComputedStyle(document.querySelector('textarea')).outlineStyle") == "solid"


def test_the_keyboard_stays_at_a_width_that_it_chose(page):
    page.show("chat")
    page.page.focus("[name=width]:checked")
    before = page.page.input_value("[name=width]:checked")
    page.page.keyboard.press("ArrowRight")
    page.page.wait_for_function(
        "(old) => document.querySelector('[name=width]:checked').value !== old", arg=before
    )
    chosen = page.page.input_value("[name=width]:checked")
    page.page.wait_for_function("document.activeElement.matches('[name=width]:checked')")
    page.page.keyboard.press("ArrowLeft")
    page.page.wait_for_function(
        "(old) => document.querySelector('[name=width]:checked').value !== old", arg=chosen
    )
    until(lambda: page.app.call("settings.get")["settings"]["model"] == before)  # the next page needs it


def test_nothing_moves_for_who_asked_for_that(chromium, app):
    page = AppPage(chromium, app)
    page.page.emulate_media(reduced_motion="reduce")
    page.page.click("[aria-label='Sampling settings']")
    names = "[...document.querySelectorAll('*')].map((each) => getComputedStyle(each).animationName)"
    assert set(page.page.evaluate(names)) == {"none"}
    page.close()
