"""What a training run is told: every field is a flag of ``python -m edge.training``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edge.formats import BITS_CHOICES, EMBEDDING_BITS_CHOICES, FULL_PRECISION, WeightFormat, format_for_bits
from edge.model.config import NAMED_MODELS
from edge.training.presets import PRESETS, Preset

#: What a run without any flag uses.
_DEFAULT = next(iter(PRESETS.values())).full


def _flag(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class TrainConfig:
    """What a run trains, on what, for how long; every field is a flag."""

    output: str = field(metadata={"help": "directory for the trained checkpoint (Hugging Face form)"})
    data: list[str] = field(
        metadata={
            "help": "text, JSONL or Parquet files, directories or patterns of such shards, or hub datasets "
            "(OWNER/NAME[/CONFIG][@COMMIT][:SPLIT], streamed, split train if none is named); NAME:TOKENS "
            "takes that many tokens of it, reading it again from the start where it is shorter"
        }
    )
    eval_data: list[str] = field(
        metadata={
            "help": "held-out text, named as for --data, but a hub dataset with its split; its perplexity "
            "is reported"
        }
    )
    model: str | None = _flag(
        None,
        "what to start from: a checkpoint directory, a hub id, or default, the embedded model; low bits "
        "start from full precision, or go on from a checkpoint of the same bits",
    )
    shape: str | None = _flag(None, f"shape when there is no --model: {', '.join(NAMED_MODELS)} (the first)")
    tokenizer: str | None = _flag(None, "tokenizer file or directory; the checkpoint's own where not given")
    bits: float = _flag(16.0, f"one of {', '.join(f'{b:g}' for b in BITS_CHOICES)}; 16 is full precision")
    mixed: list[str] | None = field(
        default=None,
        metadata={
            "help": "PATTERN=BITS gives the linears whose full name the pattern matches another width than "
            "--bits: 'layers.0.*=4' '*.down_proj=3' 'layers.5.*=16' (16 keeps them); the last that matches "
            "decides"
        },
    )
    embedding_bits: int = _flag(
        16, "bits that token embedding and output head are trained at, 4 or 8; 16 keeps them, as ParetoQ does"
    )
    data_cache: str | None = _flag(
        None, "directory that keeps tokenised data (edge-lowbit/tokens in the user's cache where not given)"
    )
    preset: str = _flag(
        next(iter(PRESETS)),
        f"where flags come from that are not given, by --bits: one of {', '.join(PRESETS)}; small is for "
        "models of a few million parameters, paretoq the published schedule for published models; the "
        "defaults shown are those of the first at 16 bits",
    )
    context: int = _flag(_DEFAULT.context, "tokens per training example")
    batch_size: int = _flag(_DEFAULT.batch_size, "examples per device and step")
    steps: int = _flag(_DEFAULT.steps, "optimiser steps")
    tokens: float | None = _flag(None, "tokens to train on, in place of --steps (1e9 is understood)")
    qat_fraction: float | None = _flag(
        None,
        "share of the steps or tokens that is quantisation-aware (ParetoQ: 0.1); the rest comes first, in "
        "full precision, and becomes OUTPUT-full",
    )
    full_learning_rate: float | None = _flag(
        None, "with --qat-fraction, peak rate of full precision; the preset's where not given"
    )
    learning_rate: float = _flag(_DEFAULT.learning_rate, "peak rate, cosine to 0")
    warmup_steps: int = _flag(_DEFAULT.warmup_steps, "steps of linear warm-up")
    distill: float = _flag(0.0, "weight, 0 to 1, of the distance to a teacher's predictions in the loss")
    teacher: str | None = _flag(None, "full-precision checkpoint for --distill; --model where not given")
    save_steps: int = _flag(200, "steps between checkpoints to resume from, and between evaluations")
    monitor_steps: int | None = _flag(
        None, "steps between readings of every quantised layer (what changed); --save-steps where not given"
    )
    seed: int = _flag(0, "seed of initial weights and of the order of the data")
    skip_examples: int = _flag(
        0, "examples at the start of that order which a run before this one took; --qat-fraction sets it"
    )

    def __post_init__(self) -> None:
        for name in ("context", "batch_size", "steps", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{spelled(name)} must be at least 1, not {getattr(self, name)}")
        if self.monitor_steps is not None and self.monitor_steps < 1:
            raise ValueError(f"--monitor-steps must be at least 1, not {self.monitor_steps}")
        if self.warmup_steps < 0:
            raise ValueError(f"--warmup-steps must not be negative, but is {self.warmup_steps}")
        if self.skip_examples < 0:
            raise ValueError(f"--skip-examples must be at least 0, not {self.skip_examples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must lie in 0..2^32 - 1, not {self.seed}")
        for name in ("learning_rate", "full_learning_rate"):
            if (rate := getattr(self, name)) is not None and not 0 < rate < float("inf"):
                raise ValueError(f"{spelled(name)} must be positive, not {rate}")
        format_for_bits(self.bits, BITS_CHOICES)
        if self.preset not in PRESETS:
            raise ValueError(f"unknown --preset {self.preset}; known are {', '.join(PRESETS)}")
        if self.tokens is not None and not 1 <= self.tokens < 2**63:
            raise ValueError(f"--tokens must lie in 1..2^63, not {self.tokens:g}")
        self._check_parts()
        self._check_two_stages()
        self._check_teacher()
        if self.model is not None and self.shape is not None:
            raise ValueError("--shape is for training from nothing; --model brings its own")
        if self.shape is not None and self.shape not in NAMED_MODELS:
            raise ValueError(f"unknown --shape {self.shape}; known are {', '.join(NAMED_MODELS)}")

    @property
    def schedule(self) -> Preset:
        """The preset's row for these bits."""
        return PRESETS[self.preset].at(self.bits)

    @property
    def patterns(self) -> list[tuple[str, WeightFormat]]:
        """``mixed``, taken apart."""
        return [_pattern(text) for text in self.mixed or ()]

    def _check_parts(self) -> None:
        format_for_bits(self.embedding_bits, EMBEDDING_BITS_CHOICES)
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
    """A field's name as a flag; ``batch_size`` and ``batch-size`` are both understood."""
    return "--" + name.replace("_", "-")


def _pattern(text: str) -> tuple[str, WeightFormat]:
    pattern, equals, bits = text.rpartition("=")
    if not pattern or not equals:
        raise ValueError(f"--mixed takes PATTERN=BITS, as in 'layers.0.*=4', not {text!r}")
    try:
        return pattern, format_for_bits(bits, BITS_CHOICES)
    except ValueError as error:
        raise ValueError(f"--mixed {text}: {error}") from error
