"""Tokenise a source once into a file, which runs map into memory.

``KEY.ids`` holds the token ids, little-endian, uint16 if the vocabulary fits and else uint32; ``KEY.json``
holds their number, origin and SHA-256. The JSON file is written last; ids without it do not count. KEY is a
hash of all that decides the ids, so nothing goes stale, and any file may be deleted. Local files count as
unchanged while path, size and times are the same (``Shards.identity``); they are not read to find out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from edge.data.hub import HubDataset
from edge.data.shards import Shards
from edge.data.sources import Source, open_source, texts_of
from edge.files import only_writer, sha256_of, staged_file, write_text
from edge.model.config import ModelConfig
from edge.model.tokenizer import Tokenizer

#: Part of every key; raise it when a change gives other ids for the same source.
VERSION = 3
#: Limits of a batch to tokenise: documents, and characters.
BATCH = 256
BATCH_CHARACTERS = 1 << 20
#: Seconds between lines of progress in a log.
LOG_SECONDS = 60


def default_cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "edge-lowbit" / "tokens"


@dataclass(frozen=True)
class TokenFile:
    """A file of token ids: bos, document, eos, bos, ...

    Attributes:
        dtype: ``<u2`` or ``<u4``.
        sha256: of the file's bytes as they were written.
    """

    path: Path
    dtype: str
    length: int
    sha256: str

    def __len__(self) -> int:
        return self.length

    @cached_property
    def ids(self) -> np.ndarray:
        """Map the file into memory: [length]."""
        return np.asarray(np.memmap(self.path, self.dtype, mode="r", shape=(self.length,)))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the map, so that a data loader's worker opens the file instead of receiving a copy."""
        return {name: value for name, value in self.__dict__.items() if name != "ids"}


def tokenise(
    source: Source, tokenizer: Tokenizer, config: ModelConfig, cache: Path | None = None
) -> TokenFile:
    """Return a source's tokens, at most as many as it asks for, from the cache if they are there.

    If several processes want the same tokens at once, one tokenises and the others wait.

    Raises:
        ValueError: the source cannot be read or holds no text, the tokenizer does not fit the model,
            or the cache directory cannot be written.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} entries, the model only {config.vocab_size}"
        )
    opened, directory = open_source(source.name), cache or default_cache()
    path = directory / f"{_key(opened, source, tokenizer, config)}.ids"
    if (known := _recorded(path)) is not None:
        return known
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with only_writer(path.with_suffix(""), wait=True):
            return _recorded(path) or _write(path, opened, source, tokenizer, config)
    except OSError as error:  # of the cache; readers raise ValueError
        raise ValueError(
            f"the tokens of {source.name} cannot be kept in {directory} ({error.strerror}); "
            "name another directory with XDG_CACHE_HOME or, for training, --data-cache"
        ) from error


def _key(opened: Shards | HubDataset, source: Source, tokenizer: Tokenizer, config: ModelConfig) -> str:
    parts = {
        "version": VERSION,
        "source": opened.identity(),
        "tokens": source.tokens,
        "tokenizer": hashlib.sha256(tokenizer.path.read_bytes()).hexdigest(),
        "special ids": [config.bos_id, config.eos_id],
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _recorded(path: Path) -> TokenFile | None:
    """Return the token file at a path; None if it is missing or damaged."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
        file = TokenFile(path, record["dtype"], record["length"], record["sha256"])
        # Reading it all costs little, and finds what a failing disk has changed.
        whole = sha256_of(path) == file.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return file if whole else None


def _write(
    path: Path, opened: Shards | HubDataset, source: Source, tokenizer: Tokenizer, config: ModelConfig
) -> TokenFile:
    largest = max(tokenizer.vocab_size - 1, config.bos_id, config.eos_id)
    dtype = "<u2" if largest < 2**16 else "<u4"
    digest, length = hashlib.sha256(), 0
    with staged_file(path) as staged, staged.open("wb") as out, _bar(source) as bar:
        for ids in _batches_of_ids(opened, source.name, tokenizer, config):
            left = None if source.tokens is None else source.tokens - length
            data = np.array(ids[:left], dtype).tobytes()
            out.write(data)
            digest.update(data)
            length += len(ids[:left])
            bar.update(len(ids[:left]))
            if length == source.tokens:
                break
        out.flush()
        os.fsync(out.fileno())
    file = TokenFile(path, dtype, length, digest.hexdigest())
    record = {**asdict(file), "path": path.name, "source": source.name, "tokenizer": str(tokenizer.path)}
    write_text(path.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
    return file


def _bar(source: Source) -> tqdm:
    """Show a bar on a terminal, and one line a minute in a log."""
    quiet = 0 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(
        desc=f"tokenising {source.name}",
        unit="token",
        unit_scale=True,
        delay=quiet,
        mininterval=max(quiet, 0.1),
        leave=False,
    )


def _batches_of_ids(
    opened: Shards | HubDataset, name: str, tokenizer: Tokenizer, config: ModelConfig
) -> Iterator[list[int]]:
    end = [] if config.eos_id == config.bos_id else [config.eos_id]  # no double marker
    for texts in _batches(texts_of(opened, name)):
        together: list[int] = []
        for ids in tokenizer.encode_batch(texts):
            together += [config.bos_id, *ids, *end]
        yield together


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) == BATCH or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
