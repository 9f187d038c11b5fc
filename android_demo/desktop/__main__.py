"""Command ``python -m android_demo.desktop``: the app's page and core in a browser on this computer."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import executorch

from android_demo.build import default_cache
from android_demo.desktop.launch import ASSETS, command, compile_classes
from android_demo.parts.command import run
from android_demo.parts.native import CPP
from android_demo.parts.npm import PAGE_MODULES, node_modules
from edge.cli import main_guard
from edge.files import only_writer, replace_directory

DESCRIPTION = """\
Runs the app without a phone: the same page, core and native code behind a server on this computer.

  python -m android_demo.desktop --models exported/default-2bit exported/default-4bit

prints an address for the browser. The programs named stand for those that come with the app; others can be
added in the page by their folder. Needs openjdk-17-jdk-headless, npm, a C++ compiler, cmake and ninja.
"""


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    cache = default_cache().resolve() / "desktop"
    with only_writer(cache, wait=True):
        library, classes, vendor = _library(cache), _classes(cache), _vendor(cache)
    words: list[object] = ["--data", args.data, "--port", args.port, "--assets", ASSETS, vendor]
    words += ["--models", *args.models] if args.models else []
    words += ["--readings", args.readings] if args.readings else []
    server = subprocess.Popen(command(classes, library, words))
    try:
        return server.wait()
    finally:
        server.terminate()
        server.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m android_demo.desktop",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="*", type=Path, default=[], help="folders that export.to_pte wrote")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path.home() / ".local" / "share" / "lowbit-demo",
        help="keeps programs, conversations and reports (default %(default)s)",
    )
    parser.add_argument("--port", type=int, default=8642, help="of the address (default %(default)s)")
    parser.add_argument(
        "--readings",
        type=Path,
        help="properties that stand for a phone's sensors: name, memory_bytes, temperature_c, "
        "battery_percent, charging, throttling; read anew each time",
    )
    return parser


def _library(cache: Path) -> Path:
    """Build the native library; a second build compiles only what changed."""
    folder = cache / "native"
    root = next(iter(executorch.__path__))
    options = ["-G", "Ninja", f"-DEXECUTORCH_ROOT={root}"]
    run(["cmake", "-S", CPP, "-B", folder, *options], "cmake cannot configure the app")
    run(["cmake", "--build", folder, "--target", "lowbit_app"], "the native library cannot be built")
    return folder


def _classes(cache: Path) -> Path:
    with replace_directory(cache / "classes", wait=True) as folder:
        compile_classes(folder)
    return cache / "classes"


def _vendor(cache: Path) -> Path:
    """Put the page's libraries where the page looks for them."""
    parts = node_modules(cache.parent)
    with replace_directory(cache / "assets", wait=True) as folder:
        (folder / "vendor").mkdir()
        for name, path in PAGE_MODULES.items():
            (folder / "vendor" / name).write_bytes((parts / path).read_bytes())
    return cache / "assets"


if __name__ == "__main__":
    main_guard(main)
