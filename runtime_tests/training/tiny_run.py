"""The command line of a run on the tiny model, and comparing what two runs trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


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
