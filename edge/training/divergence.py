"""Stop a run that diverges, and keep its last good checkpoint.

A run diverges when its loss or a weight about to be saved is not finite, or when each of the last
``DIVERGED_LOGS`` logged losses is more than ``DIVERGED_NATS`` above the best one (2 nats are a perplexity 7.4
times as high). Checkpoints are withheld from the first such log on, so the last one is good by the same rule.
The run can then be resumed with a lower ``--learning-rate``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState

from edge.training.checkpoints import last_checkpoint
from edge.training.progress import say

DIVERGED_NATS = 2.0
DIVERGED_LOGS = 5


class Diverged(ValueError):
    """The run's loss or weights diverged; the message names the checkpoint that is kept."""


def divergence(losses: list[float]) -> str | None:
    """Say why a run with these logged losses (oldest first, in nats) has diverged; None while it has not."""
    if losses and not math.isfinite(losses[-1]):
        return f"the loss is not finite ({losses[-1]})"
    recent = losses[-DIVERGED_LOGS:]
    if len(recent) == DIVERGED_LOGS and min(recent) > min(losses) + DIVERGED_NATS:
        return (
            f"the loss diverges: each of the last {DIVERGED_LOGS} logs, {losses[-1]:.2f} the latest, is more "
            f"than {DIVERGED_NATS:g} above the best, {min(losses):.2f}"
        )
    return None


class StopWhenDiverged(TrainerCallback):
    """Stop a diverging run and let no bad checkpoint be written; ``reason`` says why it stopped.

    Add it after every callback that asks for checkpoints.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **objects: Any) -> None:
        if state.global_step:
            override_learning_rate(args.learning_rate, objects["optimizer"], objects["lr_scheduler"])

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **objects: Any) -> None:
        if control.should_save:
            control.should_log = True  # Trainer logs before it saves, so on_log sees the loss first
            if not all_finite(objects["model"], objects["optimizer"]):
                self._stop(control, "the weights or the optimiser's state are no longer finite")

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        if "loss" not in (logs or {}):
            return
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        # The last step's weights become the output whatever their loss, so their checkpoint is written too.
        is_last = state.global_step >= state.max_steps
        if reason := divergence(losses):
            self._stop(control, reason)
        elif control.should_save and losses[-1] > min(losses) + DIVERGED_NATS and not is_last:
            control.should_save = False
            if state.is_world_process_zero:
                say(f"step {state.global_step}: no checkpoint, the loss is {DIVERGED_NATS:g} above its best")

    def on_evaluate(
        self, args: Any, state: Any, control: TrainerControl, metrics: Any = None, **_: Any
    ) -> None:
        loss = (metrics or {}).get("eval_loss", 0.0)
        if not math.isfinite(loss):
            self._stop(control, f"the held-out loss is not finite ({loss})")

    def _stop(self, control: TrainerControl, reason: str) -> None:
        self.reason = self.reason or reason
        control.should_training_stop = True
        control.should_save = control.should_evaluate = False


def override_learning_rate(rate: float, optimizer: Any, scheduler: Any) -> None:
    """Scale a resumed schedule to this peak rate; a checkpoint restores the rate that it was saved with."""
    if not isinstance(scheduler, LambdaLR):
        return
    for group in optimizer.param_groups:
        if group["initial_lr"] != rate:
            group["lr"] *= rate / group["initial_lr"]
            group["initial_lr"] = rate
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what Trainer logs


def all_finite(model: nn.Module, optimizer: Any) -> bool:
    """Tell whether every parameter and every optimiser moment is finite, on all ranks."""
    moments = (value for state in optimizer.state.values() for value in state.values())
    tensors = [*model.parameters(), *(m for m in moments if isinstance(m, Tensor) and m.ndim)]
    shards = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
    finite = torch.stack([shard.detach().isfinite().all() for shard in shards]).all().int()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
    return bool(finite)


def how_to_go_on(directory: Path, rate: str) -> str:
    """Return the end of the error message: the checkpoint that is kept, and the flag to lower."""
    again = f"give the same command with a lower {rate}"
    if (last := last_checkpoint(directory)) is None:
        return f"no checkpoint had been written; {again} to start again"
    return f"{last} is kept as the last good checkpoint; {again} to go on from it"
