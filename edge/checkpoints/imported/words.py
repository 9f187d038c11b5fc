"""Read codes that formats of other projects pack into int32 words."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def words_for(count: int, bits: int) -> int:
    """The words that hold so many codes, without gaps."""
    return -(-count * bits // 32)


def codes_from_words(words: Tensor, bits: int, places: Tensor) -> Tensor:
    """Take codes from rows of words; a row is one stream of bits, the lowest bit of a word first.

    Args:
        words: int32 [rows, w].
        bits: of a code, 1 to 8. A code may begin in one word and end in the next.
        places: int64 [count], which codes of each row to take.

    Returns:
        uint8 [rows, count].
    """
    stream = words.contiguous().numpy().view(np.uint8)  # [rows, 4 * w]
    first = places.numpy() * bits
    byte, shift = first // 8, (first % 8).astype(np.uint8)
    if 8 % bits == 0:  # no code begins in one byte and ends in the next
        return torch.from_numpy(stream.take(byte, axis=1) >> shift & np.uint8(2**bits - 1))
    following = np.minimum(byte + 1, stream.shape[1] - 1)  # the last byte's code ends in it
    pairs = stream.take(byte, axis=1) | stream.take(following, axis=1).astype(np.uint16) << 8
    return torch.from_numpy((pairs >> shift & (2**bits - 1)).astype(np.uint8))
