"""Two ranks train what one trains on the same global batch, and an accident of one rank loses nothing.

Over gloo, on one CPU. FSDP2 is what accelerators run, except for the decision to use it (fsdp_on_cpu.py).
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
from edge.training.ablation import __main__ as ablation
from edge.training.checkpoints import checkpoints_dir, last_checkpoint
from edge.training.monitor import read_records
from runtime_tests.tiny import TEXT, save_tiny
from runtime_tests.training.launch import ROOT, launch

KINDS = {"DDP": [], "FSDP2": ["--fsdp"]}
#: Blocks to train on. No step's batch of 4 divides them, and the run of 9 steps goes on into a second epoch.
BLOCKS, STEPS = 27, 9
#: Gradients are summed in another order. 3e-7 was seen in all weights but one, of which the gradient nearly
#: cancels: AdamW divides it by its own size, and there 2e-6 was seen on one CPU and 1.1e-5 on another. All
#: move by more than 1e-3.
CLOSE, CLOSE_BUT_FOR_A_THOUSANDTH, MOVED = 1e-4, 1e-6, 1e-3


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
    schedule = {"steps": STEPS, "save_steps": 3, "learning_rate": 1e-3, "warmup_steps": 0}
    flags = {"bits": bits, "context": 16, **schedule, **flags}
    if torch.accelerator.is_available():  # without any, processes meet on CPUs unasked
        flags["use_cpu"] = True
    flat = [f"--{name}={value}" for name, value in flags.items()]
    data = ["--data", f"{text}:{BLOCKS * 17}", "--eval-data", f"{text}:200"]
    return ["--output", str(out), "--model", str(models / model), *data, *flat]


def assert_same(one: Path, other: Path) -> None:
    first, second = (load_file(path / "model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        apart = (tensor - second[name]).abs()
        assert float(apart.max()) < CLOSE, name
        assert float(apart.quantile(0.999)) < CLOSE_BUT_FOR_A_THOUSANDTH, name


def readings(out: Path) -> list[dict]:
    return [record for record in read_records(checkpoints_dir(str(out))) if "layers" in record]


def held_out_losses(out: Path) -> list[float]:
    """11 blocks; in batches of 1, two processes take 6 and 5 of them."""
    records = read_records(checkpoints_dir(str(out)))
    return [record["eval_loss"] for record in records if "eval_loss" in record]


ALONE: dict[tuple[str, float, int], Path] = {}


def trained_alone(models: Path, model: str, bits: float, embedding_bits: int = 16) -> Path:
    """The output of one process with batches of 4."""
    if (model, bits, embedding_bits) not in ALONE:
        out = models / f"alone-{model}-{bits}-{embedding_bits}"
        flags = {"batch_size": 4, "embedding_bits": embedding_bits}
        assert train.main(words(models, out, model, bits, **flags)) == 0
        before, after = (load_file(d / "model.safetensors") for d in (models / model, out))
        assert all(float((after[name] - tensor).abs().max()) > MOVED for name, tensor in before.items())
        ALONE[model, bits, embedding_bits] = out
    return ALONE[model, bits, embedding_bits]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("model", "bits", "embedding_bits", "accumulation"),
    [("untied", 16, 16, 1), ("tied", 2, 16, 2), ("tied", 2, 8, 1)],
)
def test_two_processes_train_what_one_trains(
    tmp_path: Path, models: Path, kind: str, model: str, bits: float, embedding_bits: int, accumulation: int
):
    alone, out = trained_alone(models, model, bits, embedding_bits), tmp_path / "out"
    cut = {"batch_size": 2 // accumulation, "gradient_accumulation_steps": accumulation}
    flags = {"embedding_bits": embedding_bits, **cut}
    status, said = launch(words(models, out, model, bits, **flags) + KINDS[kind])
    assert status == 0, said
    assert_same(alone, out)
    losses, expected = held_out_losses(alone), readings(alone)
    assert len(losses) == 3
    assert held_out_losses(out) == [pytest.approx(loss, abs=1e-6) for loss in losses]
    found = readings(out)
    assert len(expected) == len(found) == (3 if bits == 2 else 0)
    for one, other in zip(expected, found, strict=True):
        assert one["step"] == other["step"]
        for name, layer in one["layers"].items():
            assert other["layers"][name] == {k: pytest.approx(v, abs=1e-6) for k, v in layer.items()}
    assert said.count("held-out perplexity") == 1


@pytest.mark.parametrize(
    ("kind", "accident"),
    [("DDP", "killed"), ("DDP", "killed in a checkpoint"), ("FSDP2", "killed in a checkpoint")],
)
def test_a_killed_process_ends_the_run_and_the_same_command_resumes_it(
    tmp_path: Path, models: Path, kind: str, accident: str
):
    out = tmp_path / "out"
    arguments = words(models, out, "tied", 2, batch_size=2) + KINDS[kind]
    status, said = launch(arguments, accident=accident)
    assert status != 0
    assert "error: another process of this run is gone; the checkpoint of step 3 is kept" in said
    assert last_checkpoint(tmp_path / "out-checkpoints").name == "checkpoint-3"
    assert (tmp_path / "out-checkpoints" / "checkpoint-6").exists() == ("checkpoint" in accident)
    assert not out.exists()
    status, said = launch(arguments)
    assert status == 0, said
    assert "resuming at step 3" in said
    assert_same(trained_alone(models, "tied", 2), out)


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path: Path, models: Path, capsys):
    """And the run goes on in one process, or not at all with another global batch."""
    out = tmp_path / "out"
    status, said = launch(words(models, out, "tied", 2, batch_size=2), accident="asked to stop")
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
    status, said = launch(words(models, out, "tied", 2, batch_size=1, **flags), ranks=3)
    assert status == 0, said
    assert "resuming at step 2" in said
    assert_same(straight, out)


def test_a_loss_that_is_lost_in_one_process_stops_all(tmp_path: Path, models: Path):
    arguments = words(models, tmp_path / "out", "tied", 2, batch_size=2, logging_steps=1)
    status, said = launch([*arguments, "--fsdp"], accident="no loss")
    assert status != 0
    assert said.count("error: training stopped at step 5: the loss is not finite") == 2
    assert last_checkpoint(tmp_path / "out-checkpoints").name == "checkpoint-3"


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_for_products_alone(tmp_path: Path, models: Path, kind: str):
    """Weights and scales are rounded as they are exported: in float32."""
    flags = {"batch_size": 2, "bf16": True, "steps": 2, "save_steps": 2}
    arguments = words(models, tmp_path / "out", "tied", 2, **flags) + KINDS[kind]
    status, said = launch(arguments, accident="shows types")
    assert status == 0, said
    shown = {line for line in said.splitlines() if line.startswith("rounds ")}
    assert shown == {"rounds torch.float32 by torch.float32, multiplies in torch.bfloat16"}


def test_machines_that_do_not_share_a_disk_are_refused(tmp_path: Path, models: Path):
    """A machine that does not see the checkpoint would begin at step 0."""
    checkpoint = tmp_path / "out-checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 1}')
    for part in ("model.safetensors", "optimizer.pt", "scheduler.pt"):
        (checkpoint / part).touch()
    (checkpoint.parent / "run.json").write_text('{"flags": {}, "data_sha256": ""}')
    status, said = launch(words(models, tmp_path / "out", "tied", 16, batch_size=2), accident="another disk")
    assert status != 0
    assert "rank 1 sees a different last checkpoint (None) from rank 0 (checkpoint-1)" in said


def test_two_stages_wait_for_each_other_under_torchrun(tmp_path: Path, models: Path):
    flags = {"batch_size": 2, "qat_fraction": 0.5, "steps": 4}
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "edge.training"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *words(models, tmp_path / "out", "tied", 2, **flags)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_an_ablation_of_two_processes_finds_what_one_finds(tmp_path: Path, models: Path):
    found = []
    for batch_size, processes in ((4, 1), (2, 2)):
        out = tmp_path / f"ablation-{processes}"
        arguments = words(models, out, "tied", 2, batch_size=batch_size, steps=3)
        arguments += ["--variants=RTN,QAT"]
        if processes == 1:
            assert ablation.main(arguments) == 0
        else:
            status, said = launch(arguments, name="edge.training.ablation.__main__")
            assert status == 0, said
            assert said.count("2 bits, QAT, seed 0: held-out perplexity") == 1
        results = json.loads((out / "results.json").read_text())["results"]
        found.append({(each["variant"], each["bits"]): each["perplexity"] for each in results})
    assert len(found[0]) == 4
    assert found[1] == {key: pytest.approx(value, rel=1e-5) for key, value in found[0].items()}


def test_fsdp_without_accelerators_is_refused(tmp_path: Path, models: Path):
    arguments = [*words(models, tmp_path / "out", "tied", 2, batch_size=2), "--fsdp"]
    status, said = launch(arguments, shard=False)
    assert status != 0
    assert "error: --fsdp needs accelerators" in said
    assert not (tmp_path / "out").exists()
