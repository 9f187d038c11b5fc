"""What the tests of the page share: a browser, programs, the app with them, and a page of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.runtime.manifest import Manifest, record_file
from runtime_tests.android_demo.conftest import RunApp, StoryPrograms
from runtime_tests.android_demo.desktop_app import DesktopApp
from runtime_tests.android_demo.made_templates import MARKERS, TEMPLATES
from runtime_tests.android_demo.page_driver import GREEDY, AppPage, browser


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
    """Ids of the programs by their names."""
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
