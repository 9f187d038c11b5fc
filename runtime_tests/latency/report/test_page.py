"""The page of a report, as a browser shows it: on a desktop, on a phone, in the dark and on paper."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge.latency.report.page import page
from edge.latency.schema import Quality, Report
from runtime_tests.latency.report.contrast import contrast
from runtime_tests.latency.reports import emulated_report, made_up_report

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
DESKTOP, PHONE, PAPER = (1280, 800), (390, 844), (688, 1016)  # paper: A4 less 14 mm at every side
NASTY = "<script>document.title='hacked'</script>&\"'" + "W" * 60

#: What is asked of a page: words and svgs with their boxes, in CSS pixels.
MEASURE = """() => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const shown = [...document.querySelectorAll('body *')].filter(e => own(e) && e.checkVisibility());
  return {
    width: innerWidth, wide: document.documentElement.scrollWidth, text: document.body.textContent,
    high: document.documentElement.scrollHeight,
    first: [...document.querySelectorAll('.verdict, .first svg, .widths')].map(box),
    words: shown.map(e => {
      const style = getComputedStyle(e), svg = e.closest('svg');
      const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
      return { text: e.textContent.trim(), size: parseFloat(style.fontSize) * scale,
               colour: svg ? style.fill : style.color };
    }),
    paper: getComputedStyle(document.body).backgroundColor,
    svgs: [...document.querySelectorAll('svg')].map(s => ({
      box: box(s), label: s.getAttribute('aria-label'), role: s.getAttribute('role'),
      texts: [...s.querySelectorAll('text')].map(t => ({ text: t.textContent, box: box(t) })),
    })),
  };
}"""


@dataclass(frozen=True)
class Shown:
    """Result of MEASURE, and the browser's complaints and requests."""

    found: dict[str, Any]
    complaints: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven with playwright")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a report as large as a real one, of one that is hard to show, and of an emulator."""
    reports = {"full": made_up_report(full=True), "nasty": nasty(), "emulated": emulated_report()}
    directory = tmp_path_factory.mktemp("pages")
    for name, report in reports.items():
        (directory / f"{name}.html").write_text(page(report), encoding="utf-8")
    return {name: directory / f"{name}.html" for name in reports}


def nasty() -> Report:
    """Names that are markup and too long to break, and whatever else can be missing or cut off."""
    report = made_up_report()
    report.programs = report.programs[:8]
    for index, program in enumerate(report.programs):
        program.label = f"{index} {NASTY} {index}"
        program.name, program.model = f"{index} {NASTY}", NASTY
        program.note = program.verified = NASTY
        program.quality = Quality(text=NASTY, tokens=512, block=512, perplexity=13 + index / 100)
    report.programs[6].failure = NASTY
    report.finished = False
    device = report.device.model_copy(update={"name": NASTY, "cpu": NASTY, "features": ["f" * 9] * 60})
    return report.model_copy(update={"device": device})


def show(
    browser: Any,
    path: Path,
    size: tuple[int, int],
    scheme: str = "light",
    media: str = "screen",
    unfold: bool = False,
) -> Shown:
    complaints: list[str] = []
    opened = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: complaints.append(request.url))
    opened.emulate_media(media=media)
    opened.goto(path.as_uri())
    if unfold:
        opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = opened.evaluate(MEASURE)
    opened.close()
    assert complaints.pop(0) == path.as_uri()
    return Shown(found, complaints)


@pytest.fixture(
    scope="module",
    params=[
        ("full", DESKTOP, "light", "screen"),
        ("full", DESKTOP, "dark", "screen"),
        ("full", PHONE, "light", "screen"),
        ("full", PHONE, "dark", "screen"),
        ("full", PAPER, "light", "print"),
        ("nasty", DESKTOP, "light", "screen"),
        ("nasty", PHONE, "dark", "screen"),
        ("emulated", PHONE, "light", "screen"),
    ],
    ids=lambda param: "-".join((param[0], str(param[1][0]), *param[2:])),
)
def shown(request: pytest.FixtureRequest, browser: Any, pages: dict[str, Path]) -> Shown:
    """The whole page: unfolded on a screen; print shows all without that."""
    name, *how = request.param
    return show(browser, pages[name], *how, unfold=how[-1] == "screen")


def test_it_fits_asks_for_nothing_and_complains_of_nothing(shown):
    assert shown.found["wide"] <= shown.found["width"]
    assert shown.complaints == []


def test_every_plot_lies_on_the_page_and_says_what_it_shows(shown):
    for svg in shown.found["svgs"]:
        left, top, right, bottom = svg["box"]
        assert right - left > 200
        assert bottom - top > 100
        assert left >= 0
        assert right <= shown.found["width"]
        assert svg["role"] == "img"
        assert len(svg["label"]) > 30
        for text in svg["texts"]:
            assert left - 2 <= text["box"][0], text
            assert text["box"][2] <= right + 2, text


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=lambda size: str(size[0]))
def test_the_first_screen_is_the_answer_and_the_rest_is_folded(browser, pages, size):
    """A sentence, a picture and a table of our widths, all on a desktop's first screen."""
    found = show(browser, pages["full"], size).found
    assert len(found["first"]) == 3
    bottom = max(box[3] for box in found["first"])
    assert bottom <= size[1] * (1 if size == DESKTOP else 1.2)
    assert found["high"] < 2500
    text = " ".join(word["text"] for word in found["words"])
    assert "Ship 3 bits of story model: the fastest with at most 5 % more perplexity than 4 bits" in text


