"""What a run shows while it trains, and how it stops when it is asked to."""

from __future__ import annotations

import math
import signal
import sys
import time
from types import FrameType
from typing import Any, cast

from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from edge.data import EpochAfterEpoch, PackedBlocks
from edge.training.held_out import held_out_loss
from edge.training.processes import Agreement, several

#: Parameters that are scales of learned grids: of linears and of tables.
SCALES = ("weight_clip_val", "grid_end")


def perplexity_of(loss: float) -> float:
    """exp of a loss in nats; infinite where a float cannot hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


class Speed(TrainerCallback):
    """Tokens per second since the last log; evaluation and checkpoints are not training time."""

    def __init__(self, tokens_per_example: int) -> None:
        self.tokens_per_example = tokens_per_example
        self.step, self.seconds = 0, 0.0

    def read(self, args: TrainingArguments, step: int) -> float:
        """Tokens per second of all processes up to ``step``; the next reading counts from here."""
        tokens = (step - self.step) * examples_per_step(args) * self.tokens_per_example
        passed = time.monotonic() - self.seconds
        self._restart(step)
        return tokens / max(passed, 1e-9)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restart(state.global_step)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restart(state.global_step)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restart(state.global_step)

    def _restart(self, step: int) -> None:
        self.step, self.seconds = step, time.monotonic()


def examples_per_step(args: TrainingArguments) -> int:
    """The global batch: what all processes and accumulated batches take together."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


class ReportingTrainer(Trainer):
    """Trainer whose logs also hold perplexity and tokens per second, for whatever --report_to names.

    What it trains on and what it measures does not depend on the number of processes.

    Attributes:
        is_distilled: the training loss is no cross entropy, so it has no perplexity; the held-out one is.
        skipped: examples of the order that come before the first one of this run.
    """

    speed: Speed
    is_distilled = False
    skipped = 0

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochAfterEpoch:
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        length = self.args.max_steps * examples_per_step(self.args)
        return EpochAfterEpoch(len(cast(PackedBlocks, self.train_dataset)), length, seed, self.skipped)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weights alone: decay towards 0 is no prior for a scale, which starts at the size of its weights."""
        return [name for name in super().get_decay_parameter_names(model) if not name.endswith(SCALES)]

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # the next file says that the checkpoint is whole

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        blocks = cast(PackedBlocks, self.eval_dataset)
        loss = held_out_loss(self, blocks)
        return EvalLoopOutput(cast(Any, None), None, {"eval_loss": loss}, len(blocks))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            if not self.is_distilled:
                logs["perplexity"] = perplexity_of(logs["loss"])
            logs["tokens_per_second"] = self.speed.read(self.args, self.state.global_step)
        if "eval_loss" in logs:
            logs["eval_perplexity"] = perplexity_of(logs["eval_loss"])
        super().log(logs, start_time)


class Progress(TrainerCallback):
    """A bar on a terminal, and one line per ``logging_steps`` and per evaluation anywhere."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            hidden = not sys.stderr.isatty()
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, unit="step", disable=hidden)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        say(
            f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
            f"rate {logs['learning_rate']:.2e}  {logs['tokens_per_second']:,.0f} tokens/s"
        )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (metrics or {}).get("eval_loss")
        if loss is not None and state.is_world_process_zero:
            step = state.global_step
            say(f"step {step}: held-out loss {loss:.4f}, perplexity {perplexity_of(loss):.3f}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()


def say(text: str) -> None:
    """A line on stdout, above the bar where there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


class StopOnSignal(TrainerCallback):
    """SIGTERM and Ctrl-C end a run, with a checkpoint, after the step under way; a second one at once.

    Of several processes all stop after the same step, whichever was asked. They take no second signal: the
    launcher passes on those that the terminal has sent already, and ends what lives on after 30 seconds.
    """

    def __init__(self) -> None:
        self.asked = False
        self.processes = Agreement()
        self.before: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._ask)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.asked = self.processes.any(self.asked)
        if self.asked:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not several():
            self._restore()

    def _restore(self) -> None:
        while self.before:
            signal.signal(*self.before.popitem())
