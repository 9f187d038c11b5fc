"""``python -m edge.training.train``: full-precision training, then quantisation-aware training from it.

The loop is transformers' ``Trainer``: every flag of its TrainingArguments (gradient accumulation,
bf16, torch_compile, fsdp, ...) is accepted after the flags below, and torchrun works as usual. A run
that was interrupted continues from its last checkpoint when the same command is given again.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import HfArgumentParser, Trainer, TrainerCallback, TrainingArguments

from edge.cli import main_guard
from edge.config import NAMED_MODELS
from edge.formats import FULL_PRECISION, format_for_bits
from edge.model.checkpoint import load_checkpoint, save_checkpoint
from edge.model.mobilellm import MobileLLM
from edge.model.tokenizer import Tokenizer
from edge.quantizers.convert import build_model, prepare_qat, to_checkpoint
from edge.training.data import PackedBlocks, Source, load_blocks


def _flag(default, help_text: str):
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class TrainConfig:
    """What a run trains, on what, for how long."""

    output: str = field(metadata={"help": "directory for the trained checkpoint (Hugging Face form)"})
    data: list[str] = field(
        metadata={"help": "text, JSONL or Parquet files or hub ids; FILE:TOKENS takes that many tokens, repeating it"}
    )
    eval_data: list[str] = field(metadata={"help": "held-out files; their perplexity is reported"})
    model: str | None = _flag(None, "checkpoint directory to start from; QAT starts from a full-precision one")
    shape: str = _flag("default", f"shape when starting from nothing: {', '.join(NAMED_MODELS)}")
    tokenizer: str | None = _flag(None, "tokenizer file or directory; default: the checkpoint's own")
    bits: float = _flag(16.0, "16 trains in full precision; 1, 1.58, 2, 3 or 4 trains quantisation-aware")
    context: int = _flag(512, "tokens per training example")
    batch_size: int = _flag(8, "examples per device and step")
    steps: int = _flag(1000, "optimiser steps")
    learning_rate: float = _flag(2e-3, "peak rate; cosine to 0")
    warmup_steps: int = _flag(0, "steps of linear warm-up (ParetoQ uses none for QAT)")
    save_steps: int = _flag(200, "steps between checkpoints to resume from")
    seed: int = _flag(0, "seed of initial weights and data order")

    def __post_init__(self) -> None:
        for name in ("context", "batch_size", "steps", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"--learning_rate must be positive, not {self.learning_rate}")
        format_for_bits(self.bits)


class NextTokenLoss(nn.Module):
    """What Trainer calls: mean cross entropy of each token given those before it."""

    def __init__(self, model: MobileLLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        logits = self.model(tokens[:, :-1])  # [B, context, V]
        return {"loss": F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())}


class PerplexityLog(TrainerCallback):
    """Prints held-out perplexity whenever Trainer evaluates."""

    def on_evaluate(self, args, state, control, metrics=None, **kwargs) -> None:
        loss = (metrics or {}).get("eval_loss")
        if loss is not None and state.is_world_process_zero:
            print(f"step {state.global_step}: held-out loss {loss:.4f}, perplexity {math.exp(loss):.3f}", flush=True)


def starting_model(config: TrainConfig) -> tuple[MobileLLM, Tokenizer]:
    """The model at step 0 and its tokenizer, from a checkpoint or from nothing, prepared for its bit width."""
    fmt = format_for_bits(config.bits)
    if config.model is None:
        if config.tokenizer is None:
            raise ValueError("--tokenizer is needed when training starts from nothing")
        if config.shape not in NAMED_MODELS:
            raise ValueError(f"unknown shape {config.shape!r}; known are {', '.join(NAMED_MODELS)}")
        model = MobileLLM(NAMED_MODELS[config.shape]).reset_parameters(config.seed)
        tokenizer = Tokenizer(config.tokenizer)
    else:
        checkpoint = load_checkpoint(config.model)
        if checkpoint.fmt is not FULL_PRECISION and checkpoint.fmt is not fmt:
            raise ValueError(f"{config.model} was trained at {checkpoint.fmt.bits:g} bits, not {config.bits:g}")
        model = build_model(checkpoint)
        tokenizer = Tokenizer(config.tokenizer or checkpoint.tokenizer)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} entries, the model only {model.config.vocab_size}"
        )
    if config.context > model.config.max_seq_len:
        raise ValueError(f"--context {config.context} is beyond the model's {model.config.max_seq_len} positions")
    if fmt.is_quantized and not any(name.endswith("weight_clip_val") for name, _ in model.named_parameters()):
        prepare_qat(model, fmt)
    return model.train(), tokenizer


def training_arguments(config: TrainConfig, rest: list[str]) -> TrainingArguments:
    """Ours as defaults, and any flag of TrainingArguments from the command line on top."""
    ours = {
        "output_dir": str(_checkpoints(config)),
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
        "weight_decay": 0.0,
        "report_to": "none",
        "dataloader_pin_memory": "False",
        "remove_unused_columns": "False",
        "label_names": "tokens",  # tells Trainer that evaluation batches carry their targets
        "prediction_loss_only": "True",
    }
    given = {flag.split("=")[0].removeprefix("--").replace("-", "_") for flag in rest if flag.startswith("--")}
    defaults = [f"--{name}={value}" for name, value in ours.items() if name not in given]
    (arguments,) = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(defaults + rest)
    return arguments


def train(config: TrainConfig, rest: list[str]) -> float:
    """Trains, writes the checkpoint to ``config.output``, and returns held-out perplexity."""
    arguments = training_arguments(config, rest)
    model, tokenizer = starting_model(config)
    trainer = Trainer(
        model=NextTokenLoss(model),
        args=arguments,
        train_dataset=_blocks(config.data, tokenizer, model, config),
        eval_dataset=_blocks(config.eval_data, tokenizer, model, config),
        callbacks=[PerplexityLog()],
    )
    last = last_checkpoint(_checkpoints(config))
    if last is not None:
        print(f"resuming from {last}", flush=True)
    trainer.train(resume_from_checkpoint=str(last) if last else None)
    loss = trainer.evaluate()["eval_loss"]
    if trainer.is_world_process_zero():
        save_checkpoint(to_checkpoint(model, tokenizer.path), config.output)
        print(f"wrote {config.output}", flush=True)
    return math.exp(loss)


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end (Trainer writes trainer_state.json last)."""
    whole = [path.parent for path in directory.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _checkpoints(config: TrainConfig) -> Path:
    output = Path(config.output)
    return output.with_name(output.name + "-checkpoints")


def _blocks(names: list[str], tokenizer: Tokenizer, model: MobileLLM, config: TrainConfig) -> PackedBlocks:
    return load_blocks([Source.parse(n) for n in names], tokenizer, model.config, config.context)


def main() -> int:
    parser = HfArgumentParser(TrainConfig, prog="python -m edge.training.train", description=__doc__)
    config, rest = parser.parse_args_into_dataclasses(args=sys.argv[1:], return_remaining_strings=True)
    torch.manual_seed(config.seed)
    perplexity = train(config, rest)
    print(f"held-out perplexity {perplexity:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    main_guard(main)
