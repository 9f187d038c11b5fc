"""Pack tokens into blocks, the examples of training and evaluation."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edge.data.sources import Source
from edge.data.token_cache import TokenFile, tokenise
from edge.model.config import ModelConfig
from edge.model.tokenizer import Tokenizer


class Ids(Protocol):
    """A sequence of token ids that can be sliced, such as an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, where: slice, /) -> np.ndarray: ...


class TokenStream:
    """A sequence of token files; a file repeats if more tokens are asked for than it has.

    Args:
        pieces: each file and how many tokens it contributes.
    """

    def __init__(self, pieces: list[tuple[TokenFile, int]]) -> None:
        self.pieces = pieces
        self.ends = list(accumulate(count for _, count in pieces))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, where: slice, /) -> np.ndarray:
        """Return consecutive tokens, [n] uint16 or uint32."""
        start, stop, _ = where.indices(len(self))
        parts = []
        while start < stop:
            index = bisect_right(self.ends, start)
            (file, count), end = self.pieces[index], self.ends[index]
            offset = (start - (end - count)) % len(file)
            parts.append(file.ids[offset : offset + min(stop, end) - start])  # the file may end before
            start += len(parts[-1])
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    @property
    def fingerprint(self) -> str:
        """Return a SHA-256 of the files' hashes and token counts; paths do not matter."""
        said = [(file.sha256, count) for file, count in self.pieces]
        return hashlib.sha256(repr(said).encode()).hexdigest()


class PackedBlocks(Dataset):
    """Blocks of ``context + 1`` consecutive tokens: each position but the last predicts the next.

    Tokens after the last whole block are dropped.

    Raises:
        ValueError: the stream is shorter than one block.
    """

    def __init__(self, stream: Ids, context: int) -> None:
        self.stream, self.size = stream, context + 1
        self.count = len(stream) // self.size
        if self.count == 0:
            raise ValueError(
                f"the text gives {len(stream)} tokens, fewer than one block of {context + 1}; "
                "give more text or a shorter --context"
            )

    @property
    def blocks(self) -> np.ndarray:
        """Return all blocks, [blocks, context + 1]; they come into memory, so only for held-out texts."""
        return self.stream[: self.count * self.size].reshape(self.count, self.size)

    @property
    def predicted(self) -> int:
        """Count the predicted tokens: all but each block's first."""
        return self.count * (self.size - 1)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        ids = self.stream[index * self.size : (index + 1) * self.size]
        return {"tokens": torch.from_numpy(ids.astype(np.int64))}


def token_stream(
    sources: list[Source],
    tokenizer: Tokenizer,
    config: ModelConfig,
    cache: Path | None = None,
    repeats: bool = True,
) -> TokenStream:
    """Tokenise sources in order; each document stands between bos and eos.

    Args:
        cache: directory of tokenised sources; None is ``edge-lowbit/tokens`` in the user's cache.
        repeats: whether a source shorter than asked for repeats.

    Raises:
        ValueError: a source is missing, empty, unreadable, or of an unknown kind; the hub cannot be reached;
            the tokenizer does not fit the model; the cache cannot be written.
    """
    files = [tokenise(source, tokenizer, config, cache) for source in sources]
    asked = [source.tokens or len(file) for file, source in zip(files, sources, strict=True)]
    counts = asked if repeats else [min(count, len(file)) for file, count in zip(files, asked, strict=True)]
    return TokenStream(list(zip(files, counts, strict=True)))


def load_blocks(
    sources: list[Source], tokenizer: Tokenizer, config: ModelConfig, context: int, cache: Path | None = None
) -> PackedBlocks:
    """Pack held-out sources, each once, into blocks of ``context + 1``; raises like ``token_stream``."""
    return PackedBlocks(token_stream(sources, tokenizer, config, cache, repeats=False), context)