def test_words_in_a_plot_do_not_meet(shown):
    for svg in shown.found["svgs"]:
        boxes = [text["box"] for text in svg["texts"]]
        for index, one in enumerate(boxes):
            for text, other in zip(svg["texts"][:index], boxes, strict=False):
                across = min(one[2], other[2]) - max(one[0], other[0])
                down = min(one[3], other[3]) - max(one[1], other[1])
                # a line's box is taller than its letters
                assert across <= 1 or down <= 4, (svg["label"][:60], svg["texts"][index], text)


def test_words_are_large_enough_and_stand_out(shown):
    paper = _hex(shown.found["paper"])
    for word in shown.found["words"]:
        # on paper 8 pixels are 6 points
        assert word["size"] >= (8 if shown.found["width"] == PAPER[0] else 9), word
        assert contrast(_hex(word["colour"]), paper) >= 4.5, word


def _hex(colour: str) -> str:
    """Convert "rgb(1, 2, 3)" to "#010203"."""
    return "#" + "".join(f"{int(channel):02x}" for channel in re.findall(r"\d+", colour)[:3])


def test_dark_pages_are_dark_and_printed_ones_are_not(browser, pages):
    dark = show(browser, pages["emulated"], DESKTOP, "dark").found["paper"]
    printed = show(browser, pages["emulated"], PAPER, "dark", "print").found["paper"]
    assert contrast(_hex(dark), "#ffffff") > 12
    assert _hex(printed) == "#ffffff"


def test_what_is_folded_away_is_printed(browser, pages):
    def sizes(media: str) -> set[str]:
        return {word["text"] for word in show(browser, pages["full"], PAPER, "light", media).found["words"]}

    assert "Read share" not in sizes("screen")
    assert "Read share" in sizes("print")


def test_every_program_and_every_reason_is_there(browser, pages):
    text = show(browser, pages["full"], DESKTOP).found["text"]
    for program in made_up_report(full=True).programs:
        assert program.label in text
        assert program.model in text
    assert "failed: was killed (SIGKILL)" in text


def test_nothing_in_a_report_is_markup(browser, pages):
    found = show(browser, pages["nasty"], DESKTOP).found
    assert f"failed: {NASTY}" in found["text"]
    assert "Unfinished: 5 of 5 rounds exist for every program" in found["text"]
    assert "<script" not in pages["nasty"].read_text(encoding="utf-8")
    assert NASTY in found["words"][2]["text"]  # as it is, in the verdict too


def headings(report: Report) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page(report))


@pytest.fixture
def report() -> Report:
    report = made_up_report()
    report.programs = [program for program in report.programs if program.model == "125M"]
    return report


def test_equal_reports_give_equal_pages(report):
    report.programs = report.programs[:2]
    assert page(report) == page(report.model_copy(deep=True))


def test_an_emulator_has_no_speed_and_no_plot(pages):
    text = pages["emulated"].read_text(encoding="utf-8")
    assert "An emulator has no speed." in text
    assert "tok/s" not in text
    assert "<svg" not in text


def test_random_weights_have_no_quality_and_the_page_says_why(report):
    assert "No perplexity is shown, because all weights are random." in page(report)


ALL = ["Against our own 4 bits", "Tokens per second", "Over context and prompt", "Quality"]
ALL += ["Where a token’s time goes", "Against memory", "All figures"]  # noqa: RUF001
ALL += ["Circumstances", "How to read the figures"]


def test_sections_without_data_vanish(report):
    assert headings(report) == ALL
    report.settings.contexts, report.settings.prompts = [256], [128]
    for program in report.programs:
        program.traces = []
        for run in program.runs:
            run.read_seconds = None
    without = {ALL[2], ALL[4], ALL[5]}
    assert headings(report) == [heading for heading in ALL if heading not in without]
    report.programs = [program for program in report.programs if program.label != "4 bits"]
    assert ALL[0] not in headings(report)


def test_one_program_one_thread_one_round(report):
    report.settings.threads = [1]
    report.programs = report.programs[4:5]
    report.programs[0].runs = report.programs[0].runs[:1]
    assert ALL[0] not in headings(report)
    assert "NaN" not in page(report)


def test_a_program_that_failed_after_some_runs_is_in_no_plot(report):
    assert "← 0.12x" in page(report)
    report.programs[6].failure = "the device went away"
    text = page(report)
    assert "← 0.12x" not in text
    assert text.count("failed: the device went away") == 3  # the programs, and two thread counts


def test_a_report_without_any_run_is_a_page(report):
    for program in report.programs:
        program.runs, program.traces = [], []
    report.finished = False
    text = page(report)
    assert "No program has been measured." in text
    assert "Unfinished: 0 of 5 rounds" in text
    assert "<svg" not in text
