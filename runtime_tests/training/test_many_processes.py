"""Two processes train what one trains on the same global batch, and what befalls one of them loses nothing.

Over gloo, on one CPU. FSDP2 is the same code as on accelerators but for the decision to use it (fsdp_on_cpu.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge.cli import main_guard
from edge.training import train
from edge.training.resume import last_checkpoint
from runtime_tests.tiny import TEXT, save_tiny

ROOT = Path(__file__).parents[2]
KINDS = {"DDP": [], "FSDP2": ["--fsdp"]}
#: Blocks to train on. No step's batch of 4 divides them, and the run of 9 steps goes on into a second epoch.
BLOCKS, STEPS = 27, 9
#: Gradients are summed in another order. The issue asks for 1e-5; 3e-7 was seen, one unit in the last place
#: of the largest weights; the weights themselves move by more than 1e-3.
CLOSE, MOVED = 1e-6, 1e-3


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the text and two full-precision models."""
    directory = tmp_path_factory.mktemp("models")
    (directory / "text.txt").write_text(TEXT)
    save_tiny(directory / "tied")
    save_tiny(directory / "untied", tied_embedding=False)
    return directory


def words(models: Path, out: Path, model: str, bits: float, **flags: object) -> list[str]:
    text = models / "text.txt"
    flags = {"bits": bits, "context": 16, "steps": STEPS, "save_steps": 3, "learning_rate": 1e-3, **flags}
    flat = [f"--{name}={value}" for name, value in {**flags, "use_cpu": True}.items()]
    data = ["--data", f"{text}:{BLOCKS * 17}", "--eval-data", f"{text}:200"]
    return ["--output", str(out), "--model", str(models / model), *data, *flat]


