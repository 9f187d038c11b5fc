"""Compile the app's core with its desktop server, and the command that starts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from android_demo.parts.command import run

APP = Path(__file__).resolve().parents[1] / "app" / "src" / "main"
ASSETS = APP / "assets"
_CORE = APP / "java" / "org" / "lowbit" / "demo" / "core"
_SERVER = Path(__file__).resolve().parent / "src" / "org" / "lowbit" / "demo" / "desktop"
_MAIN = "org.lowbit.demo.desktop.Desktop"


def compile_classes(folder: Path) -> None:
    """Compile into ``folder``: the core as Java 7, as the app has it, and the server as the JDK likes it.

    Raises:
        PartsError: javac is missing, or has an error or a warning; its own words.
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
    files = sorted(sources.glob("*.java"))
    run(["javac", *options, "-encoding", "UTF-8", "-d", folder, *files], f"{sources} does not compile")
