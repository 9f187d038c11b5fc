"""Configuration of a training run; every field is a flag of ``python -m edge.training``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, FULL_PRECISION, Grid, grid_for_bits
from edge.model.shapes import SHAPE_WORDS, parse_shape
from edge.quantizers.activations import check_activation_bits
from edge.quantizers.base import Method
from edge.quantizers.methods import METHODS, PARETOQ
from edge.training.presets import PRESETS, Preset

#: Flags that one method takes and the others refuse.
METHOD_FLAGS = (
    "widths", "loss_weights", "single_precision", "extra_precision", "co_distill", "co_distill_share",
)  # fmt: skip
#: The schedule of a run without any flag.
_DEFAULT = next(iter(PRESETS.values())).full


def _flag(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class TrainConfig:
    """Model, data and schedule of a run, checked when it is made.

    Raises:
        ValueError: a value is out of range, or two flags contradict each other.
    """

    output: str = field(metadata={"help": "directory for the trained checkpoint (Hugging Face format)"})
    data: list[str] = field(
        metadata={
            "help": "text to train on: .txt, .jsonl or .parquet files, directories or quoted patterns of "
            "such shards, or hub datasets (OWNER/NAME[/CONFIG][@COMMIT][:SPLIT], split train by default); "
            "NAME:TOKENS takes that many tokens, and repeats a shorter source"
        }
    )
    eval_data: list[str] = field(
        metadata={"help": "held-out text for perplexity, named like --data; a hub dataset needs its :SPLIT"}
    )
    model: str | None = _flag(
        None,
        "checkpoint to start from: a directory, a hub id, or default (the embedded model); low bits start "
        "from full precision, or continue a checkpoint of the same bits",
    )
    shape: str | None = _flag(
        None, f"shape of a new model, without --model: {SHAPE_WORDS} (default: the first)"
    )
    tokenizer: str | None = _flag(None, "tokenizer file or directory (default: the one of --model)")
    bits: float = _flag(
        16.0,
        f"bits per weight: {', '.join(f'{b:g}' for b in BITS_CHOICES)}; 16 is full precision "
        "(--method minmax takes 5 to 8 too)",
    )
    mixed: list[str] | None = field(
        default=None,
        metadata={
            "help": "PATTERN=BITS: other bits for linears whose name matches, for example 'layers.0.*=4' "
            "'*.down_proj=3' 'layers.5.*=16' (16 keeps them in full precision); the last match counts"
        },
    )
    method: str = _flag(
        PARETOQ.name, f"how low bits are trained: {', '.join(METHODS)} (README.md in edge/quantizers)"
    )
    widths: str | None = _flag(
        None, "widths that --method matquant trains, falling, with commas (default: 8,4,2)"
    )
    loss_weights: str | None = _flag(
        None,
        "share of each of --widths in the loss (default: 0.1 and 1 for the last, or 1 each with "
        "--extra-precision)",
    )
    single_precision: bool = _flag(
        False, "train the last of --widths alone, as a slice of the parent; the others are measured"
    )
    extra_precision: bool = _flag(
        False, "slices with one level more (2^r + 1), which take one bit more in a program"
    )
    co_distill: str | None = _flag(
        None, "pairs of --widths, wider:narrower, as in 8:2,8:4: the narrower learns from the wider too"
    )
    co_distill_share: float | None = _flag(
        None, "share of such a width's loss that is the distance to its teacher (default: 0.5)"
    )
    embedding_bits: int = _flag(
        16, "bits of token embedding and output head: 4, 8, or 16 to keep them, as ParetoQ does"
    )
    activation_bits: int = _flag(
        16, "bits, 2 to 8, that what a layer's linears read is rounded to while training; programs have 8"
    )
    kv_bits: int = _flag(16, "bits, 2 to 8, that keys and values are rounded to while training")
    data_cache: str | None = _flag(
        None, "directory for tokenised data (default: ~/.cache/edge-lowbit/tokens)"
    )
    preset: str = _flag(
        next(iter(PRESETS)),
        f"schedule for flags that are not given, by --bits: {' or '.join(PRESETS)}; small suits a few "
        "million parameters, paretoq is the published one; the defaults shown are those of small at 16 bits",
    )
    context: int = _flag(_DEFAULT.context, "tokens per training example")
    batch_size: int = _flag(_DEFAULT.batch_size, "examples per device and step")
    steps: int = _flag(_DEFAULT.steps, "optimiser steps")
    tokens: float | None = _flag(None, "tokens to train on, instead of --steps, for example 1e9")
    qat_fraction: float | None = _flag(
        None,
        "train in two stages: this share of the budget at --bits (ParetoQ: 0.1), after full precision, which "
        "is written to OUTPUT-full",
    )
    full_learning_rate: float | None = _flag(
        None, "peak learning rate of the full-precision stage of --qat-fraction (default: the preset's)"
    )
    learning_rate: float = _flag(_DEFAULT.learning_rate, "peak learning rate; it falls to 0 as a cosine")
    warmup_steps: int = _flag(_DEFAULT.warmup_steps, "steps of linear warm-up")
    distill: float = _flag(0.0, "share of the loss, 0 to 1, that is the distance to a teacher's predictions")
    teacher: str | None = _flag(None, "full-precision checkpoint for --distill (default: --model)")
    save_steps: int = _flag(200, "steps between checkpoints, and between evaluations")
    monitor_steps: int | None = _flag(
        None, "steps between readings of the quantised layers (default: --save-steps)"
    )
    seed: int = _flag(0, "seed of new weights and of the order of the data")
    skip_examples: int = _flag(
        0, "examples of that order to skip because an earlier run took them; --qat-fraction sets it"
    )

    def __post_init__(self) -> None:
        least = dict.fromkeys(("context", "batch_size", "steps", "save_steps", "monitor_steps"), 1)
        for name, bound in {**least, "warmup_steps": 0, "skip_examples": 0}.items():
            if (value := getattr(self, name)) is not None and value < bound:
                raise ValueError(f"{spelled(name)} must be at least {bound}, not {value}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must lie in 0..2^32 - 1, not {self.seed}")
        for name in ("learning_rate", "full_learning_rate"):
            if (rate := getattr(self, name)) is not None and not 0 < rate < float("inf"):
                raise ValueError(f"{spelled(name)} must be positive, not {rate}")
        if self.method not in METHODS:
            raise ValueError(f"unknown --method {self.method}; known are {', '.join(METHODS)}")
        self.how.grid(self.bits, BITS_CHOICES)
        if self.preset not in PRESETS:
            raise ValueError(f"unknown --preset {self.preset}; known are {', '.join(PRESETS)}")
        if self.tokens is not None and not 1 <= self.tokens < 2**63:
            raise ValueError(f"--tokens must lie in 1..2^63, not {self.tokens:g}")
        self._check_parts()
        self._check_two_stages()
        self._check_teacher()
        if self.model is not None and self.shape is not None:
            raise ValueError("--shape is for training from nothing; --model brings its own")
        if self.shape is not None:
            parse_shape(self.shape)

    @property
    def how(self) -> Method:
        """The method with its own flags; at 16 bits, where nothing is quantised, the plain one.

        Raises:
            ValueError: a flag of another method.
        """
        values = {name: getattr(self, name) for name in METHOD_FLAGS}
        own = {name: value for name, value in values.items() if value is not None and value is not False}
        if self.bits != FULL_PRECISION.bits:
            return METHODS[self.method].configured(own)
        for name in own:
            raise ValueError(f"{spelled(name)} is for low bits: give --method matquant --bits 8")
        return PARETOQ

    @property
    def schedule(self) -> Preset:
        """The preset of these bits."""
        return PRESETS[self.preset].at(self.bits)

    @property
    def patterns(self) -> list[tuple[str, Grid]]:
        """``mixed`` as pairs of pattern and format."""
        return [_pattern(text, self.how) for text in self.mixed or ()]

    def _check_parts(self) -> None:
        grid_for_bits(self.embedding_bits, EMBEDDING_BITS_CHOICES)
        check_activation_bits(self.activation_bits, "--activation-bits")
        check_activation_bits(self.kv_bits, "--kv-bits")
        if self.bits == FULL_PRECISION.bits and (self.patterns or self.embedding_bits != FULL_PRECISION.bits):
            raise ValueError(
                "--mixed and --embedding-bits are for low-bit models: give --bits 4, 3, 2, 1.58 or 1 "
                "(--mixed PATTERN=16 keeps linears in full precision)"
            )

    def _check_two_stages(self) -> None:
        if self.qat_fraction is None:
            return
        if not 0 < self.qat_fraction < 1:
            raise ValueError(f"--qat-fraction must lie between 0 and 1, not {self.qat_fraction:g}")
        if self.bits == FULL_PRECISION.bits:
            raise ValueError("--qat-fraction is for low-bit models: give --bits 4, 3, 2, 1.58 or 1")

    def _check_teacher(self) -> None:
        if not 0 <= self.distill <= 1:
            raise ValueError(f"--distill must lie in 0..1, not {self.distill:g}")
        if self.teacher is not None and not self.distill:
            raise ValueError("--teacher needs --distill, the weight of its predictions in the loss")
        if self.distill and self.teacher is None and self.model is None and self.qat_fraction is None:
            raise ValueError("--distill needs a --teacher, or a full-precision --model to start from")


def spelled(name: str) -> str:
    """Spell a field's name as a flag; ``batch_size`` and ``batch-size`` are both understood."""
    return "--" + name.replace("_", "-")


def _pattern(text: str, method: Method) -> tuple[str, Grid]:
    pattern, equals, bits = text.rpartition("=")
    if not pattern or not equals:
        raise ValueError(f"--mixed takes PATTERN=BITS, as in 'layers.0.*=4', not {text!r}")
    try:
        return pattern, method.grid(bits, BITS_CHOICES)
    except ValueError as error:
        raise ValueError(f"--mixed {text}: {error}") from error
