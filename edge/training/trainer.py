"""Build transformers' Trainer for next-token training on packed blocks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import EvalLoopOutput

from edge.data import EpochAfterEpoch, PackedBlocks
from edge.model.decoder import Decoder
from edge.quantizers.base import Method
from edge.quantizers.methods import PARETOQ
from edge.training.checkpoints import checkpoints_dir
from edge.training.held_out import held_out_loss
from edge.training.loss import NextTokenLoss
from edge.training.monitor import Monitor
from edge.training.progress import Bar, Progress, Speed, examples_per_step, perplexity_of
from edge.training.train_config import TrainConfig

#: Endings of the parameters that are scales of learned grids: of linears, and of embedding and head.
SCALES = ("weight_clip_val", "grid_end")


class BlockTrainer(Trainer):
    """Trainer that logs perplexity and tokens per second, and whose results do not depend on the ranks.

    Attributes:
        method: decides how many losses a batch has, and at which widths the model is measured.
        is_distilled: the training loss is no cross entropy, so it has no perplexity; the held-out loss has.
        skipped: examples at the start of the shuffled order that an earlier run took.
    """

    speed: Speed
    method: Method = PARETOQ
    is_distilled = False
    skipped = 0

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> Tensor:
        """Pass backwards once for each loss of the batch, so that memory holds the activations of one."""
        step, passes = super().training_step, self.method.passes
        if passes == 1:
            return step(model, inputs, *rest, **named)
        losses = [step(model, {**inputs, "index": index}, *rest, **named) for index in range(passes)]
        return torch.stack(losses).sum()

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochAfterEpoch:
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        length = self.args.max_steps * examples_per_step(self.args)
        return EpochAfterEpoch(len(cast(PackedBlocks, self.train_dataset)), length, seed, self.skipped)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Exclude scales from weight decay: 0 is no sensible prior for a scale."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(SCALES)]

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # the next file marks the checkpoint as complete

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        blocks, losses = cast(PackedBlocks, self.eval_dataset), {}
        for bits in self.method.widths:
            self.method.select(self.accelerator.unwrap_model(self.model).model, bits)
            losses[f"eval_loss_{bits}_bits"] = losses["eval_loss"] = held_out_loss(self, blocks)
        losses = losses or {"eval_loss": held_out_loss(self, blocks)}
        return EvalLoopOutput(cast(Any, None), None, losses, len(blocks))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            if not self.is_distilled and self.method.passes == 1:
                logs["perplexity"] = perplexity_of(logs["loss"])
            logs["tokens_per_second"] = self.speed.read(self.args, self.state)
        if "eval_loss" in logs:
            logs["eval_perplexity"] = perplexity_of(logs["eval_loss"])
        super().log(logs, start_time)


def build_trainer(
    config: TrainConfig,
    arguments: TrainingArguments,
    module: NextTokenLoss,
    blocks: PackedBlocks,
    held_out: PackedBlocks,
) -> BlockTrainer:
    """Assemble model, data and callbacks.

    Raises:
        ValueError: --fsdp without accelerators.
    """
    steps = config.monitor_steps or config.save_steps
    is_first = arguments.process_index == 0
    monitor = Monitor(module.model, checkpoints_dir(config.output), steps, is_first)
    speed, bar = Speed(config.context), [Bar()] if sys.stderr.isatty() else []
    trainer = BlockTrainer(
        module, arguments, train_dataset=blocks, eval_dataset=held_out,
        callbacks=[speed, *bar, Progress(), monitor],
    )  # fmt: skip
    if arguments.fsdp and not trainer.is_fsdp_enabled:
        raise ValueError(
            "--fsdp needs accelerators, one for each process of torchrun; on CPUs nothing would be sharded: "
            "leave it out"
        )
    trainer.speed, trainer.method, trainer.skipped = speed, module.method, config.skip_examples
    trainer.is_distilled = config.distill > 0
    trainer.remove_callback(PrinterCallback)  # Progress prints instead
    if trainer.is_fsdp_enabled:  # else --bf16 would cast weights and scales before they are rounded
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy()
    boards = (c for c in trainer.callback_handler.callbacks if isinstance(c, TensorBoardCallback))
    monitor.tensorboard = next(boards, None)
    return trainer


def final_losses(trainer: Trainer) -> dict[str, float]:
    """The held-out losses (nats) of the trained weights by name; the last evaluation mostly has them."""
    for entry in reversed(trainer.state.log_history):
        if "eval_loss" in entry and entry["step"] == trainer.state.global_step:
            return entry
    return trainer.evaluate()


def whole_model(trainer: Trainer, module: NextTokenLoss, build: Callable[[], Decoder]) -> Decoder:
    """Return the trained model; every rank takes part in gathering FSDP's shards into a fresh one."""
    if not trainer.is_fsdp_enabled:
        return module.model
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    whole = NextTokenLoss(build())
    if trainer.is_world_process_zero():
        whole.load_state_dict(state)
    return whole.model
