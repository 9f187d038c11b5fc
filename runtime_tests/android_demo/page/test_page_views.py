"""The page's programs, settings and comparison, in a browser, against the real core and native code."""

from __future__ import annotations

import pytest

from edge.latency.schema import read_report
from edge.runtime.manifest import read_manifest
from runtime_tests.android_demo.page_driver import AppPage


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


def dialogs(page: AppPage, count: int) -> None:
    """Wait until so many dialogs are open, and the history says so too."""
    is_open, is_step = "document.querySelectorAll('dialog').length", "(history.state?.dialogs ?? 0)"
    page.page.wait_for_function(f"count => {is_open} === count && {is_step} === count", arg=count)


def test_the_back_button_closes_open_dialogs_before_it_leaves_a_view(page):
    page.show("chat")
    page.show("models")
    page.page.click("text=Add a program")
    dialogs(page, 1)
    page.page.go_back()
    dialogs(page, 0)
    page.page.click("text=Add a program")
    dialogs(page, 1)
    page.page.click("dialog [aria-label='Close']")  # closed in another way, it is no step of the history
    dialogs(page, 0)
    page.page.go_back()
    page.page.wait_for_selector("#chat:not([hidden])")


def test_the_back_button_closes_the_upper_of_two_dialogs(page):
    page.send("A tale to keep")
    page.wait_for_answer()
    page.page.click("[aria-label='Conversations']")
    page.page.click("[aria-label='Delete A tale to keep']")
    dialogs(page, 2)
    page.page.go_back()
    dialogs(page, 1)
    page.page.wait_for_selector("dialog .item:has-text('A tale to keep')")
    page.page.press("dialog", "Escape")
    dialogs(page, 0)


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
