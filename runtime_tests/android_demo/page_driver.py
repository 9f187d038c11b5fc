"""The app's page in a headless browser, as a person uses it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from runtime_tests.android_demo.desktop_app import DesktopApp

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
PHONE, LANDSCAPE, TABLET, DESKTOP = (360, 780), (780, 360), (800, 1280), (1280, 800)
#: Settings at the start of a test, but for the program.
GREEDY = {"temperature": 0, "max_new_tokens": 60, "side_by_side": None, "seed": 1, "threads": 1}
WAIT_MS = 20_000

#: The screen of Android: the same calls and events, through the names that the app has there.
ANDROID = """
window.LowBit = { call(request) {
  const http = new XMLHttpRequest();
  http.open("POST", "bridge", false);
  http.send(request);
  return http.responseText;
} };
new EventSource("events").onmessage = (message) => window.onHostEvent?.(JSON.parse(message.data));
"""


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless browser of the system; skips the test where there is none."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser: install one of {', '.join(BROWSERS)}")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven with playwright")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


class AppPage:
    """One open page.

    Attributes:
        complaints: errors of scripts, of the console, and requests to other origins.
    """

    def __init__(
        self,
        browser: Any,
        app: DesktopApp,
        size: tuple[int, int] = PHONE,
        scheme: str = "light",
        script: str = "",
    ) -> None:
        self.app = app
        self.address = f"http://127.0.0.1:{app.port}/"
        self.complaints: list[str] = []
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        self.page.set_default_timeout(WAIT_MS)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._note_request)
        if script:
            self.page.add_init_script(script)
        self.open()

    def open(self, view: str = "chat") -> None:
        self.page.goto(f"{self.address}#{view}")
        self.page.wait_for_selector("#chat .welcome, #chat .group", state="attached")

    def show(self, view: str) -> None:
        self.page.click(f".tabs a[href='#{view}']")
        self.page.wait_for_selector(f"#{view}:not([hidden])")

    def set(self, **settings: object) -> None:
        """Change settings as another page would, and load the page anew."""
        self.app.call("settings.set", settings=settings)
        self.page.reload()
        self.page.wait_for_selector("#chat .welcome, #chat .group", state="attached")

    def begin(self) -> None:
        self.page.click("[aria-label='New conversation']")
        self.page.wait_for_selector(".welcome")

    def send(self, text: str) -> None:
        self.page.fill("textarea", text)
        self.page.press("textarea", "Enter")

    def wait_for_answer(self, count: int = 1) -> list[str]:
        """Wait until so many answers of the last text have ended; return their texts."""
        last = ".group:last-child"
        self.page.wait_for_selector(f"{last} .answer >> nth={count - 1}")
        self.page.wait_for_selector("[aria-label='Send']")
        self.page.wait_for_selector(f"{last} .answer:not(.running) .figure.main >> nth={count - 1}")
        return self.page.locator(f"{last} .written").all_text_contents()

    def text(self, selector: str) -> str:
        return " ".join(self.page.text_content(selector).split())

    def notice(self) -> str:
        """The sentence of the newest notice, which is then dismissed."""
        notice = self.page.wait_for_selector(".notice:last-child span")
        sentence = notice.text_content()
        self.page.click(".notice:last-child button")
        return sentence

    def close(self) -> None:
        self.page.close()

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith(self.address):
            self.complaints.append(request.url)
