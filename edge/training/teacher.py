"""Load the full-precision teacher of --distill."""

from __future__ import annotations

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.training.train_config import TrainConfig


def teacher_of(config: TrainConfig, model: Decoder, tokenizer: Tokenizer) -> Decoder | None:
    """Load the teacher; None without --distill.

    Raises:
        ValueError: it is quantised, has another vocabulary or reads fewer tokens.
    """
    name = config.teacher or config.model
    if not config.distill or name is None:
        return None
    checkpoint = check_teacher(name, model.config, config.context)
    if checkpoint.tokenizer is not None:
        refuse_another_vocabulary(tokenizer, Tokenizer(checkpoint.tokenizer), name)
    return build_model(checkpoint, config.context)


def check_teacher(name: str, ours: ModelConfig, context: int) -> Checkpoint:
    checkpoint = open_model(name)
    if checkpoint.plan.is_quantized:
        raise ValueError(
            f"--distill learns from full precision, and {name} has {checkpoint.plan}; name another --teacher"
        )
    theirs = checkpoint.config
    if theirs.vocab_size != ours.vocab_size:
        raise ValueError(
            f"--teacher {name} knows {theirs.vocab_size} tokens, the model {ours.vocab_size}; "
            "both must use one tokenizer"
        )
    if theirs.max_seq_len < context:
        raise ValueError(
            f"--teacher {name} reads {theirs.max_seq_len} tokens, fewer than --context {context}"
        )
    return checkpoint


def refuse_another_vocabulary(tokenizer: Tokenizer, other: Tokenizer, name: str) -> None:
    """Raise a ValueError if an id stands for different texts in two tokenizers."""
    for id_ in range(min(tokenizer.vocab_size, other.vocab_size)):
        if (mine := tokenizer.piece(id_)) != (theirs := other.piece(id_)):
            raise ValueError(
                f"id {id_} is {mine!r} in {tokenizer.path} and {theirs!r} in the tokenizer of {name}; "
                "they must be the same"
            )
