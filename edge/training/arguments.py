"""The command line of training: our flags, and transformers' TrainingArguments behind them."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, cast

from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from edge.config import NAMED_MODELS
from edge.formats import BITS_CHOICES, FULL_PRECISION, format_for_bits
from edge.training.presets import PRESETS, Preset

DESCRIPTION = """\
Trains a model in full precision, then quantisation-aware from it (ParetoQ). An interrupted run continues from
its last checkpoint when the same command is given again. Every flag of transformers' TrainingArguments is
accepted too (--gradient_accumulation_steps 4, --gradient_checkpointing True, --torch_compile True, ...), and
torchrun works. What is not given comes from --preset, by bit width."""
EXAMPLE = """\
examples:
  python -m edge.training.train --output full --tokenizer tok --data a.txt --eval-data b.txt
  python -m edge.training.train --output two-bit --model full --bits 2 --data a.txt --eval-data b.txt
  python -m edge.training.train --output two-bit --tokenizer tok --bits 2 --tokens 1e9 --qat-fraction 0.1 \\
    --data a.txt --eval-data b.txt        (both of the above in one: two-bit-full, then two-bit)"""

#: Flags of TrainingArguments that say what one of ours says, and what to use in their place.
REPLACED_FLAGS = {
    "output_dir": "use --output",
    "max_steps": "use --steps",
    "num_train_epochs": "use --steps",
    "per_device_train_batch_size": "use --batch-size",
    "per_device_eval_batch_size": "use --batch-size",
    "resume_from_checkpoint": "the same command given again resumes by itself",
    "overwrite_output_dir": "remove the old directory or choose another --output",
}


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
            "(OWNER/NAME[/CONFIG][@COMMIT], streamed); NAME:TOKENS takes that many tokens of it, reading it "
            "again from the start where it is shorter"
        }
    )
    eval_data: list[str] = field(metadata={"help": "held-out files; their perplexity is reported"})
    model: str | None = _flag(
        None,
        "checkpoint directory to start from; quantisation-aware training starts from a full-precision one",
    )
    shape: str | None = _flag(None, f"shape when there is no --model: {', '.join(NAMED_MODELS)} (the first)")
    tokenizer: str | None = _flag(None, "tokenizer file or directory; the checkpoint's own where not given")
    bits: float = _flag(16.0, f"one of {', '.join(f'{b:g}' for b in BITS_CHOICES)}; 16 is full precision")
    data_cache: str | None = _flag(
        None, "directory that keeps tokenised data (edge-lowbit/tokens in the user's cache where not given)"
    )
    preset: str = _flag(
        next(iter(PRESETS)),
        f"where flags come from that are not given, by --bits: one of {', '.join(PRESETS)}; small is for "
        "models of a few million parameters, paretoq the published schedule for published models",
    )
    context: int = _flag(_DEFAULT.context, "tokens per training example")
    batch_size: int = _flag(_DEFAULT.batch_size, "examples per device and step")
    steps: int = _flag(_DEFAULT.steps, "optimiser steps")
    tokens: float | None = _flag(None, "tokens to train on, in place of --steps (1e9 is understood)")
    qat_fraction: float | None = _flag(
        None,
        "share of the steps or tokens that is quantisation-aware (ParetoQ: 0.1); the rest comes first, in "
        "full precision at the preset's rate, and becomes OUTPUT-full",
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

    def __post_init__(self) -> None:
        for name in ("context", "batch_size", "steps", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{spelled(name)} must be at least 1, not {getattr(self, name)}")
        if self.monitor_steps is not None and self.monitor_steps < 1:
            raise ValueError(f"--monitor-steps must be at least 1, not {self.monitor_steps}")
        if self.warmup_steps < 0:
            raise ValueError(f"--warmup-steps must not be negative, but is {self.warmup_steps}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must lie in 0..2^32 - 1, not {self.seed}")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"--learning-rate must be positive, not {self.learning_rate}")
        format_for_bits(self.bits, BITS_CHOICES)
        if self.preset not in PRESETS:
            raise ValueError(f"unknown --preset {self.preset}; known are {', '.join(PRESETS)}")
        if self.tokens is not None and not 1 <= self.tokens < float("inf"):
            raise ValueError(f"--tokens must be at least 1, not {self.tokens:g}")
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


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _Parser(HfArgumentParser):
    """Says what is wrong in a sentence of its own instead of printing the usage of a hundred flags."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see --help)")


