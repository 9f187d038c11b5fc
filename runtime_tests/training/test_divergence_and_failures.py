"""Runs that cannot go on end in one sentence and exit code 2, and lose nothing that was good."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge.cli import main_guard
from edge.training import train
from edge.training.checkpoints import last_checkpoint, step_of
from edge.training.divergence import DIVERGED_LOGS, divergence
from edge.training.loss import NextTokenLoss
from edge.training.progress import Progress


def command(out: Path, full: Path, **flags: object) -> list[str]:
    """One log per step, a checkpoint at every second; no evaluation, so a forward pass is a step."""
    text = full.parent / "text.txt"
    defaults = {"model": full, "bits": 2, "context": 16, "batch_size": 4, "steps": 8, "save_steps": 2}
    defaults |= {"logging_steps": 1, "eval_strategy": "no", "use_cpu": True, "learning_rate": 1e-3}
    words = [f"--{name}={value}" for name, value in {**defaults, **flags}.items()]
    return ["--output", str(out), "--data", f"{text}:{24 * 17}", "--eval-data", f"{text}:200", *words]


def refused(words: list[str], capsys: pytest.CaptureFixture) -> str:
    """The sentence that a run ends with."""
    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: train.main(words))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def loss_from_step(monkeypatch: pytest.MonkeyPatch, step: int, change) -> None:
    """Changes the loss of every forward pass from the ``step``-th on."""
    calls, forward = [0], NextTokenLoss.forward

    def changed(self, tokens):
        calls[0] += 1
        loss = forward(self, tokens)["loss"]
        return {"loss": change(loss) if calls[0] >= step else loss}

    monkeypatch.setattr(NextTokenLoss, "forward", changed)


def checkpoints(tmp_path: Path) -> list[int]:
    return sorted(step_of(path) for path in (tmp_path / "out-checkpoints").glob("checkpoint-*"))


def all_finite(tmp_path: Path) -> bool:
    directory = last_checkpoint(tmp_path / "out-checkpoints")
    optimizer = torch.load(directory / "optimizer.pt")["state"].values()
    moments = [t for state in optimizer for t in state.values()]
    weights = load_file(directory / "model.safetensors").values()
    return all(bool(t.isfinite().all()) for t in [*weights, *moments])


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        ([], None),
        ([5.0, 4.0, 3.0], None),
        ([math.nan], "not finite"),
        ([2.0, math.inf], "not finite"),
        ([2.0] + [4.1] * DIVERGED_LOGS, "the loss diverges"),
        ([2.0] + [4.1] * (DIVERGED_LOGS - 1), None),
        ([2.0] + [3.9] * 100, None),  # worse, and not by 2 nats
        ([2.0] + [9.0] * (DIVERGED_LOGS - 1) + [3.0], None),  # a peak that it came back from
        ([11.0, 12.0, 12.5, 12.0, 11.5, 11.0, 10.0], None),  # a bad start
    ],
)
def test_the_rule(losses: list[float], reason: str | None):
    found = divergence(losses)
    assert found is None if reason is None else reason in found


def test_a_loss_that_is_not_finite_stops_the_run_and_a_lower_rate_resumes_it(
    tmp_path: Path, full: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        loss_from_step(patch, 5, lambda loss: loss * math.nan)
        error = refused(command(out, full), capsys)
    assert "training stopped at step 5: the loss is not finite (nan)" in error
    assert "checkpoint-4 is kept" in error
    assert "a lower --learning-rate than 0.001" in error
    assert checkpoints(tmp_path) == [2, 4]
    assert all_finite(tmp_path)
    assert not out.exists()

    assert "begun with --learning-rate 0.001" in refused(command(out, full, learning_rate=2e-3), capsys)
    assert train.main(command(out, full, learning_rate=1e-4)) == 0
    lines = capsys.readouterr().out
    assert "resuming at step 4" in lines
    rate = 1e-4 * (1 + math.cos(math.pi * 4 / 8)) / 2  # the cosine goes on, from the lower peak
    assert f"rate {rate:.2e}" in lines.split("step 5/8")[1].splitlines()[0]
    assert (out / "model.safetensors").is_file()


def test_a_rate_is_not_changed_without_need(tmp_path: Path, full: Path, capsys, monkeypatch):
    def stop(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "on_step_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            train.main(command(tmp_path / "out", full))
    error = refused(command(tmp_path / "out", full, learning_rate=1e-4), capsys)
    assert "begun with --learning-rate 0.001, not with --learning-rate 0.0001" in error


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, full: Path, capsys, monkeypatch):
    def poison(self, args, state, control, model=None, **kwargs):
        if state.global_step == 4:  # the loss of this step was good
            model.model.norm.weight.data[0] = math.nan

    monkeypatch.setattr(Progress, "on_step_end", poison)
    error = refused(command(tmp_path / "out", full), capsys)
    assert "stopped at step 4: the weights or the optimiser's state are no longer finite" in error
    assert checkpoints(tmp_path) == [2]
    assert all_finite(tmp_path)


def test_moments_that_are_not_finite_are_never_saved(tmp_path: Path, full: Path, capsys, monkeypatch):
    def poison(self, args, state, control, optimizer=None, **kwargs):
        if state.global_step == 4:
            next(iter(optimizer.state.values()))["exp_avg"].view(-1)[0] = math.inf

    monkeypatch.setattr(Progress, "on_step_end", poison)
    assert "the optimiser's state" in refused(command(tmp_path / "out", full), capsys)
    assert checkpoints(tmp_path) == [2]


def test_a_diverging_loss_stops_the_run_at_its_last_good_checkpoint(
    tmp_path: Path, full: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    loss_from_step(monkeypatch, 6, lambda loss: loss + 9)
    error = refused(command(tmp_path / "out", full, steps=20), capsys)
    assert "training stopped at step 10: the loss diverges: each of the last 5 logs" in error
    assert checkpoints(tmp_path) == [2, 4]  # not 6 and 8, whose loss was high already
    assert "checkpoint-4 is kept" in error


def test_a_held_out_loss_that_is_not_finite_stops_the_run(tmp_path: Path, full: Path, capsys, monkeypatch):
    forward = NextTokenLoss.forward
    monkeypatch.setattr(
        NextTokenLoss,
        "forward",
        lambda self, tokens: {"loss": forward(self, tokens)["loss"] * (1 if self.training else math.inf)},
    )
    error = refused(command(tmp_path / "out", full, eval_strategy="steps", eval_steps=3), capsys)
    assert "training stopped at step 3: the held-out loss is not finite (inf)" in error
    assert checkpoints(tmp_path) == [2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_a_disk_that_fills_keeps_the_last_checkpoint(tmp_path: Path, full: Path, capsys, name: str):
    broken = tmp_path / "out-checkpoints" / "checkpoint-4"
    broken.mkdir(parents=True)
    (broken / name).symlink_to("/dev/full")
    error = refused(command(tmp_path / "out", full), capsys)
    assert f"{broken.parent} could not be written" in error
    assert "the checkpoint of step 2 is kept: make room and give the same command again" in error
    assert checkpoints(tmp_path) == [2]
    assert not broken.exists()
    assert train.main(command(tmp_path / "out", full)) == 0
    assert "resuming at step 2" in capsys.readouterr().out


def test_weights_that_find_no_room_keep_the_last_checkpoint(tmp_path: Path, full: Path, capsys, monkeypatch):
    """safetensors replaces files and writes through no link: a limit on their size stands for the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(self, args, state, control, **kwargs):
        if state.global_step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))

    monkeypatch.setattr(Progress, "on_step_begin", limit)
    try:
        error = refused(command(tmp_path / "out", full, monitor_steps=100), capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "could not be written (Error while serializing: I/O error: File too large" in error
    assert "the checkpoint of step 2 is kept" in error
    assert checkpoints(tmp_path) == [2]
    assert not (tmp_path / "out-checkpoints" / "checkpoint-4").exists()


def test_a_batch_that_does_not_fit_names_the_flags_that_help(
    tmp_path: Path, full: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        loss_from_step(patch, 6, lambda loss: loss + torch.empty(1 << 60, dtype=torch.uint8)[0])
        error = refused(command(tmp_path / "out", full), capsys)
    assert "a batch of 4 x 16 tokens does not fit into memory" in error
    assert "--batch-size 2 --gradient_accumulation_steps 2 trains the same" in error
    assert checkpoints(tmp_path) == [2, 4]
    smaller = {"batch_size": 2, "gradient_accumulation_steps": 2}
    assert "--batch-size" in refused(command(tmp_path / "out", full, batch_size=2), capsys)
    assert train.main(command(tmp_path / "out", full, **smaller)) == 0
    assert "resuming at step 4" in capsys.readouterr().out


def test_other_errors_are_not_explained_away(tmp_path: Path, full: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(loss):
        raise RuntimeError("a mistake of ours")

    loss_from_step(monkeypatch, 1, broken)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        train.main(command(tmp_path / "out", full))
