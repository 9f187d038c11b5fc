"""Compile the app's core with its desktop server, and the command that starts it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

APP = Path(__file__).resolve().parents[1] / "app" / "src" / "main"
ASSETS = APP / "assets"
_CORE = APP / "java" / "org" / "lowbit" / "demo" / "core"
_SERVER = Path(__file__).resolve().parent / "src" / "org" / "lowbit" / "demo" / "desktop"
_MAIN = "org.lowbit.demo.desktop.Desktop"


def missing_tools() -> list[str]:
    """Name what is missing to compile and run Java; nothing if all is there."""
    if shutil.which("javac") and shutil.which("java"):
        return []
    return ["a JDK of version 17 is missing: apt-get install openjdk-17-jdk-headless"]


def compile_classes(folder: Path) -> None:
    """Compile into ``folder``: the core as Java 7, as the app has it, and the server as the JDK likes it.

    Raises:
        ValueError: the sources have an error or a warning; javac's own words.
    """
    # javac 17 warns that the release 7 is old; every other warning is an error.
    _javac(folder, _CORE, "--release", "7", "-Xlint:all,-options", "-Werror")
    _javac(folder, _SERVER, "-Xlint:all", "-Werror", "-classpath", str(folder))


def command(classes: Path, library: Path, arguments: Sequence[object]) -> list[str]:
    """The words that start the server.

    Args:
        classes: where ``compile_classes`` put them.
        library: folder of the native library, ``liblowbit_app.so``.
        arguments: of ``Desktop.java``.
    """
    words = ["java", f"-Djava.library.path={library}", "-classpath", str(classes), _MAIN]
    return [*words, *map(str, arguments)]


def _javac(folder: Path, sources: Path, *options: str) -> None:
    files = sorted(map(str, sources.glob("*.java")))
    result = subprocess.run(
        ["javac", *options, "-encoding", "UTF-8", "-d", str(folder), *files], capture_output=True, text=True
    )
    if result.returncode != 0:
        raise ValueError(f"{sources} does not compile:\n{result.stderr}{result.stdout}")
