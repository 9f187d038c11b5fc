"""build.py's command line, and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from android_demo.parts import npm
from android_demo.parts.command import PartsError, find_tool, run
from android_demo.parts.family import FAMILY
from edge.formats import BITS_CHOICES
from runtime_tests.android_demo.conftest import APP


def build(folder: Path, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, APP / "build.py", *options]
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_works_from_any_folder_and_names_what_to_install(tmp_path):
    result = build(tmp_path, "--help")
    assert result.returncode == 0, result.stderr
    assert "apt-get install openjdk-17-jdk-headless aapt zipalign apksigner" in result.stdout


def test_a_missing_tool_is_one_sentence_with_its_cure(tmp_path):
    result = build(tmp_path, "--cache", tmp_path / "cache", PATH=str(tmp_path))
    assert result.returncode == 2
    *progress, sentence = result.stderr.strip().splitlines()
    assert sentence == "error: npm is missing: apt-get install npm"
    assert all(line.startswith("[") for line in progress)
    assert list(tmp_path.iterdir()) == []  # nothing half made is left


def test_tools_that_cannot_be_built_leave_nothing(tmp_path):
    options = ("--tools", tmp_path / "tools", "--cache", tmp_path / "cache")
    result = build(tmp_path, *options, PATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.splitlines() == ["error: npm is missing: apt-get install npm"]
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_hashes_are_refused(tmp_path, monkeypatch):
    if not find_tool("npm"):
        pytest.skip("npm is missing: apt-get install npm")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (Path(npm.__file__).parent / name).read_text()
        (tmp_path / name).write_text(
            text.replace('"integrity": "sha512-LidMHe1F', '"integrity": "sha512-AidMHe1F')
        )
    monkeypatch.setattr(npm, "_HERE", tmp_path)
    with pytest.raises(
        PartsError, match=r"npm cannot fetch the parts that package-lock.json names: .*EINTEGRITY"
    ):
        npm.node_modules(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("npm-*"))


def test_a_failed_tool_is_told_with_its_own_words(tmp_path):
    with pytest.raises(PartsError, match=r"^cannot look: .*ls: .*absent"):
        run(["ls", tmp_path / "absent"], "cannot look")


def test_the_family_has_every_quantised_width_and_an_opponent():
    widths = {float(bits) for bits, recipe in FAMILY.values() if recipe == "lowbit"}
    assert widths == {bits for bits in BITS_CHOICES if bits < 16}
    assert ("4", "xnnpack-8da4w") in FAMILY.values()
