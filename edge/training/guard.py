"""What ends a run that cannot go on: one sentence, and the last good checkpoint is kept.

A run has diverged when a loss, or a weight about to be saved, is not finite, or when each of the last
``DIVERGED_LOGS`` logs lies more than ``DIVERGED_NATS`` above the best log of the run (in nats; 2 nats are a
perplexity 7.4 times the best). The next checkpoint is withheld from the first such log on, so that the one
that is kept is good by the same rule. The run can then be resumed with a lower ``--learning-rate``.
"""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge.training.progress import say
from edge.training.resume import last_checkpoint, remove_unfinished, step_of

DIVERGED_NATS = 2.0
DIVERGED_LOGS = 5

#: How torch and safetensors, which pass no OSError on, say that a file took no more bytes.
WRITE_FAILURES = ("inline_container.cc", "iostream error", "I/O error")
#: How torch says that a checkpoint is damaged or another model's; 22 is what a truncated file gives.
UNREADABLE = ("PytorchStreamReader", "size mismatch", "[Errno 22]", "Ran out of input")
#: How gloo and NCCL, through torch, say that another process does not answer any more.
LOST = ("gloo/transport", "ncclRemoteError")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Diverged(ValueError):
    """A run ended because its loss or its weights did; says which checkpoint is kept."""


def divergence(losses: list[float]) -> str | None:
    """Why a run with these logged losses (oldest first, in nats) has diverged; None while it has not."""
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
    """Ends a run that diverges, and lets no bad checkpoint be written; ``reason`` says why it ended.

    It must come after every callback that asks for checkpoints.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        if state.global_step:
            take_rate(args.learning_rate, optimizer, lr_scheduler)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        if control.should_save and model is not None:
            control.should_log = True  # Trainer logs before it saves, so on_log sees the loss first
            if not all_finite(model, optimizer):
                self._stop(control, "the weights or the optimiser's state are no longer finite")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if "loss" not in (logs or {}):
            return
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if reason := divergence(losses):
            self._stop(control, reason)
        elif control.should_save and losses[-1] > min(losses) + DIVERGED_NATS and not _is_last(state):
            control.should_save = False
            if state.is_world_process_zero:
                say(f"step {state.global_step}: no checkpoint, the loss is {DIVERGED_NATS:g} above its best")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (metrics or {}).get("eval_loss", 0.0)
        if not math.isfinite(loss):
            self._stop(control, f"the held-out loss is not finite ({loss})")

    def _stop(self, control: TrainerControl, reason: str) -> None:
        self.reason = self.reason or reason
        control.should_training_stop = True
        control.should_save = control.should_evaluate = False


def _is_last(state: TrainerState) -> bool:
    """The last step's weights become the output whatever their loss, so they have their checkpoint too."""
    return state.global_step >= state.max_steps


def take_rate(rate: float, optimizer: Any, scheduler: Any) -> None:
    """Scales a resumed schedule to this peak rate; a checkpoint brings back the rate it was written with."""
    if not isinstance(scheduler, LambdaLR):
        return
    for group in optimizer.param_groups:
        if group["initial_lr"] != rate:
            group["lr"] *= rate / group["initial_lr"]
            group["initial_lr"] = rate
    scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]  # what Trainer logs


def all_finite(model: nn.Module, optimizer: Any) -> bool:
    """Whether every parameter and every moment is finite, on all processes."""
    moments = (value for state in optimizer.state.values() for value in state.values())
    tensors = [*model.parameters(), *(m for m in moments if isinstance(m, Tensor) and m.ndim)]
    shards = (t.to_local() if isinstance(t, DTensor) else t for t in tensors)
    finite = torch.stack([shard.detach().isfinite().all() for shard in shards]).all().int()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
    return bool(finite)


def what_is_kept(directory: Path, rate: str) -> str:
    """How to go on after a divergence at this peak rate (its flag and value), as the end of a sentence."""
    again = f"give the same command with a lower {rate}"
    if (last := last_checkpoint(directory)) is None:
        return f"no checkpoint had been written; {again} to start again"
    return f"{last} is kept as the last good checkpoint; {again} to go on from it"


@contextmanager
def failures_explained(directory: Path, batch_size: int, accumulation: int, context: int) -> Iterator[None]:
    """Turns a batch that does not fit, a checkpoint that cannot be written and a lost process into sentences.

    Raises:
        ValueError: one of these happened; an unfinished checkpoint is removed, finished ones stay.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, EOFError, SafetensorError) as error:
        if isinstance(error, MemoryError) or should_reduce_batch_size(error):
            raise ValueError(_does_not_fit(batch_size, accumulation, context)) from error
        if _is_write_failure(error):
            remove_unfinished(directory)
            raise ValueError(_not_written(directory, error)) from error
        if any(words in str(error) for words in UNREADABLE) or isinstance(error, SafetensorError):
            raise ValueError(
                f"{last_checkpoint(directory)} cannot be read ({str(error).splitlines()[0]}): remove it, and "
                "the same command goes on from the one before, if there is one"
            ) from error
        if any(words in str(error) for words in LOST):
            raise ValueError(
                f"another process of this run is gone; {_kept(directory)}: see what that process said last, "
                "and give the same command again"
            ) from error
        raise


def _does_not_fit(batch_size: int, accumulation: int, context: int) -> str:
    sentence = f"a batch of {batch_size} x {context} tokens does not fit into memory; "
    if batch_size == 1:
        return f"{sentence}give a shorter --context or a smaller model"
    smaller = max(n for n in range(1, batch_size) if batch_size % n == 0)
    more = accumulation * batch_size // smaller
    return (
        f"{sentence}--batch-size {smaller} --gradient_accumulation_steps {more} trains the same in less, "
        "and goes on from the last checkpoint if there is one"
    )


def _is_write_failure(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(words in str(error) for words in WRITE_FAILURES)


def _not_written(directory: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    free = shutil.disk_usage(directory).free / 1e6
    return (
        f"{directory} could not be written ({reason}; {free:,.0f} MB are free there); {_kept(directory)}: "
        "make room and give the same command again"
    )


def _kept(directory: Path) -> str:
    last = last_checkpoint(directory)
    return f"the checkpoint of step {step_of(last)} is kept" if last else "no checkpoint had been written"
