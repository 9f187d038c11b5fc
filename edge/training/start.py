"""Build the model that a run starts from, and its tokenizer."""

from __future__ import annotations

import hashlib

from edge.checkpoints.convert import build_model, with_latents
from edge.checkpoints.hf_config import read_hf_config
from edge.checkpoints.hugging_face import check_vocabulary, linear_names, parse_config
from edge.checkpoints.packed import model_directory, open_start
from edge.checkpoints.tensor_files import hashes_of_weights
from edge.formats import grid_for_bits
from edge.model.config import NAMED_MODELS, ModelConfig
from edge.model.decoder import Decoder
from edge.model.shapes import parse_shape
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import plan_of
from edge.training.teacher import check_teacher, refuse_another_vocabulary
from edge.training.train_config import TrainConfig


def starting_model(config: TrainConfig) -> tuple[Decoder, Tokenizer]:
    """Build the model at step 0, prepared for its bit width, from a checkpoint or with random weights.

    Raises:
        ValueError: no tokenizer, or another model's; a checkpoint of other bits; a context too long.
    """
    if config.model is None:
        if config.tokenizer is None:
            raise ValueError("--tokenizer is needed when training starts from nothing")
        shape = _new_shape(config)
        _refuse_long_context(config, shape)
        model, tokenizer = Decoder(shape, config.context), Tokenizer(config.tokenizer)
        _refuse_without_markers(tokenizer, model.config)
        model.reset_parameters(config.seed)
        plan = wanted_plan(config, model.config)
    else:
        checkpoint = with_latents(open_start(config.model))
        plan = wanted_plan(config, checkpoint.config)
        if checkpoint.plan.is_quantized and checkpoint.plan != plan:
            raise ValueError(
                f"{config.model} was trained at {checkpoint.plan}, not {plan}; "
                "start from a full-precision checkpoint"
            )
        tokenizer_path = config.tokenizer or checkpoint.tokenizer
        if tokenizer_path is None:
            raise ValueError(f"{config.model} has no tokenizer; name one with --tokenizer")
        _refuse_long_context(config, checkpoint.config)
        model, tokenizer = build_model(checkpoint, config.context), Tokenizer(tokenizer_path)
        check_vocabulary(tokenizer, model.config)
        if config.tokenizer and checkpoint.tokenizer:
            refuse_another_vocabulary(tokenizer, Tokenizer(checkpoint.tokenizer), config.model)
    if plan.is_quantized and not plan_of(model).is_quantized:
        config.how.prepare(model, plan)
    return model.train(), tokenizer


def weights_hash(config: TrainConfig) -> str:
    """Return the SHA-256 of the config and weight files of --model and --teacher, wherever they lie."""
    digest = hashlib.sha256()
    for name in filter(None, (config.model, config.teacher)):
        for hashed in hashes_of_weights(model_directory(name)):
            digest.update(hashed.encode())
    return digest.hexdigest()


def wanted_plan(config: TrainConfig, shape: ModelConfig) -> Plan:
    """Return the plan that --bits, --mixed and --embedding-bits give a model of this shape.

    Raises:
        ValueError: a pattern matches no linear, or no linear is left at --bits.
    """
    embedding_format, default = grid_for_bits(config.embedding_bits), config.how.grid(config.bits)
    try:
        return Plan.from_patterns(linear_names(shape), default, config.patterns, embedding_format)
    except ValueError as error:
        raise ValueError(f"--mixed: {error}") from error


def check_before_stages(config: TrainConfig) -> None:
    """Raise a ValueError for a --mixed or --teacher that does not fit the model, before the first stage.

    A run of one stage finds out by itself.
    """
    if config.qat_fraction is None:
        return
    if config.model is None:
        shape = _new_shape(config)
    else:
        directory = model_directory(config.model)
        shape, _ = parse_config(directory, read_hf_config(directory))
    wanted_plan(config, shape)
    if config.teacher:
        check_teacher(config.teacher, shape, config.context)


def _new_shape(config: TrainConfig) -> ModelConfig:
    return parse_shape(config.shape or next(iter(NAMED_MODELS)))


def _refuse_long_context(config: TrainConfig, shape: ModelConfig) -> None:
    if config.context > shape.max_seq_len:
        raise ValueError(f"--context {config.context} is beyond the model's {shape.max_seq_len} positions")


def _refuse_without_markers(tokenizer: Tokenizer, config: ModelConfig) -> None:
    """Raise a ValueError if the id of a begin or end marker is ordinary text in this tokenizer."""
    for marker in (config.bos_id, config.eos_id):
        if marker < tokenizer.vocab_size and not tokenizer.is_marker(marker):
            raise ValueError(
                f"id {marker} must be a begin or end marker, but is the text {tokenizer.piece(marker)!r} in "
                f"{tokenizer.path}; python -m edge.data trains a tokenizer that fits"
            )
