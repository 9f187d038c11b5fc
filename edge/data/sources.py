"""What ``--data`` can name: a file, a directory or pattern of shards, or a hub dataset."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.data.hub import HubDataset
from edge.data.readers import READERS

#: Files of these kinds in a folder are meant to be data, so that they are not passed over without a word.
UNREAD = {".gz", ".zst", ".xz", ".bz2", ".zip", ".tar", ".csv", ".tsv", ".arrow"}


@dataclass(frozen=True)
class Source:
    """A file, directory, pattern or hub id, and how many of its tokens to train on (None: all, once).

    More tokens than the source has means that it is read again from the start.
    """

    name: str
    tokens: int | None = None

    @staticmethod
    def parse(text: str) -> Source:
        """``PATH`` or ``PATH:TOKENS``, for example ``stories.txt:4.5e6``; other colons belong to the path."""
        name, colon, count = text.rpartition(":")
        if not colon or not name or Path(text).exists():
            return Source(text)
        try:
            tokens = float(count)
        except ValueError:
            return Source(text)
        if not 1 <= tokens < 2**63:
            raise ValueError(f"{text}: the number of tokens behind the colon must be positive and finite")
        return Source(name, int(tokens))

    @staticmethod
    def held_out(text: str) -> Source:
        """``parse``, of a text to measure on.

        Raises:
            ValueError: a hub dataset without its split, which would be the one to train on.
        """
        source = Source.parse(text)
        if Shards.find(source.name) is None and ":" not in source.name:
            raise ValueError(
                f"{source.name} is taken for a hub dataset, of which held-out text must name the split: "
                f"{source.name}:validation, or :train if that is meant; a local file is not there"
            )
        return source


@dataclass(frozen=True)
class Shards:
    """Local files, read one after another."""

    files: list[Path]

    @staticmethod
    def find(name: str) -> Shards | None:
        """The file, the files of the directory (in the order of their paths), or those of the pattern.

        None for what may be a hub id.

        Raises:
            ValueError: nothing is there, or a file is empty or of an unknown kind, or kinds are mixed.
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
                raise ValueError(f"{file} leads nowhere: mend or remove that link")
            if file.stat().st_size == 0:
                raise ValueError(f"{file} is empty: it holds no text")
        return Shards(files)

    def identity(self) -> Any:
        """Path, bytes and time of the last change (ns) of each file."""
        stats = [(file.resolve(), file.stat()) for file in self.files]
        return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]

    def texts(self) -> Iterator[str]:
        for file in self.files:
            yield from READERS[file.suffix](file)


def _files_below(directory: Path) -> list[Path]:
    """Every file of a known kind; what is hidden, such as a downloader's notes, does not count.

    Raises:
        ValueError: files of several kinds, or of one that is data and cannot be read; a folder that cannot.
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
    """Files and links to files below; folders that are links are followed."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from error

    seen: set[Path] = set()
    for folder, folders, files in os.walk(directory, followlinks=True, onerror=refuse):
        real = Path(folder).resolve()
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            yield from (Path(folder, name) for name in files if not name.startswith("."))
        seen.add(real)


def open_source(name: str) -> Shards | HubDataset:
    """What a name stands for; anything that is not local is taken for a hub id.

    Raises:
        ValueError: there is nothing of that name, or the hub cannot be reached.
    """
    return Shards.find(name) or HubDataset.find(name)


def documents(name: str) -> Iterator[str]:
    """The non-empty documents of a source, stripped.

    Raises:
        ValueError: there is nothing of that name, it cannot be read as its kind, or it holds no text.
    """
    yield from texts_of(open_source(name), name)


def texts_of(source: Shards | HubDataset, name: str) -> Iterator[str]:
    """``documents`` of a source that is open already."""
    found = False
    for text in source.texts():
        if document := text.strip():
            found = True
            yield document
    if not found:
        raise ValueError(f"{name} holds no text")