def parse(argv: list[str]) -> tuple[TrainConfig, list[str]]:
    """Our flags, and what is left for TrainingArguments.

    Raises:
        ValueError: a flag is missing, malformed, or contradicts another.
    """
    parser = _Parser(
        cast(Any, TrainConfig),
        prog="python -m edge.training.train",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    config, rest = parser.parse_args_into_dataclasses(args=argv, return_remaining_strings=True)
    given = flags_given(argv).keys()
    if {"steps", "tokens"} <= given:
        raise ValueError("--steps and --tokens say the same; give one")
    if config.qat_fraction is not None and not {"steps", "tokens"} & given:
        raise ValueError("--qat-fraction divides a budget: give --tokens or --steps")
    return from_preset(config, given), rest


def from_preset(config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
    """The config with its preset's values in every field that has one, but for those given."""
    preset = dataclasses.asdict(config.schedule)
    ours = {field.name for field in dataclasses.fields(config)}
    return replace(config, **{n: value for n, value in preset.items() if n in ours and n not in given})


def stages(config: TrainConfig, rest: list[str], processes: int = 1) -> list[TrainConfig]:
    """The runs that a command means, in order: with --qat-fraction full precision first, then low bits.

    Batch and context are the same in both; rate and warm-up of the first are its preset's.

    Args:
        processes: that each take a batch of their own in a step.

    Raises:
        ValueError: the budget is too small to be divided so.
    """
    accumulated = int(flags_given(rest).get("gradient_accumulation_steps", 1))
    per_step = config.context * config.batch_size * accumulated * processes
    steps = config.steps if config.tokens is None else math.ceil(config.tokens / per_step)
    whole = replace(config, steps=steps, tokens=None, qat_fraction=None)
    if config.qat_fraction is None:
        return [whole]
    qat_steps = round(steps * config.qat_fraction)
    if not 0 < qat_steps < steps:
        raise ValueError(f"--qat-fraction {config.qat_fraction:g} of {steps} steps is none of them or all")
    schedule = PRESETS[config.preset].full
    full = replace(
        whole,
        output=f"{Path(config.output)}-full",
        bits=FULL_PRECISION.bits,
        steps=steps - qat_steps,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup_steps,
        distill=0.0,
        teacher=None,
    )
    return [full, replace(whole, steps=qat_steps, model=full.output, shape=None)]


def training_arguments(config: TrainConfig, rest: list[str], output_dir: str) -> TrainingArguments:
    """Ours as defaults, and any flag of TrainingArguments from the command line on top."""
    for name in flags_given(rest):
        if name in REPLACED_FLAGS:
            raise ValueError(f"{spelled(name)} is not for this command: {REPLACED_FLAGS[name]}")
    ours = {
        "output_dir": output_dir,
        "max_steps": config.steps,
        "per_device_train_batch_size": config.batch_size,
        "per_device_eval_batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_steps,
        "save_steps": config.save_steps,
        "eval_steps": config.save_steps,
        "seed": config.seed,
        "lr_scheduler_type": "cosine",
        "eval_strategy": "steps",
        "save_total_limit": 2,
        "logging_steps": 20,
        "adam_beta2": 0.95,
        "weight_decay": config.schedule.weight_decay,
        "bf16": config.schedule.bf16,
        "logging_nan_inf_filter": False,  # it would hide a loss that is not finite
        "report_to": "none",
        "ddp_find_unused_parameters": False,  # every parameter is used in every step
        "disable_tqdm": True,  # progress.py draws the bar
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "label_names": "tokens",  # tells Trainer that evaluation batches carry their targets
        "prediction_loss_only": True,
    }
    given = flags_given(rest)
    defaults = [f"--{name}={value}" for name, value in ours.items() if name not in given]
    parser = _Parser(cast(Any, TrainingArguments), allow_abbrev=False)
    arguments, unknown = parser.parse_args_into_dataclasses(defaults + rest, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"neither this command nor TrainingArguments knows {' '.join(unknown)} (see --help)")
    _refuse_missing_reporters(arguments)
    return arguments


def _refuse_missing_reporters(arguments: TrainingArguments) -> None:
    for name in set(cast(list[str], arguments.report_to)) - set(get_available_reporting_integrations()):
        cure = "pip install '.[monitor]'" if name == "tensorboard" else f"install {name}, or leave it out"
        raise ValueError(f"--report_to {name} is not available here: {cure}")


def flags_given(rest: list[str]) -> dict[str, str]:
    """Flags by name with their values as typed: ``["--bf16", "True"]`` is ``{"bf16": "True"}``."""
    flags: dict[str, str] = {}
    name = ""
    for word in rest:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            name = flag.removeprefix("--").replace("-", "_")
            flags[name] = value
        else:
            flags[name] = f"{flags.get(name, '')} {word}".strip()
    return flags


def spelled(name: str) -> str:
    """A field's name as a flag; ``batch_size`` and ``batch-size`` are both understood."""
    return "--" + name.replace("_", "-")


def as_flags(config: TrainConfig, rest: list[str]) -> dict[str, Any]:
    """Everything the command line said, by flag name, for the record of a run."""
    return {**dataclasses.asdict(config), **flags_given(rest)}
