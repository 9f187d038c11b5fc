"""A conversation in the page, in a browser, against the real core, native code and programs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from edge.model.chat_template import ChatTemplate
from edge.model.tokenizer import Tokenizer
from edge.runtime.generate import TextStream, generate, sampler
from edge.runtime.load import Program
from edge.runtime.manifest import read_manifest
from runtime_tests.android_demo.made_templates import MARKERS, TEMPLATES
from runtime_tests.android_demo.page_driver import ANDROID, GREEDY, AppPage

PROMPT = "One day, a little dog named Max found a caf\u00e9"


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
