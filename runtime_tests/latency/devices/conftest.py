"""A phone on PATH, and tools for it that need no emulator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.latency.devices.tools import write_libraries
from runtime_tests.latency.devices.phone import Phone


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    """Reached by the first ``adb`` on PATH."""
    phone = Phone(tmp_path / "phone")
    monkeypatch.setenv("PATH", os.pathsep.join([str(phone.bin), os.environ["PATH"]]))
    return phone


@pytest.fixture
def android_phone(phone: Phone, android_system: Path) -> Phone:
    """The phone with what programs of Android need."""
    phone.add_system(android_system / "arm64-v8a")
    return phone


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A folder like that of Android's tools, whose every tool is a shell that runs its first argument."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("lowbit_runner", "lowbit_kernel_check"):
        (folder / name).write_text('#!/bin/sh\neval "$1"\n')
    write_libraries(folder, [])
    return folder
