"""A phone on PATH, and tools for it that need no emulator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime_tests.latency.devices.phone import Phone


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """Reached by the first ``adb`` on PATH."""
    phone = Phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", os.pathsep.join([str(phone.bin), os.environ["PATH"]]))
    return phone


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder of tools like a cross build's, whose every tool is a shell that runs its first argument."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "ld-linux-aarch64.so.1").write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
    (folder / "lowbit_runner").write_text('#!/bin/sh\neval "$1"\n')
    return folder
