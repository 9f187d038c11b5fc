"""Read and write files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


def sha256_of(path: Path) -> str:
    """Hash a file's content: SHA-256 as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replace_directory(directory: Path) -> Iterator[Path]:
    """Give a block a new directory to fill, which takes the place of ``directory`` at its end.

    It appears whole or not at all: after any failure, ``directory`` is as it was.

    Raises:
        ValueError: it cannot be written (permissions, disk full).
    """
    partial = directory.with_name(directory.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of an interrupted run
        partial.mkdir(parents=True)
        yield partial
        swap_in(partial, directory)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{directory} could not be written ({reason}); what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def swap_in(partial: Path, directory: Path) -> None:
    """Rename partial to directory; an earlier directory is moved away first, and back if that fails."""
    replaced = directory.with_name(directory.name + ".replaced")
    if directory.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        directory.rename(replaced)
    try:
        partial.rename(directory)
    except BaseException:
        if replaced.exists():
            replaced.rename(directory)
        raise
    shutil.rmtree(replaced, ignore_errors=True)  # also that of a run that was killed at this point


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
