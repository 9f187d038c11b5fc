"""Measure perplexity in blocks: of any text, and of WikiText-2 in the two published conventions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edge.data import PackedBlocks, Source, load_blocks
from edge.evaluation.candidate import Candidate
from edge.evaluation.language_model import Continuation, LanguageModel
from edge.evaluation.progress import progress
from edge.evaluation.wikitext import CONVENTIONS


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and how it was measured.

    Attributes:
        text: heading of its column.
        convention: how the text was cut and averaged, in words.
        value: exp of the mean cross entropy in nats; None where the convention was refused.
        tokens: predicted.
        factor: a program's fake-quantised model lies within this factor.
        refused: why there is no value.
    """

    text: str
    convention: str
    value: float | None = None
    tokens: int = 0
    factor: float | None = None
    refused: str | None = None


def perplexity(model: LanguageModel, blocks: PackedBlocks) -> tuple[float, int]:
    """Return exp of the mean cross entropy (nats) over every predicted token, and the number of tokens.

    Each block predicts all of its tokens but the first, each from those before it in the block.
    """
    rows = (Continuation([first], rest) for first, *rest in blocks.blocks.tolist())
    scores = progress(model.scores(rows), len(blocks), "blocks")
    loss = -math.fsum(score.total for score in scores) / blocks.predicted
    return (math.inf if loss >= 700 else math.exp(loss)), blocks.predicted  # a double ends at exp(709.8)


def file_perplexity(candidate: Candidate, file: str, context: int | None) -> Perplexity:
    """Measure a text as training reads it: documents between begin and end tokens, cut into blocks.

    Args:
        file: PATH or PATH:TOKENS, or a hub dataset with its split.
        context: see ``block_length``.

    Raises:
        ValueError: the file cannot be read or is shorter than a block, or the model has fewer positions.
    """
    block = block_length(candidate, context)
    source = Source.held_out(file)
    blocks = load_blocks([source], candidate.tokenizer, candidate.config, block)
    convention = f"documents between begin and end tokens, in blocks that predict {block} tokens each"
    return _measured(candidate, "/".join(Path(source.name).parts[-2:]), convention, blocks)


def block_length(candidate: Candidate, context: int | None) -> int:
    """Return the tokens that a block predicts: ``context``, or all of the model's positions if None.

    Raises:
        ValueError: the model has fewer positions.
    """
    positions = candidate.model.positions
    if context is not None and not 1 <= context <= positions:
        raise ValueError(f"--context must lie in 1..{positions} for {candidate.facts.model}, not {context}")
    return context or positions


def wikitext_perplexities(candidate: Candidate, rows: list[str]) -> list[Perplexity]:
    """Measure WikiText-2's test split in each published convention; refuse one that does not fit."""
    positions = candidate.model.positions
    results = []
    for convention in CONVENTIONS:
        size = convention.block_tokens(positions)
        text = f"WikiText-2, {convention.name}"
        words = f"{convention.words}, in blocks of {size} tokens"
        if size > positions:
            refused = f"its blocks of {size} tokens do not fit the model's {positions} positions"
            results.append(Perplexity(text, words, refused=refused))
            continue
        if size < convention.published:
            words += f" where the published figures have {convention.published}, so not comparable with them"
        stream = convention.tokens(rows, candidate.tokenizer, candidate.config)
        results.append(_measured(candidate, text, words, PackedBlocks(stream, size - 1)))
    return results


def _measured(candidate: Candidate, text: str, convention: str, blocks: PackedBlocks) -> Perplexity:
    value, tokens = perplexity(candidate.model, blocks)
    factor = None if candidate.bounds is None else candidate.bounds.perplexity_factor(tokens)
    return Perplexity(text, convention, value, tokens, factor)
