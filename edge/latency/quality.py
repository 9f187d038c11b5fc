"""Perplexity of an exported program itself, token by token, as a phone would run it."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import torch

from edge.latency.programs import ExportedProgram
from edge.latency.schema import Quality
from edge.program import open_program
from edge.training.data import Source, load_blocks

#: Tokens predicted per block, or what the KV cache holds.
BLOCK = 512


def measure_quality(program: ExportedProgram, text: str) -> Quality:
    """exp of the mean cross entropy (nats) over every predicted token of a text.

    Blocks are those of ``edge.training.evaluate``: each predicts all of its tokens but the first. The program
    runs on this computer; our ops give the same logits on every other.

    Args:
        text: PATH or PATH:TOKENS, as training takes them.

    Raises:
        ValueError: the text cannot be read or is shorter than a block, or the program has no tokenizer.
    """
    manifest, runtime, tokenizer = open_program(program.directory)
    if tokenizer is None:
        raise ValueError(f"{program.directory} has no tokenizer, so its perplexity cannot be measured")
    source, block = Source.parse(text), min(BLOCK, manifest.max_seq_len)
    blocks = load_blocks([source], tokenizer, program.config, block)
    loss = 0.0
    for row in blocks.blocks.tolist():
        for position, (token, following) in enumerate(pairwise(row)):
            logits = runtime.forward([token], position)
            loss -= float(torch.log_softmax(logits.double(), -1)[following])
    perplexity = math.exp(loss / blocks.predicted)
    name = "/".join(Path(source.name).parts[-2:])
    return Quality(text=name, tokens=blocks.predicted, block=block, perplexity=perplexity)
