"""Read the documents of one local file, piece by piece; only a JSON list is read as a whole.

The readers of ``datasets`` do not fit: they do not split a text at separators, they read a JSON line without
text as null where it must be refused, and they do not name the line that is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

#: Separator of the documents of a .txt file.
DOCUMENT_SEPARATOR = "<|endoftext|>"
TEXT_COLUMN = "text"
#: Characters. Longer documents of a text file are cut after a line, which bounds the memory.
LONGEST_DOCUMENT = 1 << 22
CHUNK_CHARACTERS = 1 << 20
PARQUET_ROWS = 256


def _text_documents(path: Path) -> Iterator[str]:
    rest = ""
    with _text_file(path) as file:
        while chunk := file.read(CHUNK_CHARACTERS):
            *whole, rest = (rest + chunk).split(DOCUMENT_SEPARATOR)
            for document in whole:
                yield from _pieces(document)
            *done, rest = _pieces(rest, spare=len(DOCUMENT_SEPARATOR))  # it may end in half a separator
            yield from done
    yield from _pieces(rest)


def _pieces(text: str, spare: int = 0) -> list[str]:
    """Cut a text into documents of at most LONGEST_DOCUMENT; the last may be longer by ``spare``."""
    pieces = []
    while len(text) > LONGEST_DOCUMENT + spare:
        cut = text.rfind("\n", 0, LONGEST_DOCUMENT) + 1 or LONGEST_DOCUMENT
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def _jsonl_documents(path: Path) -> Iterator[str]:
    with _text_file(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path} line {number}"
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{where} is not JSON: {error}") from error
                yield text_of(row, where)


def _json_documents(path: Path) -> Iterator[str]:
    """Read a list of objects; anything else is read as JSONL."""
    with _text_file(path) as file:
        line = next((line for line in file if line.strip()), "")
    if not line.lstrip().startswith("["):
        yield from _jsonl_documents(path)
        return
    with _text_file(path) as file:
        try:
            rows = json.load(file)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
    for number, row in enumerate(rows):
        yield text_of(row, f"{path} entry {number}")


def _parquet_documents(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if TEXT_COLUMN not in names:
                raise ValueError(f"{path} has no column {TEXT_COLUMN!r}; it has {', '.join(names)}")
            for batch in table.iter_batches(PARQUET_ROWS, columns=[TEXT_COLUMN]):
                for row in batch.to_pylist():
                    yield text_of(row, str(path))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error


#: Readers by suffix.
READERS = {
    ".txt": _text_documents,
    ".md": _text_documents,
    ".jsonl": _jsonl_documents,
    ".json": _json_documents,
    ".parquet": _parquet_documents,
}


@contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    try:
        with path.open(encoding="utf-8-sig") as file:  # drops the byte order mark of Windows editors
            yield file
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def text_of(row: Any, where: str) -> str:
    """Return the text of a row; null counts as empty.

    Raises:
        ValueError: the row has no text column, or what it holds is not text.
    """
    if not isinstance(row, dict) or TEXT_COLUMN not in row:
        has = f"it has {', '.join(row)}" if isinstance(row, dict) else f"it is a {type(row).__name__}"
        raise ValueError(f"{where} has no column {TEXT_COLUMN!r}; {has}")
    text = row[TEXT_COLUMN]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise ValueError(f"{where}: {TEXT_COLUMN!r} must hold text, not {type(text).__name__}")
    if not is_whole_text(text):
        raise ValueError(f"{where}: {TEXT_COLUMN!r} holds half a surrogate pair, which is no text")
    return text


def is_whole_text(text: str) -> bool:
    """Tell whether no half of a surrogate pair is in a text; JSON can spell one, no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
