"""Take calibration samples from a text."""

from __future__ import annotations

import torch
from torch import Tensor

from edge.data import Source, token_stream
from edge.model.config import ModelConfig
from edge.model.tokenizer import Tokenizer

#: Tokens of a sample if the user does not say, as in GPTQ's and OmniQuant's own runs.
LENGTH = 2048


def sample_length(wanted: int | None, config: ModelConfig) -> int:
    """Tokens of a sample: those wanted, or LENGTH but no more than the model reads.

    Raises:
        ValueError: more than the model reads.
    """
    if wanted is None:
        return min(LENGTH, config.max_seq_len)
    if not 1 <= wanted <= config.max_seq_len:
        raise ValueError(f"--length must lie in 1..{config.max_seq_len} for this model, not {wanted}")
    return wanted


def draw_samples(
    text: str, tokenizer: Tokenizer, config: ModelConfig, count: int, length: int, seed: int
) -> Tensor:
    """Token ids int64 [count, length] from random places of a text, as training reads it.

    Raises:
        ValueError: the text is missing, empty, or shorter than a sample, or the tokenizer is another model's.
    """
    stream = token_stream([Source.parse(text)], tokenizer, config, repeats=False)
    if len(stream) < length:
        raise ValueError(
            f"--calibration {text} gives {len(stream)} tokens, fewer than a sample of {length}; give "
            "more text or a shorter --length"
        )
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(stream) - length + 1, (count,), generator=generator).tolist()
    return torch.stack([torch.from_numpy(stream[s : s + length].astype("int64")) for s in starts])
