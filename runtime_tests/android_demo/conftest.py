"""Fixtures of the app's tests, each made once per run: the desktop's native library, programs, the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import executorch
import pytest

from runtime_tests.android_demo.desktop_app import DesktopApp, running
from runtime_tests.native_builds import compile_target, configure, made_once, require

APP = Path(__file__).resolve().parents[2] / "android_demo"
CPP = APP / "app" / "src" / "main" / "cpp"
EXECUTORCH = Path(next(iter(executorch.__path__)))

#: Bits of the family's programs, as the exporter takes them.
WIDTHS = ("1", "1.58", "2", "3", "4")
#: Exports a program of the embedded story model, unless that was done: ("1.58") or ("4", "xnnpack-8da4w").
StoryPrograms = Callable[..., Path]


@pytest.fixture(scope="session")
def native_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of liblowbit_app.so for this computer's JVM: ``java -Djava.library.path=FOLDER ...``.

    Built from the app's own CMakeLists.txt against ExecuTorch's wheel. By hand::

        cmake -S android_demo/app/src/main/cpp -B BUILD -DEXECUTORCH_ROOT=SITE_PACKAGES/executorch
        cmake --build BUILD --parallel
    """
    require("java", "javac")

    def make(folder: Path) -> None:
        # -O1 takes two thirds of the time to compile, and is fast enough for a small model.
        fast = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1"]
        configure(CPP, folder, f"-DEXECUTORCH_ROOT={EXECUTORCH}", *fast)
        compile_target(folder, "lowbit_app")

    return made_once(tmp_path_factory, "app-native", make)


@pytest.fixture(scope="session")
def story_program(tmp_path_factory: pytest.TempPathFactory) -> StoryPrograms:
    """A function that returns the folder of an exported program: model.pte, manifest.json, tokenizer.json."""
    from export.to_pte import main

    def exported(bits: str, recipe: str = "lowbit") -> Path:
        name = f"story-{bits}bit-{recipe}"
        options = ["--bits", bits, "--recipe", recipe]
        folder = made_once(
            tmp_path_factory, name, lambda folder: main([*options, "--output", str(folder / "program")])
        )
        return folder / "program"

    return exported


@pytest.fixture(scope="session")
def elastic_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the story model's elastic program. Do not change it."""
    from edge.quantize.__main__ import main as quantize
    from export.to_pte import main as export

    def make(folder: Path) -> None:
        parent = str(folder / "default")  # the model's name in the program
        how = ["--method", "rtn", "--bits", "8", "--asymmetric"]
        quantize(["--model", "default/16bit", *how, "--output", parent])
        export(["--bits", "elastic", "--model", parent, "--output", str(folder / "program")])

    return made_once(tmp_path_factory, "story-elastic", make) / "program"


@pytest.fixture(scope="session")
def desktop_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's core and its desktop server, compiled."""
    from android_demo.desktop.launch import compile_classes

    require("java", "javac")
    return made_once(tmp_path_factory, "app-classes", compile_classes)


#: Starts the app on a data folder: ``with run_app(data, models=[...]) as app``; see ``desktop_app.running``.
RunApp = Callable[..., AbstractContextManager[DesktopApp]]


@pytest.fixture(scope="session")
def run_app(desktop_classes: Path, native_folder: Path) -> RunApp:
    """A function that starts the app with the real native library, as a context."""
    return partial(running, desktop_classes, native_folder)


@pytest.fixture(scope="session")
def page_libraries(tmp_path_factory: pytest.TempPathFactory, npm_parts: Path) -> Path:
    """A folder with ``vendor``, the page's libraries, which the build puts beside the page."""
    from android_demo.parts.npm import PAGE_MODULES

    def copy(folder: Path) -> None:
        (folder / "vendor").mkdir()
        for name, path in PAGE_MODULES.items():
            shutil.copyfile(npm_parts / path, folder / "vendor" / name)

    return made_once(tmp_path_factory, "app-page-libraries", copy)


@pytest.fixture(scope="session")
def page_in_node(tmp_path_factory: pytest.TempPathFactory, page_libraries: Path) -> Path:
    """The page's files with its libraries, for Node, which must be told that they are modules."""
    require("node")

    def copy(folder: Path) -> None:
        for source in (APP / "app" / "src" / "main" / "assets", page_libraries):
            shutil.copytree(source, folder, dirs_exist_ok=True)
        (folder / "package.json").write_text('{"type": "module"}')

    return made_once(tmp_path_factory, "app-page-in-node", copy)
