"""Build transformers' TrainingArguments, and refuse those that this loop cannot keep."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, cast

import torch
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler
from transformers.integrations import get_available_reporting_integrations
from transformers.training_args import OptimizerNames

from edge.training.arguments import Parser, accumulation, flags_given
from edge.training.train_config import TrainConfig, spelled

#: Flags of TrainingArguments that this loop refuses, and why or what to use instead.
REPLACED_FLAGS = {
    "output_dir": "use --output",
    "max_steps": "use --steps",
    "num_train_epochs": "use --steps",
    "per_device_train_batch_size": "use --batch-size",
    "per_device_eval_batch_size": "use --batch-size",
    "resume_from_checkpoint": "the same command given again resumes by itself",
    "overwrite_output_dir": "remove the old directory or choose another --output",
    "load_best_model_at_end": "the output is the model of the last step",
    "save_only_model": "the run could not be resumed",
    "label_smoothing_factor": "the loss is the plain cross entropy; for soft targets use --distill",
    "neftune_noise_alpha": "the loss is the plain cross entropy",
    "use_liger_kernel": "the model is not one that it knows",
    "deepspeed": "use --fsdp",
    "push_to_hub": "push the output when it is there",
    "bf16_full_eval": "held-out losses are taken as the run trains",
    "fp16_full_eval": "held-out losses are taken as the run trains",
    "auto_find_batch_size": "it changes how many tokens a step takes; give a smaller --batch-size with more "
    "--gradient_accumulation_steps",
    "ignore_data_skip": "a resumed run would begin its text anew",
}


def training_arguments(config: TrainConfig, rest: list[str], output_dir: str) -> TrainingArguments:
    """Build TrainingArguments from our config, overridden by flags from the command line.

    Raises:
        ValueError: a flag is unknown, refused, malformed, or asks for something that is not installed.
    """
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
        "adam_beta2": config.schedule.adam_beta2,
        "weight_decay": config.schedule.weight_decay,
        "bf16": config.schedule.bf16,
        "logging_nan_inf_filter": False,  # it would hide a loss that is not finite
        "report_to": "none",
        "use_cpu": not torch.accelerator.is_available(),  # ranks on CPUs only find each other if told so
        "ddp_find_unused_parameters": False,  # every parameter is used in every step
        "disable_tqdm": True,  # progress.py has its own bar
        "dataloader_pin_memory": False,
        "remove_unused_columns": False,
        "label_names": "tokens",  # evaluation batches hold their own targets
        "prediction_loss_only": True,
    }
    accumulation(rest)
    given = flags_given(rest)
    defaults = [f"--{name}={value}" for name, value in ours.items() if name not in given]
    parser = Parser(cast(Any, TrainingArguments), allow_abbrev=False)
    arguments, unknown = parser.parse_args_into_dataclasses(defaults + rest, return_remaining_strings=True)
    if unknown:
        raise ValueError(f"neither this command nor TrainingArguments knows {' '.join(unknown)} (see --help)")
    _refuse_missing_reporters(arguments)
    _refuse_unusable(arguments)
    for name in ("weight_decay", "max_grad_norm"):
        if not 0 <= getattr(arguments, name) < math.inf:
            raise ValueError(f"--{name} must be at least 0, not {getattr(arguments, name)}")
    for name in ("save", "eval", "logging"):
        if getattr(arguments, f"{name}_strategy") == "epoch":
            raise ValueError(f"--{name}-strategy epoch is not for this command, which counts steps")
    return arguments


def _refuse_missing_reporters(arguments: TrainingArguments) -> None:
    for name in set(cast(list[str], arguments.report_to)) - set(get_available_reporting_integrations()):
        cure = "pip install '.[monitor]'" if name == "tensorboard" else f"install {name}, or leave it out"
        raise ValueError(f"--report_to {name} is not available here: {cure}")


def _refuse_unusable(arguments: TrainingArguments) -> None:
    """Raise a ValueError for an optimiser or schedule that does not fit this loop, or is not installed."""
    optimiser = OptimizerNames(arguments.optim).value
    if "schedule_free" in optimiser:
        raise ValueError(
            f"--optim {optimiser} is not for this command: its average of the weights would be neither "
            "measured nor saved"
        )
    if cast(Any, arguments.accelerator_config).split_batches:
        raise ValueError("split_batches is not for this command: --batch-size is what each process takes")
    try:
        with suppress(ValueError):  # some optimisers need the model, which is not there yet
            Trainer.get_optimizer_cls_and_kwargs(arguments)
    except ImportError as error:
        raise ValueError(f"--optim {optimiser} cannot be used here: {error}") from error
    schedule = SchedulerType(arguments.lr_scheduler_type)
    details = cast(dict[str, Any], arguments.lr_scheduler_kwargs or {})
    warmup = arguments.get_warmup_steps(arguments.max_steps)
    try:
        get_scheduler(schedule, torch.optim.SGD([torch.zeros(1)]), warmup, arguments.max_steps, details)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"--lr_scheduler_type {schedule.value} with --lr_scheduler_kwargs {details}: {error}"
        ) from error
