"""Encode and decode text with either of the two tokenizer files that Llama-like models have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.quiet import native_stderr_held_back

#: In order of preference.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
#: Files that transformers reads beside them; copied when a checkpoint is written.
TOKENIZER_COMPANIONS = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class Tokenizer:
    """Text to ids and back, from ``tokenizer.json`` (Hugging Face) or ``tokenizer.model`` (SentencePiece).

    Markers spelled out in the text, such as ``</s>``, become their token with the first kind of file and
    plain text with the second; otherwise equal vocabularies give equal ids.

    Args:
        path: one of the two files, or the directory that holds one (the first of the two is preferred).

    Attributes:
        path: the file.
        vocab_size: one more than the highest id.

    Raises:
        ValueError: no such file, or it cannot be read as its name says.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = find_tokenizer(Path(path))
        self._backend = _open_backend(self.path)
        self.vocab_size = self._backend.vocab_size

    def encode(self, text: str) -> list[int]:
        """Ids of text, without begin or end markers."""
        return self._backend.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without begin or end markers."""
        return self._backend.encode_batch(list(texts))

    def piece(self, id_: int) -> str | None:
        """The vocabulary's spelling of an id; None if it has none."""
        return self._backend.piece(id_)

    def is_marker(self, id_: int) -> bool:
        """Tell whether an id is a marker, such as the end of a text."""
        return self._backend.is_marker(id_)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; markers and ids beyond the vocabulary, which pad the model, are left out."""
        return self._backend.decode([i for i in ids if i < self.vocab_size])


def _open_backend(path: Path) -> _HuggingFace | _SentencePiece:
    kind = _HuggingFace if path.suffix == ".json" else _SentencePiece
    with native_stderr_held_back():  # a panic of Rust prints its stack
        try:
            return kind(path)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Exception, RuntimeError, or a panic, which is neither
            cause = error
    reason = " ".join(str(cause).split())
    raise ValueError(f"{path} is not a readable tokenizer ({kind.library}: {reason})") from cause


class _HuggingFace:
    library = "tokenizers"

    def __init__(self, path: Path) -> None:
        import tokenizers

        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        # A file saved by a training script may have its length limit, which would silently cut text.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(e.ids) for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def piece(self, id_: int) -> str | None:
        return self._tokenizer.id_to_token(id_)

    def is_marker(self, id_: int) -> bool:
        added = self._tokenizer.get_added_tokens_decoder().get(id_)
        return added is not None and added.special

    def decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=True)


class _SentencePiece:
    library = "sentencepiece"

    def __init__(self, path: Path) -> None:
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.vocab_size = self._processor.vocab_size()

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [list(ids) for ids in self._processor.encode(texts)]

    def piece(self, id_: int) -> str | None:
        return self._processor.id_to_piece(id_)

    def is_marker(self, id_: int) -> bool:
        return self._processor.is_control(id_)

    def decode(self, ids: list[int]) -> str:
        return self._processor.decode(ids)


def find_tokenizer(path: Path) -> Path:
    """Find the tokenizer file at path, or in the directory path; ValueError if there is none."""
    candidates = [path] if path.is_file() else [path / name for name in TOKENIZER_FILES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"no tokenizer in {path}: expected {' or '.join(TOKENIZER_FILES)}")
