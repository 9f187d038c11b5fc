"""Text to packed blocks of tokens: local text, JSONL and Parquet files, or hub datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.config import ModelConfig
from edge.model.tokenizer import Tokenizer

#: What separates the documents of a .txt file; a file without it is one document.
DOCUMENT_SEPARATOR = "<|endoftext|>"
TEXT_COLUMN = "text"
HUB_TIMEOUT_SECONDS = 10
#: Documents tokenised at a time.
BATCH = 256


@dataclass(frozen=True)
class Source:
    """A local file or a hub id, and how many of its tokens to train on (None: all, once).

    More tokens than the source has means that it is read again from the start.
    """

    name: str
    tokens: int | None = None

    @staticmethod
    def parse(text: str) -> Source:
        """``PATH`` or ``PATH:TOKENS``, for example ``stories.txt:4.5e6``; other colons belong to the path."""
        name, colon, count = text.rpartition(":")
        if not colon or not name or Path(text).is_file():
            return Source(text)
        try:
            tokens = float(count)
        except ValueError:
            return Source(text)
        if not 1 <= tokens < 2**63:
            raise ValueError(f"{text}: the number of tokens behind the colon must be positive and finite")
        return Source(name, int(tokens))


class PackedBlocks(Dataset):
    """Blocks of ``context + 1`` consecutive tokens: each position but the last predicts the next.

    What is left behind the last whole block is dropped.

    Raises:
        ValueError: the stream is shorter than one block.
    """

    def __init__(self, stream: np.ndarray, context: int) -> None:
        count = len(stream) // (context + 1)
        if count == 0:
            raise ValueError(
                f"the text gives {len(stream)} tokens, fewer than one block of {context + 1}; "
                "give more text or a shorter --context"
            )
        self.blocks = stream[: count * (context + 1)].reshape(
            count, context + 1
        )  # [count, context + 1] int32

    @property
    def predicted(self) -> int:
        """Tokens that a pass over the blocks predicts: all but each block's first."""
        return self.blocks.size - len(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"tokens": torch.from_numpy(self.blocks[index].astype(np.int64))}


def load_blocks(
    sources: list[Source], tokenizer: Tokenizer, config: ModelConfig, context: int
) -> PackedBlocks:
    """Every source, in order, as blocks of ``context + 1`` tokens; documents stand between bos and eos.

    Raises:
        ValueError: a file is missing, empty, unreadable, or of an unknown kind; the hub cannot be reached.
    """
    streams = [token_stream(source, tokenizer, config) for source in sources]
    return PackedBlocks(np.concatenate(streams), context)


def token_stream(source: Source, tokenizer: Tokenizer, config: ModelConfig) -> np.ndarray:
    """The tokens of a source, int32 [N]: bos, document, eos, bos, ... ; no more is read than is asked for."""
    pieces: list[np.ndarray] = []
    length = 0
    texts = documents(source.name)
    while batch := list(islice(texts, BATCH)):
        for ids in tokenizer.encode_batch(batch):
            pieces.append(np.array([config.bos_id, *ids, config.eos_id], dtype=np.int32))
            length += len(pieces[-1])
        if source.tokens is not None and length >= source.tokens:
            break
    stream = np.concatenate(pieces)
    return (
        stream if source.tokens is None else np.resize(stream, source.tokens)
    )  # repeats where it is too short


def documents(name: str) -> Iterator[str]:
    """The non-empty documents of a local file or of the train split of a hub dataset, stripped.

    Raises:
        ValueError: there is nothing of that name, it cannot be read as its kind, or it holds no text.
    """
    path = Path(name)
    reader = READERS.get(path.suffix)
    if reader is not None and path.is_file():
        texts = reader(path)
    elif reader is not None or path.exists():
        raise ValueError(f"{name} is not a readable file of one of the kinds {', '.join(READERS)}")
    else:
        texts = _hub_texts(name)
    found = False
    for text in texts:
        if document := text.strip():
            found = True
            yield document
    if not found:
        raise ValueError(f"{name} holds no text")


def _text_documents(path: Path) -> Iterator[str]:
    yield from _decoded(path).split(DOCUMENT_SEPARATOR)


def _jsonl_documents(path: Path) -> Iterator[str]:
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where} is not JSON: {error}") from error
            yield _text_of(row, where)


def _json_documents(path: Path) -> Iterator[str]:
    """A list of objects; anything else is read as JSONL."""
    content = _decoded(path)
    if not content.lstrip().startswith("["):
        yield from _jsonl_documents(path)
        return
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    for number, row in enumerate(rows):
        yield _text_of(row, f"{path} entry {number}")


def _parquet_documents(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if TEXT_COLUMN not in names:
                raise ValueError(f"{path} has no column {TEXT_COLUMN!r}; it has {', '.join(names)}")
            for batch in table.iter_batches(columns=[TEXT_COLUMN]):
                for row in batch.to_pylist():
                    yield _text_of(row, str(path))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


#: Kinds of local files, by suffix.
READERS = {
    ".txt": _text_documents,
    ".md": _text_documents,
    ".jsonl": _jsonl_documents,
    ".json": _json_documents,
    ".parquet": _parquet_documents,
}


def _hub_texts(name: str) -> Iterator[str]:
    import datasets
    import huggingface_hub

    try:
        if not huggingface_hub.constants.HF_HUB_OFFLINE:  # offline, what is cached still loads
            # One request with a time limit: load_dataset itself tries an unreachable hub for half a minute.
            huggingface_hub.HfApi().dataset_info(name, timeout=HUB_TIMEOUT_SECONDS)
        rows = datasets.load_dataset(name, split="train")
    except Exception as error:  # both libraries raise many kinds for one cause
        raise ValueError(
            f"{name} is neither a local file nor a dataset that the hub gave ({type(error).__name__}); "
            "give a local .txt, .jsonl or .parquet file, or download the dataset first"
        ) from error
    for number, row in enumerate(rows):
        yield _text_of(row, f"{name} row {number}")


def _decoded(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # without the mark that Windows editors put first
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error


def _text_of(row: Any, where: str) -> str:
    """The text of a row; a null counts as empty."""
    if not isinstance(row, dict) or TEXT_COLUMN not in row:
        has = f"it has {', '.join(row)}" if isinstance(row, dict) else f"it is a {type(row).__name__}"
        raise ValueError(f"{where} has no column {TEXT_COLUMN!r}; {has}")
    text = row[TEXT_COLUMN]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError(f"{where}: {TEXT_COLUMN!r} must hold text, not {type(text).__name__}")
    return text
