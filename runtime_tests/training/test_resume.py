"""A run that was killed, stopped or finished: the same command goes on bit for bit, another is refused."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from transformers import Trainer, TrainerState

from edge.checkpoints.write import save_checkpoint
from edge.cli import main_guard
from edge.training import checkpoints, train
from edge.training.progress import Progress
from runtime_tests.tiny import TEXT, save_tiny, tiny_checkpoint
from runtime_tests.training.launch import start
from runtime_tests.training.tiny_run import Killed, assert_same_weights, command, kill_at, last_line


def half_written(self, path: str) -> None:
    Path(path).write_text('{"global_step": 6, "max_')
    raise Killed


def killed(*args, **kwargs):
    raise Killed


KILLS = {
    "before the first checkpoint": (Progress, "on_step_end", kill_at(2)),
    "between checkpoints": (Progress, "on_step_end", kill_at(4)),
    "while the checkpoint is written": (Trainer, "_save_rng_state", killed),
    "in the last file of a checkpoint": (TrainerState, "save_to_json", half_written),
    "before the output": (train, "save_checkpoint", killed),
}


@pytest.fixture(scope="module", params=[16, 1.58], ids="{:g}bit".format)
def straight(request: pytest.FixtureRequest, tmp_path_factory, text: Path, full: Path) -> tuple[dict, Path]:
    """Flags of a run, and what it trains when nothing interrupts it; the data begins again at step 7."""
    flags = {"model": full, "bits": request.param, "steps": 8}
    output = tmp_path_factory.mktemp("straight") / "out"
    train.main(command(output, text, **flags))
    return flags, output


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_run_resumes_bit_for_bit(
    tmp_path: Path, text: Path, straight: tuple[dict, Path], moment: str
):
    flags, uninterrupted = straight
    owner, name, replacement = KILLS[moment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, replacement)
        with pytest.raises(Killed):
            train.main(command(tmp_path / "out", text, **flags))
    assert not (tmp_path / "out").exists()
    train.main(command(tmp_path / "out", text, **flags))
    assert_same_weights(uninterrupted, tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_loses_no_step(
    tmp_path: Path, text: Path, straight: tuple[dict, Path], number: int, capsys: pytest.CaptureFixture
):
    def ask(self, args, state, control, **kwargs):
        if state.global_step == 4:
            os.kill(os.getpid(), number)

    flags, uninterrupted = straight
    handler = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_begin", ask)
        with pytest.raises(SystemExit) as stop:
            main_guard(lambda: train.main(command(tmp_path / "out", text, **flags)))
    assert stop.value.code == 130
    assert "stopped at step 5; the same command continues" in capsys.readouterr().out
    assert signal.getsignal(number) is handler
    assert not (tmp_path / "out").exists()
    train.main(command(tmp_path / "out", text, **flags))
    assert "resuming at step 5" in capsys.readouterr().out
    assert_same_weights(uninterrupted, tmp_path / "out")


def test_sigkill_in_a_process_of_its_own(tmp_path: Path, text: Path, full: Path):
    """The kill falls wherever it falls, often into a checkpoint: one is written at every second step."""
    flags = {"model": full, "bits": 2, "steps": 40, "save_steps": 2, "eval_strategy": "no"}
    process = start("edge.training.train", command(tmp_path / "out", text, **flags), tmp_path / "log")
    wait_for(lambda: checkpoints.last_checkpoint(tmp_path / "out-checkpoints"), process)
    process.kill()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    train.main(command(tmp_path / "out", text, **flags))
    train.main(command(tmp_path / "straight", text, **flags))
    assert_same_weights(tmp_path / "straight", tmp_path / "out")


def wait_for(condition, process: BaseProcess) -> None:
    for _ in range(6000):
        if condition():
            return
        assert process.is_alive(), process.exitcode
        time.sleep(0.02)
    raise AssertionError("no checkpoint in two minutes")


def test_a_finished_run_is_not_trained_again(tmp_path: Path, text: Path, full: Path, capsys):
    arguments = command(tmp_path / "out", text, model=full, steps=2)
    train.main(arguments)
    before = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert train.main(arguments) == 0
    assert "is finished: 2 steps" in last_line(capsys)
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_of_other_flags_or_data_is_not_resumed(tmp_path: Path, text: Path, full: Path):
    flags = {"model": full, "bits": 2, "steps": 4, "save_steps": 2}
    train.main(command(tmp_path / "out", text, **flags))
    shutil.rmtree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out-checkpoints" / "checkpoint-4")
    for other, message in (
        ({"bits": 3}, "begun with --bits 2.0, not with --bits 3.0"),
        ({"learning_rate": 1e-4}, "--learning-rate"),
        ({"weight_decay": 0.1}, "begun without --weight-decay, not with --weight-decay 0.1"),
        ({"seed": 5}, "--seed"),
    ):
        with pytest.raises(ValueError, match=message):
            train.main(command(tmp_path / "out", text, **{**flags, **other}))
    changed = tmp_path / "changed.txt"
    changed.write_text(TEXT.replace("mouse", "horse"))
    with pytest.raises(ValueError, match="begun on other training tokens"):
        train.main(command(tmp_path / "out", changed, **flags))
    # The same text elsewhere, and saved more often, is the same run.
    moved = shutil.copy(text, tmp_path / "moved.txt")
    assert train.main(command(tmp_path / "out", moved, **{**flags, "save_steps": 1})) == 0


@pytest.mark.parametrize("role", ["model", "teacher"])
def test_a_model_that_was_trained_anew_is_another_run(role: str, tmp_path: Path, text: Path):
    """Not even a finished run counts: what it holds was trained from other weights."""
    names = {name: save_tiny(tmp_path / name) for name in ("model", "teacher")}
    arguments = command(tmp_path / "out", text, bits=2, steps=2, distill=0.5, **names)
    assert train.main(arguments) == 0
    first = tiny_checkpoint()
    save_checkpoint(replace(first, weights={n: w / 2 for n, w in first.weights.items()}), tmp_path / role)
    with pytest.raises(ValueError, match="begun from other weights"):
        train.main(arguments)
    save_tiny(tmp_path / role)
    assert train.main(arguments) == 0
