"""What a run starts from: the model at step 0, its tokenizer, and the teacher it may have."""

from __future__ import annotations

from edge.config import NAMED_MODELS
from edge.formats import FULL_PRECISION, format_for_bits
from edge.model.checkpoint import load_checkpoint
from edge.model.mobilellm import MobileLLM
from edge.model.tokenizer import Tokenizer
from edge.quantizers.convert import build_model, qat_linears
from edge.quantizers.packed_checkpoint import model_directory, open_model
from edge.training.method import PARETOQ, Method
from edge.training.train_config import TrainConfig


def starting_model(config: TrainConfig, method: Method = PARETOQ) -> tuple[MobileLLM, Tokenizer]:
    """The model at step 0 and its tokenizer, from a checkpoint or from nothing, prepared for its bit width.

    Raises:
        ValueError: no tokenizer; a checkpoint of other bits; a context too long.
    """
    fmt = format_for_bits(config.bits)
    if config.model is None:
        if config.tokenizer is None:
            raise ValueError("--tokenizer is needed when training starts from nothing")
        shape = NAMED_MODELS[config.shape or next(iter(NAMED_MODELS))]
        model, tokenizer = MobileLLM(shape).reset_parameters(config.seed), Tokenizer(config.tokenizer)
    else:
        checkpoint = load_checkpoint(model_directory(config.model))
        if checkpoint.fmt is not FULL_PRECISION and checkpoint.fmt is not fmt:
            raise ValueError(
                f"{config.model} was trained at {checkpoint.fmt.bits:g} bits, not {config.bits:g}; "
                "start from a full-precision checkpoint"
            )
        tokenizer_path = config.tokenizer or checkpoint.tokenizer
        if tokenizer_path is None:
            raise ValueError(f"{config.model} has no tokenizer; name one with --tokenizer")
        model, tokenizer = build_model(checkpoint), Tokenizer(tokenizer_path)
    if config.context > model.config.max_seq_len:
        raise ValueError(
            f"--context {config.context} is beyond the model's {model.config.max_seq_len} positions"
        )
    if fmt.is_quantized and not qat_linears(model):
        method.prepare(model, fmt)
    return model.train(), tokenizer


def teacher_of(config: TrainConfig, model: MobileLLM) -> MobileLLM | None:
    """The full-precision model that --distill learns from.

    Raises:
        ValueError: it is quantised, has another vocabulary or reads fewer tokens.
    """
    name = config.teacher or config.model
    if not config.distill or name is None:
        return None
    checkpoint = open_model(name)
    if checkpoint.fmt is not FULL_PRECISION:
        raise ValueError(
            f"--distill learns from full precision, and {name} has {checkpoint.fmt.bits:g} bits; "
            "name another --teacher"
        )
    theirs, ours = checkpoint.config, model.config
    if theirs.vocab_size != ours.vocab_size:
        raise ValueError(
            f"--teacher {name} knows {theirs.vocab_size} tokens, the model {ours.vocab_size}; "
            "both must use one tokenizer"
        )
    if theirs.max_seq_len < config.context:
        raise ValueError(
            f"--teacher {name} reads {theirs.max_seq_len} tokens, fewer than --context {config.context}"
        )
    return build_model(checkpoint)
