"""Expand a config into one or two training stages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from edge.formats import FULL_PRECISION
from edge.training.presets import PRESETS
from edge.training.train_config import TrainConfig


def from_preset(config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
    """Fill in the preset's values, except for the fields in ``given``."""
    preset = dataclasses.asdict(config.schedule)
    ours = {field.name for field in dataclasses.fields(config)}
    return replace(config, **{n: value for n, value in preset.items() if n in ours and n not in given})


def stages(config: TrainConfig, batches_per_step: int = 1) -> list[TrainConfig]:
    """Return the stages in order: with --qat-fraction full precision first, then low bits; else just one.

    Both have the same batch and context. The first has the rate of --full-learning-rate and the warm-up of
    its preset. The second goes on in the text where the first ended.

    Args:
        batches_per_step: ranks times gradient accumulation; each takes ``batch_size`` examples.

    Raises:
        ValueError: the budget is too small to be divided.
    """
    per_step = config.context * config.batch_size * batches_per_step
    steps = config.steps if config.tokens is None else math.ceil(config.tokens / per_step)
    if config.qat_fraction is None:
        return [replace(config, steps=steps, tokens=None)]
    qat_steps = round(steps * config.qat_fraction)
    if not 0 < qat_steps < steps:
        raise ValueError(
            f"--qat-fraction {config.qat_fraction:g} of {steps} steps leaves a stage without steps"
        )
    schedule = PRESETS[config.preset].full
    rate = schedule.learning_rate if config.full_learning_rate is None else config.full_learning_rate
    full = replace(
        config,
        tokens=None,
        qat_fraction=None,
        output=f"{Path(config.output)}-full",
        bits=FULL_PRECISION.bits,
        mixed=None,
        embedding_bits=16,
        activation_bits=16,
        kv_bits=16,
        widths=None,
        loss_weights=None,
        single_precision=False,
        extra_precision=False,
        co_distill=None,
        co_distill_share=None,
        steps=steps - qat_steps,
        learning_rate=rate,
        full_learning_rate=rate,
        warmup_steps=schedule.warmup_steps,
        distill=0.0,
        teacher=None,
    )
    low = replace(
        config,
        tokens=None,
        qat_fraction=None,
        steps=qat_steps,
        full_learning_rate=None,
        model=full.output,
        shape=None,
        tokenizer=None,
        skip_examples=config.skip_examples + full.steps * config.batch_size * batches_per_step,
    )
    return [full, low]
