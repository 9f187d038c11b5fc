"""Tests the order of blocks: each once an epoch, set by the seed, continued exactly after a kill."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.data import PackedBlocks
from edge.training import train
from edge.training.progress import Progress
from runtime_tests.tiny import TEXT, save_tiny
from runtime_tests.training.tiny_run import Killed, kill_at

BLOCKS, BATCH, CONTEXT = 24, 4, 16


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of training blocks as they are read, the one batch that the loader is ahead included."""
    indices: list[int] = []
    fetch = PackedBlocks.__getitem__

    def recorded(self: PackedBlocks, index: int):
        if len(self) == BLOCKS:  # not the held-out ones
            indices.append(index)
        return fetch(self, index)

    monkeypatch.setattr(PackedBlocks, "__getitem__", recorded)
    return indices


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model") / "full")


def command(tmp_path: Path, model: Path, output: str, **flags: object) -> list[str]:
    """Eight steps; an epoch is six."""
    text = tmp_path / "text.txt"
    if not text.exists():
        text.write_text(TEXT)
    data = ["--data", f"{text}:{BLOCKS * (CONTEXT + 1)}", "--eval-data", f"{text}:200"]
    words = {"model": model, "context": CONTEXT, "batch_size": BATCH, "steps": 8, "save_steps": 3, **flags}
    flat = [f"--{name}={value}" for name, value in {**words, "eval_strategy": "no", "use_cpu": True}.items()]
    return ["--output", str(tmp_path / output), *data, *flat]


def test_a_resumed_run_reads_the_very_blocks_that_were_left(tmp_path: Path, model: Path, read: list[int]):
    train.main(command(tmp_path, model, "straight"))
    straight = read.copy()
    assert sorted(straight[:BLOCKS]) == list(range(BLOCKS))
    assert straight[:BLOCKS] != list(range(BLOCKS))
    assert straight[BLOCKS : BLOCKS + 8] != straight[:8]  # the second epoch has an order of its own

    for kill_step, saved_at in ((5, 3), (7, 6)):
        read.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Progress, "on_step_end", kill_at(kill_step))
            with pytest.raises(Killed):
                train.main(command(tmp_path, model, f"killed-{kill_step}"))
        assert read == straight[: len(read)]
        read.clear()
        train.main(command(tmp_path, model, f"killed-{kill_step}"))
        assert read == straight[saved_at * BATCH :]


def test_the_seed_decides_the_order(tmp_path: Path, model: Path, read: list[int]):
    orders = []
    for output, seed in (("a", 1), ("b", 1), ("c", 2)):
        read.clear()
        train.main(command(tmp_path, model, output, seed=seed, steps=2))
        orders.append(read.copy())
    assert orders[0] == orders[1] != orders[2]
