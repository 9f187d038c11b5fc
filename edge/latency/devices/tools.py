"""Folders of the tools that devices other than this computer run, built when first needed."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

from pydantic import TypeAdapter

from edge.files import only_writer
from edge.latency.devices.device import DeviceError, LibraryRecord
from edge.latency.devices.process import run_process
from edge.ops.cross_build import CrossBuildError, cross_build
from edge.ops.source_hash import source_hash

#: In a folder for Android: which libraries are beside it.
LIBRARIES_NAME = "libraries.json"
_ANDROID_BUILD = Path(__file__).resolve().parents[3] / "android_demo" / "build.py"
_LIBRARIES = TypeAdapter(list[LibraryRecord])


def linux_tools() -> Path:
    """Return a cross build of these sources for 64-bit ARM Linux, made unless it is there.

    Raises:
        DeviceError: it cannot be built; says why.
    """
    folder = _cache() / f"aarch64-{importlib.metadata.version('executorch')}-{source_hash()[:12]}"
    with only_writer(folder, wait=True) as writer:
        if not folder.exists():
            print("building the tools for aarch64, once", file=sys.stderr)
            try:
                cross_build(writer.staged)
            except CrossBuildError as error:
                raise DeviceError(f"the tools cannot be built for aarch64: {error}") from error
            writer.swap_directories()
    return folder


def android_tools() -> Path:
    """Return the tools with the libraries of the Android app, brought up to date by the app's own build.

    Raises:
        DeviceError: there is no checkout to build from, or the build fails; says why.
    """
    if not _ANDROID_BUILD.exists():
        raise DeviceError(
            "a phone is measured through the Android app's libraries, which are built from the repository: "
            "give the command in a checkout of it"
        )
    print("building what changed of the tools for Android; the first time takes minutes", file=sys.stderr)
    folder = _cache() / "android-tools"
    ended = run_process([sys.executable, str(_ANDROID_BUILD), "--tools", str(folder)])
    if ended.failure is not None:
        reason = ended.failure.removeprefix("error: ")
        raise DeviceError(f"the tools cannot be built for Android: {reason}")
    return folder


def read_libraries(folder: Path) -> list[LibraryRecord]:
    """Read which libraries lie in a folder of tools for Android, as ``write_libraries`` wrote it."""
    return _LIBRARIES.validate_json((folder / LIBRARIES_NAME).read_bytes())


def write_libraries(folder: Path, libraries: list[LibraryRecord]) -> None:
    """Write which libraries lie in a folder of tools for Android."""
    (folder / LIBRARIES_NAME).write_bytes(_LIBRARIES.dump_json(libraries, indent=1))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-lowbit"
