"""Predict how long the tasks of a sweep take, from short measurements on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
import torch.nn.functional as F

from edge.model.decoder import Decoder
from edge.scaling.records import Shape
from edge.scaling.sweep.run import CALIBRATION_SAMPLES, model_config
from edge.scaling.sweep.tasks import Task, TrainTask

_STEPS = 3
#: Seconds that a task takes beside its tokens: opening files, and writing them.
_START_SECONDS = 1.0
#: Time of a token, as a share of one trained in full precision, roughly: rounding weights costs, and going
#: forward alone is a third of a step. The sweep corrects its predictions by what runs took.
_LOW_BITS, _FORWARD = 1.25, 0.35


class Costs:
    """Seconds of a task on one core.

    Args:
        shapes: of all tasks; a few training steps of each are timed.
        batch, context: examples of a step, and tokens of an example.
        loss_tokens: measured of each model.
    """

    def __init__(self, shapes: Iterable[Shape], batch: int, context: int, loss_tokens: int) -> None:
        self.loss_tokens, self.calibration = loss_tokens, CALIBRATION_SAMPLES * context
        self.token_seconds = {shape: _token_seconds(shape, batch, context) for shape in set(shapes)}

    def seconds(self, task: Task) -> float:
        per_token = self.token_seconds[task.shape]
        forward = _FORWARD * per_token
        if isinstance(task, TrainTask):
            low = _LOW_BITS if task.training.low_bit_tokens else 1.0
            evaluations = -(-task.steps // task.save_steps)
            return _START_SECONDS + task.tokens * low * per_token + evaluations * self.loss_tokens * forward
        return _START_SECONDS + (3 * self.calibration + self.loss_tokens) * forward


def _token_seconds(shape: Shape, batch: int, context: int) -> float:
    """Time a training step with random tokens; the fastest of a few, by the token."""
    torch.set_num_threads(1)
    model = Decoder(model_config(shape, context), context)
    model.reset_parameters(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(0, shape.vocab_size, (batch, context + 1))
    seconds = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / (batch * context)
