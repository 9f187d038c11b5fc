"""Stop a run on SIGTERM or Ctrl-C, with a checkpoint."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl

from edge.training.ranks import SharedFlag, has_several_ranks


class StopOnSignal(TrainerCallback):
    """Save a checkpoint and stop after the current step; a second signal stops at once.

    With several ranks, all stop after the same step, whichever rank was signalled. They ignore a second
    signal: torchrun forwards the terminal's Ctrl-C to ranks that already got it, and kills after 30 seconds.
    """

    def __init__(self) -> None:
        self.asked = False
        self.flag = SharedFlag()
        self.previous: dict[int, Any] = {}

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.previous[number] = signal.signal(number, self._ask)

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        self.asked = self.flag.any(self.asked)
        if self.asked:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not has_several_ranks():
            self._restore()

    def _restore(self) -> None:
        while self.previous:
            signal.signal(*self.previous.popitem())
