"""Find local shards: a file, a directory or a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.data.readers import READERS

#: Kinds of data that are refused rather than silently left out.
UNREAD = {".gz", ".zst", ".xz", ".bz2", ".zip", ".tar", ".csv", ".tsv", ".arrow"}


@dataclass(frozen=True)
class Shards:
    """Local files, read one after another."""

    files: list[Path]

    @staticmethod
    def find(name: str) -> Shards | None:
        """Find the file, the files of the directory, or those of the pattern, in the order of their paths.

        Returns:
            None for a name that may be a hub id.

        Raises:
            ValueError: nothing is there, a file is empty or of an unknown kind, or kinds are mixed.
        """
        path = Path(name)
        if path.is_dir():
            files = _files_below(path)
        elif path.is_file():
            files = [path]
        elif glob.has_magic(name):
            files = sorted(p for p in map(Path, glob.glob(name, recursive=True)) if not p.is_dir())
        elif path.suffix in READERS or path.exists():
            files = []
        else:
            return None
        if not files or not all(file.suffix in READERS for file in files):
            raise ValueError(f"{name} is not a readable file of one of the kinds {', '.join(READERS)}")
        for file in files:
            if not file.is_file():
                raise ValueError(f"{file} is a broken link: repair or remove it")
            if file.stat().st_size == 0:
                raise ValueError(f"{file} is empty: it holds no text")
        return Shards(files)

    def identity(self) -> Any:
        """Return what changes when a file does: path, inode, bytes, times (ns) of modification and of change.

        A program may set the modification time of a file that it altered; the time of change only moves on.
        """
        stats = [(file.resolve(), file.stat()) for file in self.files]
        return [[str(path), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for path, s in stats]

    def texts(self) -> Iterator[str]:
        """Yield the documents of all files."""
        for file in self.files:
            yield from READERS[file.suffix](file)


def _files_below(directory: Path) -> list[Path]:
    """Return every file of a known kind; hidden files, such as a downloader's notes, do not count.

    Raises:
        ValueError: files of several kinds, a file of data that cannot be read, or a folder that cannot.
    """
    found = sorted(_visible(directory))
    if unread := [path for path in found if path.suffix in UNREAD]:
        raise ValueError(f"{unread[0]} is not of one of the kinds {', '.join(READERS)}: unpack or convert it")
    files = [path for path in found if path.suffix in READERS]
    kinds = sorted({path.suffix for path in files})
    if len(kinds) > 1:
        raise ValueError(
            f"{directory} holds files of several kinds ({', '.join(kinds)}); "
            f"name those to read, for example '{directory}/*{kinds[-1]}'"
        )
    return files


def _visible(directory: Path) -> Iterator[Path]:
    """Yield files and links to files below; links to folders are followed."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from error

    seen: set[Path] = set()
    for folder, folders, files in os.walk(directory, followlinks=True, onerror=refuse):
        real = Path(folder).resolve()
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            yield from (Path(folder, name) for name in files if not name.startswith("."))
        seen.add(real)
