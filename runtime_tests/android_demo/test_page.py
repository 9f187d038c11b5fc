"""The app's page in a browser, against the real core, native code and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge.latency.schema import read_report
from edge.model.chat_template import ChatTemplate
from edge.model.tokenizer import Tokenizer
from edge.runtime.generate import TextStream, generate, sampler
from edge.runtime.load import Program
from edge.runtime.manifest import Manifest, read_manifest, record_file
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import DesktopApp
from runtime_tests.android_demo.made_templates import TEMPLATES
from runtime_tests.android_demo.page_driver import ANDROID, AppPage, browser

PROMPT = "One day, a little dog named Max found a caf\u00e9"
GREEDY = {"temperature": 0, "max_new_tokens": 60, "side_by_side": None, "seed": 1, "threads": 1}
MARKERS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def talker(story_program: StoryPrograms, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The story model with a chat template; it answers nonsense, but by the template."""
    folder = tmp_path_factory.mktemp("talker") / "program"
    folder.mkdir()
    source = story_program("2")
    for name in ("model.pte", "tokenizer.json"):
        (folder / name).hardlink_to(source / name)
    (folder / "chat_template.jinja").write_text(TEMPLATES["chatml"])
    manifest = Manifest.model_validate_json((source / "manifest.json").read_bytes())
    record = record_file(folder / "chat_template.jinja")
    changed = manifest.model_copy(update={"model": "talker", "chat_template": record, "markers": MARKERS})
    (folder / "manifest.json").write_text(changed.sealed().model_dump_json(indent=2))
    return folder


