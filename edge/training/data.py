"""Text to packed blocks of tokens: local files or hub datasets, through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.config import ModelConfig
from edge.model.tokenizer import Tokenizer

#: What separates the documents of a .txt file; a file without it is one document.
DOCUMENT_SEPARATOR = "<|endoftext|>"
TEXT_COLUMN = "text"
LOCAL_LOADERS = {".txt": "text", ".md": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Source:
    """Where text comes from: a local file or a hub id, and how many of its tokens to train on (None: all, once).

    More tokens than the source has means that it is read again from the start.
    """

    name: str
    tokens: int | None = None

    @staticmethod
    def parse(text: str) -> Source:
        """``PATH`` or ``PATH:TOKENS``, for example ``stories.txt:4.5e6``."""
        name, colon, count = text.rpartition(":")
        if colon and name:
            try:
                tokens = int(float(count))
            except ValueError:
                return Source(text)
            if tokens < 1:
                raise ValueError(f"{text}: the number of tokens behind the colon must be positive")
            return Source(name, tokens)
        return Source(text)


class PackedBlocks(Dataset):
    """Blocks of ``context + 1`` consecutive tokens: each position but the last predicts the next."""

    def __init__(self, stream: np.ndarray, context: int) -> None:
        count = len(stream) // (context + 1)
        if count == 0:
            raise ValueError(
                f"the text gives {len(stream)} tokens, fewer than one block of {context + 1}; "
                "give more text or a shorter --context"
            )
        self.blocks = stream[: count * (context + 1)].reshape(count, context + 1)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"tokens": torch.from_numpy(self.blocks[index].astype(np.int64))}


def load_blocks(sources: list[Source], tokenizer: Tokenizer, config: ModelConfig, context: int) -> PackedBlocks:
    """Packs every source, in order, into blocks of ``context + 1`` tokens; documents stand between bos and eos.

    Raises:
        ValueError: a file is missing, empty, unreadable, or of an unknown kind; the hub cannot be reached.
    """
    streams = []
    for source in sources:
        stream = token_stream(source.name, tokenizer, config)
        if source.tokens is not None:
            stream = np.resize(stream, source.tokens)  # repeats from the start where it is too short
        streams.append(stream)
    return PackedBlocks(np.concatenate(streams), context)


def token_stream(name: str, tokenizer: Tokenizer, config: ModelConfig) -> np.ndarray:
    """All tokens of a source, int32 [N]: bos, document, eos, bos, ..."""
    pieces: list[np.ndarray] = []
    for texts in _batches(documents(name), 256):
        for ids in tokenizer.encode_batch(texts):
            pieces.append(np.array([config.bos_id, *ids, config.eos_id], dtype=np.int32))
    if not pieces:
        raise ValueError(f"{name} holds no text")
    return np.concatenate(pieces)


def documents(name: str) -> Iterator[str]:
    """The non-empty documents of a local file or of the train split of a hub dataset."""
    import datasets

    path = Path(name)
    if path.suffix in LOCAL_LOADERS and path.is_file():
        loader = LOCAL_LOADERS[path.suffix]
        if loader == "text":
            yield from _text_documents(path)
            return
        try:
            rows = datasets.load_dataset(loader, data_files=str(path), split="train")
        except Exception as error:  # datasets raises many kinds for one cause
            raise ValueError(f"{name} cannot be read as {loader}: {error}") from error
    elif path.exists() or path.suffix in LOCAL_LOADERS:
        kinds = ", ".join(LOCAL_LOADERS)
        raise ValueError(f"{name} is not a readable file of one of the kinds {kinds}")
    else:
        rows = _hub_rows(name)
    if TEXT_COLUMN not in rows.column_names:
        raise ValueError(f"{name} has no column {TEXT_COLUMN!r}; it has {', '.join(rows.column_names)}")
    yield from (row[TEXT_COLUMN].strip() for row in rows if row[TEXT_COLUMN].strip())


def _hub_rows(name: str):
    import datasets

    try:
        return datasets.load_dataset(name, split="train")
    except Exception as error:
        raise ValueError(
            f"{name} is neither a local file nor a dataset the hub could give ({type(error).__name__}); "
            "download it and give a local .txt, .jsonl or .parquet file"
        ) from error


def _text_documents(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    yield from (document for part in text.split(DOCUMENT_SEPARATOR) if (document := part.strip()))


def _batches(items: Iterator[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
