"""Run, interrupt and compare trainings of the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


class Killed(BaseException):
    """Stands for a process that is gone: nothing may catch it."""


def kill_at(step: int):
    """Return a callback method that ends the run after this step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    return on_step_end


def command(out: Path | str, text: Path, **flags: object) -> list[str]:
    """``--model`` and the like come as keywords; 24 blocks of 16 make an epoch of 6 steps."""
    defaults = {"context": 16, "batch_size": 4, "steps": 6, "save_steps": 3, "use_cpu": True}
    words = [f"--{name}={value}" for name, value in {**defaults, **flags}.items()]
    return ["--output", str(out), "--data", f"{text}:{24 * 17}", "--eval-data", f"{text}:200", *words]


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def last_line(capsys: pytest.CaptureFixture) -> str:
    return capsys.readouterr().out.strip().splitlines()[-1]
