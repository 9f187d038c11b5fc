"""The app's Java, compiled against a framework of stubs, as a dex file."""

from __future__ import annotations

import shutil
from pathlib import Path

from android_demo.parts.command import PartsError, run
from android_demo.parts.npm import DEXER

SOURCES = Path(__file__).resolve().parents[1] / "app" / "src" / "main" / "java"
#: The classes and members of Android's framework that the app uses; tests compare them with Android's API.
FRAMEWORK = Path(__file__).resolve().with_name("framework")


def write_dex(folder: Path, parts: Path) -> Path:
    """Compile below ``folder`` and return classes.dex there. Raises PartsError with the compiler's words."""
    shutil.rmtree(folder, ignore_errors=True)
    classes, framework = folder / "classes", folder / "framework"
    compile_java(FRAMEWORK, framework)
    compile_java(SOURCES, classes, "-classpath", framework)
    dexer = ["java", "-cp", parts / DEXER, "com.android.dx.command.Main", "--dex"]
    run([*dexer, f"--output={folder / 'classes.dex'}", classes], "the classes cannot be made a dex file")
    return folder / "classes.dex"


def compile_java(sources: Path, classes: Path, *options: object) -> None:
    """Compile to Java 7, the newest that the dexer reads. Raises PartsError."""
    files = sorted(sources.rglob("*.java"))
    if not files:
        raise PartsError(f"{sources} has no Java files")
    classes.mkdir(parents=True)
    command = ["javac", "--release", "7", "-Xlint:-options", "-encoding", "UTF-8", "-d", classes]
    run([*command, *options, *files], f"the Java of {sources} cannot be compiled")
