"""What a run starts from: the model at step 0, its tokenizer, and the teacher it may have."""

from __future__ import annotations

import hashlib

from edge.checkpoints.convert import build_model, plan_of
from edge.checkpoints.hf_config import CONFIG_NAME, read_hf_config
from edge.checkpoints.hugging_face import (
    Checkpoint,
    check_vocabulary,
    linear_names,
    load_checkpoint,
    parse_config,
)
from edge.checkpoints.packed import model_directory, open_model
from edge.files import sha256_of
from edge.formats import format_for_bits
from edge.model.config import NAMED_MODELS, ModelConfig
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.training.method import PARETOQ, Method
from edge.training.train_config import TrainConfig


def starting_model(config: TrainConfig, method: Method = PARETOQ) -> tuple[Decoder, Tokenizer]:
    """The model at step 0 and its tokenizer, from a checkpoint or from nothing, prepared for its bit width.

    Raises:
        ValueError: no tokenizer, or another model's; a checkpoint of other bits; a context too long.
    """
    if config.model is None:
        if config.tokenizer is None:
            raise ValueError("--tokenizer is needed when training starts from nothing")
        model, tokenizer = Decoder(_new_shape(config)), Tokenizer(config.tokenizer)
        _refuse_without_markers(tokenizer, model.config)
        model.reset_parameters(config.seed)
        plan = wanted_plan(config, model.config)
    else:
        checkpoint = load_checkpoint(model_directory(config.model))
        plan = wanted_plan(config, checkpoint.config)
        if checkpoint.plan.is_quantized and checkpoint.plan != plan:
            raise ValueError(
                f"{config.model} was trained at {checkpoint.plan}, not {plan}; "
                "start from a full-precision checkpoint"
            )
        tokenizer_path = config.tokenizer or checkpoint.tokenizer
        if tokenizer_path is None:
            raise ValueError(f"{config.model} has no tokenizer; name one with --tokenizer")
        model, tokenizer = build_model(checkpoint), Tokenizer(tokenizer_path)
        check_vocabulary(tokenizer, model.config)
        if config.tokenizer and checkpoint.tokenizer:
            _refuse_another_vocabulary(tokenizer, Tokenizer(checkpoint.tokenizer), config.model)
    if config.context > model.config.max_seq_len:
        raise ValueError(
            f"--context {config.context} is beyond the model's {model.config.max_seq_len} positions"
        )
    if plan.is_quantized and not plan_of(model).is_quantized:
        method.prepare(model, plan)
    return model.train(), tokenizer


def weights_hash(config: TrainConfig) -> str:
    """SHA-256 of the files that --model and --teacher are, wherever they lie; of nothing without either."""
    digest = hashlib.sha256()
    for name in filter(None, (config.model, config.teacher)):
        directory = model_directory(name)
        for path in (directory / CONFIG_NAME, *sorted(directory.glob("*.safetensors"))):
            digest.update(sha256_of(path).encode())
    return digest.hexdigest()


def wanted_plan(config: TrainConfig, shape: ModelConfig) -> Plan:
    """What --bits, --mixed and --embedding-bits give each part of a model of this shape.

    Raises:
        ValueError: a pattern matches no linear, or no linear is left at --bits.
    """
    embedding_format, default = format_for_bits(config.embedding_bits), format_for_bits(config.bits)
    try:
        return Plan.from_patterns(linear_names(shape), default, config.patterns, embedding_format)
    except ValueError as error:
        raise ValueError(f"--mixed: {error}") from error


def refuse_before_training(config: TrainConfig) -> None:
    """ValueError for a --mixed or --teacher that does not fit the model, before the first of two stages."""
    if config.qat_fraction is None:  # a single stage finds out by itself
        return
    if config.model is None:
        shape = _new_shape(config)
    else:
        directory = model_directory(config.model)
        shape, _ = parse_config(directory, read_hf_config(directory))
    wanted_plan(config, shape)
    if config.teacher:
        _checked_teacher(config.teacher, shape, config.context)


def _new_shape(config: TrainConfig) -> ModelConfig:
    return NAMED_MODELS[config.shape or next(iter(NAMED_MODELS))]


def teacher_of(config: TrainConfig, model: Decoder, tokenizer: Tokenizer) -> Decoder | None:
    """The full-precision model that --distill learns from.

    Raises:
        ValueError: it is quantised, has another vocabulary or reads fewer tokens.
    """
    name = config.teacher or config.model
    if not config.distill or name is None:
        return None
    checkpoint = _checked_teacher(name, model.config, config.context)
    if checkpoint.tokenizer is not None:
        _refuse_another_vocabulary(tokenizer, Tokenizer(checkpoint.tokenizer), name)
    return build_model(checkpoint)


def _checked_teacher(name: str, ours: ModelConfig, context: int) -> Checkpoint:
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


def _refuse_without_markers(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """ValueError where a word would stand between documents, as its id is that of the model's marker."""
    for marker in (config.bos_id, config.eos_id):
        if marker < tokenizer.vocab_size and not tokenizer.is_marker(marker):
            raise ValueError(
                f"id {marker} marks where documents begin or end, and in {tokenizer.path} it is the text "
                f"{tokenizer.piece(marker)!r}; python -m edge.data makes one that fits"
            )


def _refuse_another_vocabulary(tokenizer: Tokenizer, other: Tokenizer, name: str) -> None:
    """ValueError where an id is one text for the run and another for the model that it came with."""
    for id_ in range(min(tokenizer.vocab_size, other.vocab_size)):
        if (mine := tokenizer.piece(id_)) != (theirs := other.piece(id_)):
            raise ValueError(
                f"id {id_} is {mine!r} in {tokenizer.path} and {theirs!r} in the tokenizer of {name}; "
                "both must be one"
            )