def torchrun(arguments: list[str], processes: int = 2, accident: str | None = None) -> tuple[int, str]:
    """The exit status and all that was said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if accident is not None:
        environment["ACCIDENT"] = accident
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    module = "runtime_tests.training.process_accidents"
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", module, *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout


def assert_same(one: Path, other: Path, close: float = CLOSE) -> None:
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert float((tensor - second[name]).abs().max()) < close, name


def readings(out: Path) -> list[dict]:
    lines = (out.with_name(out.name + "-checkpoints") / "monitor.jsonl").read_text().splitlines()
    return [record for line in lines if "layers" in (record := json.loads(line))]


ALONE: dict[tuple[str, float], Path] = {}


def trained_alone(models: Path, model: str, bits: float) -> Path:
    """The output of one process with batches of 4."""
    if (model, bits) not in ALONE:
        out = models / f"alone-{model}-{bits}"
        assert train.main(words(models, out, model, bits, batch_size=4)) == 0
        before, after = (load_file(d / "model.safetensors") for d in (models / model, out))
        assert all(float((after[name] - tensor).abs().max()) > MOVED for name, tensor in before.items())
        ALONE[model, bits] = out
    return ALONE[model, bits]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("model", "bits", "accumulation"), [("tied", 16, 1), ("tied", 2, 2), ("untied", 2, 1)]
)
def test_two_processes_train_what_one_trains(
    tmp_path: Path, models: Path, kind: str, model: str, bits: float, accumulation: int
):
    alone, out = trained_alone(models, model, bits), tmp_path / "out"
    cut = {"batch_size": 2 // accumulation, "gradient_accumulation_steps": accumulation}
    status, said = torchrun(words(models, out, model, bits, **cut) + KINDS[kind])
    assert status == 0, said
    assert_same(alone, out)
    expected, found = readings(alone), readings(out)
    assert len(expected) == len(found) == (3 if bits == 2 else 0)
    for one, other in zip(expected, found, strict=True):
        assert one["step"] == other["step"]
        for name, layer in one["layers"].items():
            assert other["layers"][name] == {k: pytest.approx(v, abs=1e-6) for k, v in layer.items()}
    assert said.count("held-out perplexity") == 1


def test_held_out_loss_does_not_count_a_block_twice(tmp_path: Path, models: Path):
    """11 blocks in batches of 4 are three batches, of which two processes take two and one."""
    losses = []
    for processes, batch in ((1, 4), (2, 2), (4, 1)):
        out = tmp_path / str(processes)
        arguments = words(models, out, "tied", 16, batch_size=batch, steps=1)
        status, said = torchrun(arguments, processes)
        assert status == 0, said
        log = (tmp_path / f"{processes}-checkpoints" / "monitor.jsonl").read_text().splitlines()
        losses += [r["eval_loss"] for line in log if "eval_loss" in (r := json.loads(line))]
    assert losses[1:] == [pytest.approx(losses[0], abs=1e-6)] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("accident", ["killed", "killed in a checkpoint"])
def test_a_killed_process_ends_the_run_and_the_same_command_resumes_it(
    tmp_path: Path, models: Path, kind: str, accident: str
):
    out = tmp_path / "out"
    arguments = words(models, out, "tied", 2, batch_size=2) + KINDS[kind]
    status, said = torchrun(arguments, accident=accident)
    assert status != 0
    assert "error: another process of this run is gone; the checkpoint of step 3 is kept" in said
    assert last_checkpoint(tmp_path / "out-checkpoints").name == "checkpoint-3"
    assert (tmp_path / "out-checkpoints" / "checkpoint-6").exists() == ("checkpoint" in accident)
    assert not out.exists()
    status, said = torchrun(arguments)
    assert status == 0, said
    assert "resuming at step 3" in said
    assert_same(trained_alone(models, "tied", 2), out)


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path, models: Path, capsys):
    """And the run goes on in one process, or not at all with another global batch."""
    out = tmp_path / "out"
    status, said = torchrun(words(models, out, "tied", 2, batch_size=2), accident="asked to stop")
    assert status != 0
    assert said.count("stopped at step 5; the same command continues") == 1
    assert last_checkpoint(tmp_path / "out-checkpoints").name == "checkpoint-5"

    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: train.main(words(models, out, "tied", 2, batch_size=2)))
    assert stop.value.code == 2
    assert "begun with 4 examples a step, not 2 (--batch-size x" in capsys.readouterr().err
    assert train.main(words(models, out, "tied", 2, batch_size=4)) == 0
    assert "resuming at step 5" in capsys.readouterr().out
    assert_same(trained_alone(models, "tied", 2), out)


def test_a_run_of_one_process_goes_on_in_three(tmp_path: Path, models: Path, monkeypatch):
    flags = {"steps": 4, "save_steps": 2}
    straight, out = tmp_path / "straight", tmp_path / "out"
    train.main(words(models, straight, "tied", 2, batch_size=3, **flags))
    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train.main(words(models, out, "tied", 2, batch_size=3, **flags))
    for file in (tmp_path / "out-checkpoints" / "checkpoint-4").iterdir():
        file.unlink()  # so that step 2 is the last
    status, said = torchrun(words(models, out, "tied", 2, batch_size=1, **flags), processes=3)
    assert status == 0, said
    assert "resuming at step 2" in said
    assert_same(straight, out)


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_lost_in_one_process_stops_all(tmp_path: Path, models: Path, kind: str):
    arguments = words(models, tmp_path / "out", "tied", 2, batch_size=2, logging_steps=1) + KINDS[kind]
    status, said = torchrun(arguments, accident="no loss")
    assert status != 0
    assert said.count("error: training stopped at step 5: the loss is not finite") == 2
    assert last_checkpoint(tmp_path / "out-checkpoints").name == "checkpoint-3"


def test_machines_that_do_not_share_a_disk_are_refused(tmp_path: Path, models: Path):
    """At the latest when the run is resumed: a machine without the checkpoint would begin at step 0."""
    arguments = words(models, tmp_path / "out", "tied", 16, batch_size=2, steps=1)
    status, said = torchrun(arguments, accident="another disk")
    assert status == 0, said
    for file in (tmp_path / "out").iterdir():
        file.unlink()
    status, said = torchrun(arguments, accident="another disk")
    assert status != 0
    assert "process 1 sees another last checkpoint (None) than process 0 (checkpoint-1)" in said


def test_two_stages_wait_for_each_other(tmp_path: Path, models: Path):
    flags = {"batch_size": 2, "qat_fraction": 0.5, "steps": 4}
    status, said = torchrun(words(models, tmp_path / "out", "tied", 2, **flags))
    assert status == 0, said
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_fsdp_without_accelerators_is_refused(tmp_path: Path, models: Path):
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "-m", "edge.training.train",
         *words(models, tmp_path / "out", "tied", 2, batch_size=2), "--fsdp"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode != 0
    assert "error: --fsdp shards over accelerators" in done.stderr
    assert not (tmp_path / "out").exists()
