"""What a run shows while it trains, and how it stops when it is asked to."""

from __future__ import annotations

import math
import signal
import sys
import time
from types import FrameType
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Progress(TrainerCallback):
    """A bar on a terminal, and one line per ``logging_steps`` and per evaluation anywhere."""

    def __init__(self, tokens_per_example: int) -> None:
        self.tokens_per_example = tokens_per_example
        self.bar: tqdm | None = None
        self.last = (0, 0.0)  # step and time of the line before

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.last = (state.global_step, time.monotonic())
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
        step, now = state.global_step, time.monotonic()
        examples = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        tokens = (step - self.last[0]) * examples * self.tokens_per_example
        speed = tokens / max(now - self.last[1], 1e-9)
        self.last = (step, now)
        self._line(
            f"step {step}/{state.max_steps}  loss {float(logs['loss']):.4f}  "
            f"rate {float(logs['learning_rate']):.2e}  {speed:,.0f} tokens/s"
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
            self._line(f"step {step}: held-out loss {loss:.4f}, perplexity {math.exp(loss):.3f}")
        self.last = (state.global_step, time.monotonic())  # evaluation is not training time

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def _line(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


class StopOnSignal(TrainerCallback):
    """SIGTERM and Ctrl-C end a run, with a checkpoint, after the step under way; a second one at once."""

    def __init__(self) -> None:
        self.asked = False
        self.before: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.before[number] = signal.signal(number, self._ask)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.asked:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        while self.before:
            signal.signal(*self.before.popitem())