@pytest.fixture(scope="module")
def programs(story_program: StoryPrograms, talker: Path) -> dict[str, Path]:
    """Folders of programs by the names that the page gives them."""
    xnnpack = story_program("4", "xnnpack-8da4w")
    return {
        "2 bits": story_program("2"),
        "4 bits": story_program("4"),
        "XNNPACK 4 bits": xnnpack,
        "talker": talker,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page-data")


@pytest.fixture(scope="module")
def app(run_app: RunApp, programs: dict[str, Path], page_libraries: Path, data: Path) -> Iterator[DesktopApp]:
    slow = {"EDGE_FORCE_KERNEL": "scalar"}  # the same tokens, but so that a stop or a reload meets an answer
    models = list(programs.values())
    with run_app(data, models=models, assets=[page_libraries], environment=slow) as app:
        yield app


@pytest.fixture
def ids(app: DesktopApp) -> dict[str, str]:
    """Ids of the programs by their names; a missing tokenizer would show here."""
    names = {"lowbit": "", "xnnpack-8da4w": "XNNPACK "}
    return {
        "talker" if m["model"] == "talker" else f"{names[m['recipe']]}{m['bits']:g} bits": m["id"]
        for m in app.models()
    }


@pytest.fixture
def page(chromium: Any, app: DesktopApp, ids: dict[str, str]) -> Iterator[AppPage]:
    """A new conversation with the 2-bit program at temperature 0. No test may leave a complaint."""
    app.call("settings.set", settings={**GREEDY, "model": ids["2 bits"]})
    page = AppPage(chromium, app)
    page.begin()
    yield page
    page.close()
    assert page.complaints == []


def in_python(folder: Path, prompt: list[int], most: int = 60) -> str:
    """What ``python -m edge.runtime --temperature 0`` prints behind the prompt."""
    manifest, tokenizer = read_manifest(folder), Tokenizer(folder)
    stream, pieces = TextStream(tokenizer, prompt), []
    program = Program(folder / "model.pte")
    eos = manifest.config.eos_ids
    generate(program, prompt, most, sampler(0.0, 1, 0), eos, lambda token: pieces.append(stream.add(token)))
    return "".join(pieces)


def story(folder: Path, text: str = PROMPT, most: int = 60) -> str:
    return in_python(folder, [1, *Tokenizer(folder).encode(text)], most)


#: Does something in the page as soon as the answer has its first word: a person is too slow for this model.
AT_THE_FIRST_WORD = """(action) => new Promise((resolve) => {
  const look = () => {
    const written = document.querySelector(".running .written");
    if (!written?.textContent) return setTimeout(look, 1);
    action === "stop" ? document.querySelector("[aria-label=Stop]").click() : location.reload();
    resolve(written.textContent);
  };
  look();
})"""


def test_a_story_is_pythons(page, programs):
    page.send(PROMPT)
    (answer,) = page.wait_for_answer()
    assert answer == story(programs["2 bits"])
    assert page.text(".given") == PROMPT
    figures = page.text(".figures")
    assert all(
        word in figures for word in ("tok/s decode", "tok/s prefill of", "ms first token", "MB memory")
    )
    used = 1 + len(Tokenizer(programs["2 bits"]).encode(PROMPT + answer))
    assert page.text(".meter") == f"{used} of 512 tokens"


def test_on_android_the_same_page_talks_through_its_names(chromium, app, page, programs):
    phone = AppPage(chromium, app, script=ANDROID)
    phone.begin()
    phone.send(PROMPT)
    assert phone.wait_for_answer() == [story(programs["2 bits"])]
    phone.close()
    assert phone.complaints == []


def test_going_on_continues_the_same_tokens(page, programs):
    page.set(max_new_tokens=20)
    page.begin()
    page.send(PROMPT)
    first = page.wait_for_answer()
    page.page.click("text=Go on")
    page.page.wait_for_selector(".group >> nth=1")
    second = page.wait_for_answer()
    assert first[0] + second[0] == story(programs["2 bits"], most=40)


def test_an_answer_stops(page):
    page.set(max_new_tokens=480)
    page.begin()
    page.send(PROMPT)
    page.page.evaluate(AT_THE_FIRST_WORD, "stop")
    page.page.wait_for_selector("text=Stopped")
    assert page.text("[role=status]") != ""
    (conversation, *_) = page.app.call("conversations.list")["conversations"]
    answer = page.app.call("conversations.get", id=conversation["id"])["conversation"]["turns"][1]
    assert answer["stats"]["end"] == "stopped"
    assert 0 < len(answer["ids"]) < 400
    assert answer["text"] == page.page.text_content(".written")


def test_a_reload_takes_up_the_answer(page, programs):
    page.set(max_new_tokens=480)
    page.begin()
    page.send(PROMPT)
    with page.page.expect_navigation():
        page.page.evaluate(AT_THE_FIRST_WORD, "reload")
    assert page.wait_for_answer() == [story(programs["2 bits"], most=480)]


def test_what_no_page_was_there_to_show_is_there_later(page, programs):
    page.set(max_new_tokens=480)
    page.begin()
    page.send(PROMPT)
    page.page.evaluate(AT_THE_FIRST_WORD, "stop")  # so that the conversation exists
    page.page.wait_for_selector("text=Stopped")
    page.page.goto("about:blank")
    (kept, *_) = page.app.call("conversations.list")["conversations"]
    place = {"conversation": kept["id"], "turn": 1}
    (model,) = [model for model in page.app.models() if model["bits"] == 2 and model["model"] == "default"]
    tokens = [1, *Tokenizer(programs["2 bits"]).encode(PROMPT)]
    page.app.generate(model["id"], tokens, max_new_tokens=30, **place)
    page.open()
    assert page.wait_for_answer() == [story(programs["2 bits"], most=30)]


def test_the_end_of_the_process_loses_nothing(chromium, run_app, programs, page_libraries, tmp_path):
    data, models = tmp_path / "data", [programs["2 bits"]]
    start = partial(run_app, data, models=models, assets=[page_libraries])
    with start() as app:
        app.call("settings.set", settings=GREEDY)
        page = AppPage(chromium, app)
        page.send(PROMPT)
        page.wait_for_answer()
        page.close()
    (kept,) = (data / "conversations").glob("*.json")
    conversation = json.loads(kept.read_text())
    turn = conversation["turns"][1]
    # As the core leaves it when the system ends the process: ids so far, and no text by the page.
    conversation["turns"][1] = {**turn, "ids": turn["ids"][:20], "text": "", "partial": True, "stats": None}
    kept.write_text(json.dumps(conversation))
    with start() as app:
        page = AppPage(chromium, app)
        page.page.wait_for_selector("text=Interrupted")
        assert page.page.text_content(".written") == story(programs["2 bits"], most=20)
        page.page.click("text=Go on")
        page.page.wait_for_selector(".group >> nth=1")
        (rest,) = page.wait_for_answer()
        assert story(programs["2 bits"], most=20) + rest == story(programs["2 bits"], most=80)
        page.close()
        assert page.complaints == []


def test_two_widths_side_by_side(page, programs):
    page.page.click("[aria-label='Side by side']")
    page.page.wait_for_selector("legend:has-text('Right')")
    page.send(PROMPT)
    assert page.wait_for_answer(2) == [story(programs[name]).lstrip() for name in ("2 bits", "4 bits")]
    assert page.page.locator(".beside .author").all_text_contents() == ["2 bits", "4 bits"]
    page.page.wait_for_selector(".comparison")
    assert "times as fast as" in page.text(".comparison")
    page.page.reload()
    assert len(page.wait_for_answer(2)) == 2


def test_another_width_keeps_the_conversation(page, programs):
    page.send(PROMPT)
    page.wait_for_answer()
    page.page.click(".width:has-text('4 bits, '):not(:has-text('XNNPACK'))")
    page.page.click("text=Same prompt at 4 bits")
    assert page.wait_for_answer(2) == [story(programs[name]).lstrip() for name in ("2 bits", "4 bits")]
    page.send("Then")
    page.page.wait_for_selector(".group >> nth=1")
    (answer,) = page.wait_for_answer()
    assert answer == story(programs["4 bits"], PROMPT + story(programs["4 bits"]) + " Then")


def test_a_conversation_by_a_template(page, programs, ids):
    page.set(model=ids["talker"], max_new_tokens=12)
    page.begin()
    template, tokenizer = ChatTemplate(TEMPLATES["chatml"], MARKERS), Tokenizer(programs["talker"])
    messages: list[dict[str, str]] = []
    for text in ("Who are you?", "  And <|im_end|> where? "):
        page.send(text)
        page.page.wait_for_selector(f".group >> nth={len(messages) // 2}")
        (answer,) = page.wait_for_answer()
        messages.append({"role": "user", "content": text})
        whole = in_python(programs["talker"], tokenizer.encode(template.render(messages)), 12)
        assert answer == whole.lstrip()
        messages.append({"role": "assistant", "content": whole})
    page.page.reload()
    page.page.wait_for_selector(".asked >> nth=1")
    assert page.page.locator(".asked").all_text_contents() == ["Who are you?", "  And <|im_end|> where? "]


def test_a_prompt_longer_than_the_cache_is_refused_and_comes_back(page):
    text = "the little dog ran and " * 120
    page.send(text)
    assert "tokens and this program holds 512; shorten it or begin a new conversation" in page.notice()
    assert page.page.input_value("textarea") == text
    assert page.page.locator(".group").count() == 0
    page.page.wait_for_selector(".full")
    assert "too long, shorten it" in page.text(".meter")


def test_texts_are_never_markup(page):
    nasty = "<img src=x onerror=\"document.title='hacked'\"><b>bold</b> &amp;"
    page.send(nasty)
    page.wait_for_answer()
    assert page.page.text_content(".given") == nasty
    assert page.page.locator(".transcript img, .transcript .given b").count() == 0
    assert page.page.title() == "Low-bit models"


def test_conversations_are_opened_and_deleted(page):
    page.send("A first tale")
    page.wait_for_answer()
    page.begin()
    page.send("A second tale")
    page.wait_for_answer()
    page.page.click("[aria-label='Conversations']")
    page.page.click(".item:has-text('A first tale')")
    page.page.wait_for_selector("h1:has-text('A first tale')")
    page.page.click("[aria-label='Conversations']")
    page.page.click("[aria-label='Delete A first tale']")
    page.page.click("dialog >> text='Delete'")
    page.page.wait_for_selector(".welcome", state="attached")
    titles = [each["title"] for each in page.app.call("conversations.list")["conversations"]]
    assert "A first tale" not in titles
    assert "A second tale" in titles


def test_settings_are_kept_and_checked(page):
    page.page.click("[aria-label='Sampling settings']")
    page.page.fill("label:has-text('Seed') input", "77")
    page.page.press("label:has-text('Seed') input", "Tab")
    page.page.fill("label:has-text('Top-k') input", "-3")
    page.page.press("label:has-text('Top-k') input", "Tab")
    page.page.wait_for_function("document.querySelector('.notice')")
    assert page.page.locator(".notice span").all_text_contents() == ["Top-k must be a number from 0 to 1000."]
    settings = page.app.call("settings.get")["settings"]
    assert (settings["seed"], settings["top_k"]) == (77, 0)
    page.page.select_option("dialog select", "dark")
    page.page.wait_for_selector("[data-theme=dark]", state="attached")
    page.app.call("settings.set", settings={"theme": "system"})


def test_the_models_say_what_they_cost(page, programs):
    page.show("models")
    (row,) = [
        row for row in page.page.locator(".program").all_text_contents() if row.startswith("2bits2 bits")
    ][:1]
    manifest = read_manifest(programs["2 bits"])
    assert f"{manifest.program.bytes / 1e6:.2f} MB on disk" in row
    assert "perplexity" in row
    assert "512 tokens" in row
    assert f"{manifest.kv_cache} cache" in row


def test_programs_are_added_and_deleted(page, story_program, tmp_path):
    page.show("models")
    for folder in (tmp_path, story_program("1")):
        page.page.click("text=Add a program")
        page.page.fill("dialog input", str(folder))
        page.page.click("dialog >> text='Add'")
        if folder == tmp_path:
            assert "manifest.json" in page.notice()
    page.page.click("[aria-label='Delete 1 bit of default']")
    page.page.click("dialog >> text='Delete'")
    page.page.wait_for_selector("[aria-label='Delete 1 bit of default']", state="detached")
    assert all(model["bits"] != 1 for model in page.app.models())


def test_a_program_that_needs_more_memory_is_refused_in_words(
    chromium, run_app, programs, page_libraries, tmp_path
):
    readings = tmp_path / "readings.properties"
    readings.write_text("memory_bytes=1000000\n")
    data = tmp_path / "data"
    with run_app(data) as app:
        assert app.add(programs["2 bits"]) is None
    with run_app(data, assets=[page_libraries], readings=readings) as app:
        page = AppPage(chromium, app)
        assert page.text(".welcome").startswith("No program yet")
        page.show("models")
        assert "This program needs at least" in page.text(".refusal")
        assert page.page.locator("[aria-label^='Talk to']").count() == 0
        page.close()
        assert page.complaints == []


@pytest.fixture
def compared(page: AppPage) -> AppPage:
    """The view of a comparison of all programs of the story model, at tiny lengths."""
    page.show("compare")
    page.page.click("summary:has-text('Lengths')")
    for name, value in {
        "rounds": 2,
        "prompt_tokens": 16,
        "contexts": 16,
        "generate": 8,
        "threads": 1,
    }.items():
        page.page.fill(f"[name={name}]", str(value))
    page.page.wait_for_selector(".plan:has-text('9 steps')")
    page.page.click("text=Start")
    page.page.wait_for_selector(".progress:not([hidden])")
    page.page.wait_for_selector(".plan-form:not([hidden])")
    return page


def test_a_comparison_is_shared_as_a_report_that_edge_latency_reads(compared, chromium, data):
    assert "tokens a second" in compared.text(".verdict")
    label = compared.page.get_attribute(".chart", "aria-label")
    assert all(f"{name}: " in label for name in ("2 bits", "4 bits", "XNNPACK 4 bits"))
    compared.page.click(".segment:has-text('perplexity')")
    assert "against perplexity" in compared.page.get_attribute(".chart", "aria-label")
    compared.page.click("text=Share the report")
    assert compared.notice() == "Written: report.json and report.html, in the data folder."
    report = read_report(data / "report" / "report.json")
    assert report.finished
    assert [len(program.runs) for program in report.programs] == [2, 2, 2]
    alone = chromium.new_page()
    complaints: list[str] = []
    alone.on("console", lambda message: complaints.append(message.text))
    alone.on("request", lambda request: complaints.append(request.url))
    path = data / "report" / "report.html"
    alone.goto(path.as_uri())
    assert complaints == [path.as_uri()]
    assert alone.locator("svg.chart").count() == 2
    assert alone.locator("script").count() == 0
    assert alone.locator("tbody tr").count() == 3
    alone.close()


def test_a_comparison_stops_and_says_so(page):
    page.show("compare")
    page.page.click("summary:has-text('Lengths')")
    page.page.fill("[name=rounds]", "200")
    page.page.wait_for_selector(".plan:has-text('steps')")
    page.page.click("text=Start")
    page.page.wait_for_selector(".progress:has-text('left')")
    page.page.reload()
    page.show("compare")
    page.page.click(".progress >> text=Stop")
    page.page.wait_for_selector(".plan-form:not([hidden])")
    assert page.text(".warning").startswith("Stopped early, because it was stopped by hand.")


def test_a_plan_that_is_none_says_why(page):
    page.show("compare")
    page.page.click("summary:has-text('Lengths')")
    page.page.fill("[name=contexts]", "12, many")
    page.page.wait_for_selector(".plan.wrong")
    assert page.text(".plan") == "Context tokens must be whole numbers above 0."
    assert page.page.is_disabled("text=Start")
