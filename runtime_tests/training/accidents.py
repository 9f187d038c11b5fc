"""Accidents that befall rank 1 of a run, in or after step 5."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from transformers import Trainer

from edge.quantizers.paretoq import _QuantizedLinear
from edge.training.loss import NextTokenLoss
from edge.training.progress import Progress

STEP = 5


def signalled(number: int) -> Callable[[], None]:
    def install() -> None:
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == STEP - 1:
                os.kill(os.getpid(), number)

        Progress.on_step_begin = on_step_begin

    return install


def loses_its_loss() -> None:
    calls, forward = [0], NextTokenLoss.forward

    def broken(self, tokens):
        calls[0] += self.training
        return {"loss": forward(self, tokens)["loss"] * (math.nan if calls[0] >= STEP else 1)}

    NextTokenLoss.forward = broken


def dies_in_its_part_of_a_checkpoint() -> None:
    """Rank 0 has all the time to finish its own part, which must not make the checkpoint count."""
    save = Trainer._save_rng_state

    def half(self, output_dir: str) -> None:
        if output_dir.endswith("checkpoint-3"):
            save(self, output_dir)
            return
        time.sleep(1)
        (Path(output_dir) / "rng_state_1.pth").write_bytes(b"PK\x03\x04")
        os.kill(os.getpid(), signal.SIGKILL)

    Trainer._save_rng_state = half


def has_a_disk_of_its_own() -> None:
    at = sys.argv.index("--output") + 1
    sys.argv[at] += "-elsewhere"


def shows_types() -> None:
    forward = _QuantizedLinear.forward

    def shown(ctx, x, weight, alpha, fmt):
        result = forward(ctx, x, weight, alpha, fmt)
        print(f"rounds {weight.dtype} by {alpha.dtype}, multiplies in {result.dtype}", flush=True)
        return result

    _QuantizedLinear.forward = staticmethod(shown)


ACCIDENTS = {
    "killed": signalled(signal.SIGKILL),
    "asked to stop": signalled(signal.SIGTERM),
    "no loss": loses_its_loss,
    "killed in a checkpoint": dies_in_its_part_of_a_checkpoint,
    "another disk": has_a_disk_of_its_own,
    "shows types": shows_types,
}
