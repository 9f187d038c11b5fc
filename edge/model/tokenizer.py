"""One face for the two tokenizer files Llama-shaped models come with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


class Tokenizer:
    """Text to ids and back, from ``tokenizer.json`` (Hugging Face) or ``tokenizer.model`` (SentencePiece).

    Args:
        path: one of the two files, or the directory that holds one (the first of the two is preferred).

    Raises:
        ValueError: no such file, or it cannot be read as what its name says.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = find_tokenizer(Path(path))
        try:
            if self.path.name.endswith(".json"):
                import tokenizers

                self._json = tokenizers.Tokenizer.from_file(str(self.path))
                self._sp = None
                self.vocab_size = 1 + max(self._json.get_vocab(with_added_tokens=True).values())
            else:
                import sentencepiece

                self._json = None
                self._sp = sentencepiece.SentencePieceProcessor(model_file=str(self.path))
                self.vocab_size = self._sp.vocab_size()
        except Exception as error:  # both libraries raise bare Exception or RuntimeError
            raise ValueError(f"{self.path} is not a readable tokenizer: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Ids of text, without begin or end markers."""
        if self._sp is not None:
            return list(self._sp.encode(text))
        return list(self._json.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if self._sp is not None:
            return [list(ids) for ids in self._sp.encode(list(texts))]
        return [list(e.ids) for e in self._json.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        if self._sp is not None:
            return self._sp.decode(list(ids))
        return self._json.decode(list(ids), skip_special_tokens=True)


def find_tokenizer(path: Path) -> Path:
    """The tokenizer file at path, or in the directory path."""
    candidates = [path] if path.is_file() else [path / name for name in TOKENIZER_FILES]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ValueError(f"no tokenizer in {path}: expected {' or '.join(TOKENIZER_FILES)}")
