"""Perplexity of an exported program itself, token by token, as a phone would run it."""

from __future__ import annotations

from pathlib import Path

from edge.data import Source, load_blocks
from edge.evaluation.language_model import ProgramModel
from edge.evaluation.perplexity import perplexity
from edge.latency.exported import ExportedProgram
from edge.latency.schema import Quality
from edge.runtime.load import open_program

#: Tokens predicted per block, or what the KV cache holds.
BLOCK = 512


def measure_quality(program: ExportedProgram, text: str) -> Quality:
    """Measure exp of the mean cross entropy (nats) over every predicted token of a text.

    Blocks are those of ``edge.evaluation``: each predicts all of its tokens but the first. The program
    runs on this computer; our ops give the same logits on every other.

    Args:
        text: PATH or PATH:TOKENS, as training takes them.

    Raises:
        ValueError: the text cannot be read or is shorter than a block, or the program has no tokenizer.
    """
    manifest, runtime, tokenizer = open_program(program.directory)
    if tokenizer is None:
        raise ValueError(f"{program.directory} has no tokenizer, so its perplexity cannot be measured")
    source, block = Source.held_out(text), min(BLOCK, manifest.max_seq_len)
    value, tokens = perplexity(ProgramModel(runtime), load_blocks([source], tokenizer, program.config, block))
    name = "/".join(Path(source.name).parts[-2:])
    return Quality(text=name, tokens=tokens, block=block, perplexity=value)
