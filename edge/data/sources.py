"""Open what ``--data`` names: a file, a directory or pattern of shards, or a hub dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.data.hub import HubDataset
from edge.data.shards import Shards


@dataclass(frozen=True)
class Source:
    """A file, directory, pattern or hub id, and the number of its tokens to take (None: all, once).

    A source with fewer tokens repeats.
    """

    name: str
    tokens: int | None = None

    @staticmethod
    def parse(text: str) -> Source:
        """Parse ``NAME`` or ``NAME:TOKENS``, like ``stories.txt:4.5e6``; other colons belong to the name."""
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
        """Parse the name of a held-out text.

        Raises:
            ValueError: a hub dataset without its split, which would be the training split.
        """
        source = Source.parse(text)
        if Shards.find(source.name) is None and ":" not in source.name:
            raise ValueError(
                f"{source.name} is taken for a hub dataset, of which held-out text must name the split: "
                f"{source.name}:validation, or :train if that is meant; a local file is not there"
            )
        return source


def open_source(name: str) -> Shards | HubDataset:
    """Open a source by name; a name that is not local is taken for a hub id.

    Raises:
        ValueError: there is nothing of that name, or the hub cannot be reached.
    """
    return Shards.find(name) or HubDataset.find(name)


def documents(name: str) -> Iterator[str]:
    """Yield the non-empty documents of a source, stripped.

    Raises:
        ValueError: there is nothing of that name, it cannot be read as its kind, or it holds no text.
    """
    yield from texts_of(open_source(name), name)


def texts_of(source: Shards | HubDataset, name: str) -> Iterator[str]:
    """Yield the documents of an open source; see ``documents``."""
    found = False
    for text in source.texts():
        if document := text.strip():
            found = True
            yield document
    if not found:
        raise ValueError(f"{name} holds no text")
