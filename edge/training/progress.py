"""Print a run's progress, and measure its speed."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerCallback, TrainerState, TrainingArguments


def perplexity_of(loss: float) -> float:
    """Return exp of a loss in nats; infinity where a float cannot hold it."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def held_out_words(metrics: Mapping[str, float]) -> str:
    """Spell a held-out perplexity, or those of all widths that were measured."""
    by_width = {name.split("_")[2]: loss for name, loss in metrics.items() if name.endswith("_bits")}
    if not by_width:
        return f"{perplexity_of(metrics['eval_loss']):.3f}"
    return ", ".join(f"{perplexity_of(loss):.3f} at {bits} bits" for bits, loss in by_width.items())


def examples_per_step(args: TrainingArguments) -> int:
    """Return the global batch: examples of all ranks and accumulated batches together."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def say(text: str) -> None:
    """Print a line on stdout, above the progress bar if there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


class Speed(TrainerCallback):
    """Tokens per second since the last log; time spent in evaluation and checkpoints does not count."""

    def __init__(self, tokens_per_example: int) -> None:
        self.tokens_per_example = tokens_per_example
        self.step, self.started = 0, 0.0

    def read(self, args: TrainingArguments, state: TrainerState) -> float:
        """Return tokens per second of all ranks, and start counting anew."""
        tokens = (state.global_step - self.step) * examples_per_step(args) * self.tokens_per_example
        seconds = time.monotonic() - self.started
        self._restart(args, state)
        return tokens / max(seconds, 1e-9)

    def _restart(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        self.step, self.started = state.global_step, time.monotonic()

    on_train_begin = on_evaluate = on_save = _restart


class Bar(ProgressCallback):
    """A progress bar alone; ``Progress`` prints the logs."""

    def on_log(self, *_: Any, **__: Any) -> None:
        pass


class Progress(TrainerCallback):
    """Print one line per log and per evaluation."""

    def on_log(self, args: Any, state: TrainerState, *_: Any, logs: Any = None, **__: Any) -> None:
        if state.is_world_process_zero and logs and "loss" in logs:
            say(
                f"step {state.global_step}/{state.max_steps}  loss {logs['loss']:.4f}  "
                f"rate {logs['learning_rate']:.2e}  {logs['tokens_per_second']:,.0f} tokens/s"
            )

    def on_evaluate(self, args: Any, state: TrainerState, *_: Any, metrics: Any = None, **__: Any) -> None:
        loss = (metrics or {}).get("eval_loss")
        if loss is not None and state.is_world_process_zero:
            say(f"step {state.global_step}: held-out loss {loss:.4f}, perplexity {held_out_words(metrics)}")
