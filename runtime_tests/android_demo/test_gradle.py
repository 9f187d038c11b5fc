"""Gradle's files, as far as they can be checked without Gradle: paths, versions, and the task's folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from android_demo import gradle_parts
from android_demo.parts.npm import PAGE_MODULES

APP = Path(__file__).resolve().parents[2] / "android_demo"
GRADLE = (APP / "app" / "build.gradle").read_text()


def said(pattern: str, text: str = GRADLE) -> str:
    (found,) = re.findall(pattern, text)
    return found


def test_the_native_build_is_where_gradle_looks_and_takes_its_cmake():
    path = APP / "app" / said(r"path '(.*)'")
    needed = said(r"cmake_minimum_required\(VERSION ([\d.]+)\)", path.read_text())
    offered = said(r"version '([\d.]+)'")
    assert [int(part) for part in needed.split(".")] <= [int(part) for part in offered.split(".")][:2]


def test_the_part_folders_are_those_that_the_task_makes(tmp_path, monkeypatch):
    """Without the downloads and exports, which build.py's tests make."""
    parts = tmp_path / "npm"
    libraries = parts / gradle_parts.EXECUTORCH / "android" / "libs" / "executorch"
    for abi in gradle_parts.CPUS:
        (libraries / abi).mkdir(parents=True)
        (libraries / abi / "libexecutorch.so").write_text(abi)
    for path in PAGE_MODULES.values():
        (parts / path).parent.mkdir(parents=True, exist_ok=True)
        (parts / path).write_text("a module")
    monkeypatch.setattr(gradle_parts, "node_modules", lambda cache: parts)
    monkeypatch.setattr(gradle_parts, "export_family", lambda cache, tell: [])
    folder = tmp_path / "parts"
    for _ in range(2):  # a second build makes them anew
        assert gradle_parts.gather(folder) == 0
    named = re.findall(r"new File\(parts, '(\w+)'\)", GRADLE)
    assert sorted(named) == sorted(path.name for path in folder.iterdir())
    assert (folder / "assets" / "index.html").is_file()
    assert (folder / "assets" / "vendor" / "jinja.js").read_text() == "a module"
    assert (folder / "jniLibs" / "x86_64" / "libexecutorch_jni.so").read_text() == "x86_64"
    assert (folder / "executorch" / "android").is_dir()


@pytest.mark.parametrize("name", ["settings.gradle", "build.gradle", "app/build.gradle"])
def test_brackets_are_closed(name):
    text = re.sub(r"'[^']*'|\"[^\"]*\"|//.*", "", (APP / name).read_text())
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)
