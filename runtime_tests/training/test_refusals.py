"""Tests that a run refuses to continue where it would become a different or an untrustworthy run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from edge.files import only_writer
from edge.model.config import NAMED_MODELS
from edge.training import train
from edge.training.checkpoints import last_checkpoint
from edge.training.progress import Progress
from runtime_tests.tiny import TEXT, save_tiny, tiny_config, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a full-precision model, and a run of 6 steps that is finished."""
    path = tmp_path_factory.mktemp("refusals")
    (path / "text.txt").write_text(TEXT)
    save_tiny(path / "full")
    train.main(command(path, "run"))
    return path


def command(folder: Path, output: str | Path, *words: str, text: str = "text.txt") -> list[str]:
    flags = ["--context=16", "--batch-size=4", "--steps=6", "--save-steps=2", "--bits=2", "--use_cpu=True"]
    model = ["--model", str(folder / "full"), "--eval-data", f"{folder}/text.txt:200"]
    return ["--output", str(folder / output), "--data", f"{folder}/{text}:{24 * 17}", *model, *flags, *words]


@pytest.fixture
def unfinished(folder: Path, tmp_path: Path) -> Path:
    """The same run with checkpoints of steps 4 and 6, but without its output."""
    shutil.copytree(folder / "run-checkpoints", tmp_path / "run-checkpoints")
    return tmp_path / "run"


def checkpoints(output: Path) -> Path:
    return output.with_name(output.name + "-checkpoints")


def test_one_run_at_a_time(folder: Path, unfinished: Path):
    shutil.rmtree(checkpoints(unfinished) / "checkpoint-6")
    with (
        only_writer(checkpoints(unfinished)),
        pytest.raises(ValueError, match="another process is writing"),
    ):
        train.main(command(folder, unfinished))
    assert last_checkpoint(checkpoints(unfinished)).name == "checkpoint-4"
    assert train.main(command(folder, unfinished)) == 0


def test_a_run_that_another_has_overtaken_stops(folder: Path, tmp_path: Path, monkeypatch):
    """Tests that a checkpoint which appears just before the lock is taken is noticed."""
    look = train.refuse_full_disk

    def overtake(model, directory):
        shutil.copytree(folder / "run-checkpoints", directory)
        look(model, directory)

    monkeypatch.setattr(train, "refuse_full_disk", overtake)
    with pytest.raises(ValueError, match=r"another process has trained .* meanwhile; give"):
        train.main(command(folder, tmp_path / "run"))


@pytest.mark.parametrize("part", ["optimizer.pt", "scheduler.pt", "model.safetensors", "trainer_state.json"])
def test_a_checkpoint_without_a_part_does_not_count(folder: Path, unfinished: Path, part: str, capsys):
    (checkpoints(unfinished) / "checkpoint-6" / part).unlink()
    assert last_checkpoint(checkpoints(unfinished)).name == "checkpoint-4"
    assert train.main(command(folder, unfinished)) == 0
    assert "resuming at step 4" in capsys.readouterr().out
    ours, its = (load_file(path / "model.safetensors") for path in (unfinished, folder / "run"))
    assert all(torch.equal(ours[name], its[name]) for name in its)


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_named(folder: Path, unfinished: Path, part: str):
    shutil.rmtree(checkpoints(unfinished) / "checkpoint-6")
    path = checkpoints(unfinished) / "checkpoint-4" / part
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        ValueError, match=r"checkpoint-4 cannot be read \(.*\): remove it, and the same command"
    ):
        train.main(command(folder, unfinished))


@pytest.mark.parametrize("record", [None, "{}", '{"flags": [], "data_sha256": 3}'])
def test_checkpoints_of_an_unknown_run(folder: Path, unfinished: Path, record: str | None):
    path = checkpoints(unfinished) / "run.json"
    path.unlink() if record is None else path.write_text(record)
    why = "holds checkpoints without run.json" if record is None else "run.json is damaged"
    with pytest.raises(ValueError, match=why):
        train.main(command(folder, unfinished, "--bits=1"))


def test_a_finished_run_on_another_text(folder: Path):
    (folder / "other.txt").write_text(TEXT[::-1])
    with pytest.raises(ValueError, match="begun on other training tokens"):
        train.main(command(folder, "run", text="other.txt"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--load_best_model_at_end=True"], "the output is the model of the last step"),
        (["--save_only_model=True"], "the run could not be resumed"),
        (["--label_smoothing_factor=0.1"], "for soft targets use --distill"),
        (["--gradient_accumulation_steps=0"], "must be a whole number from 1 on, not 0"),
        (["--gradient_accumulation_steps=two"], "must be a whole number from 1 on, not two"),
        (["--weight_decay=-0.5"], "--weight_decay must be at least 0"),
        (["--max_grad_norm=nan"], "--max_grad_norm must be at least 0"),
    ],
)
def test_flags_that_the_loop_cannot_keep(folder: Path, tmp_path: Path, words: list[str], why: str):
    with pytest.raises(ValueError, match=why):
        train.main(command(folder, tmp_path / "new", *words))
    assert not list(tmp_path.iterdir())


def test_several_gpus_want_processes(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match=r"2 GPUs need one process each: torchrun --nproc-per-node 2"):
        train.main(command(folder, tmp_path / "new"))


def test_a_tokenizer_without_markers(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    told = json.loads(tiny_tokenizer().read_text())
    (tmp_path / "plain.json").write_text(json.dumps({**told, "added_tokens": [], "post_processor": None}))
    words = command(folder, tmp_path / "new", "--shape=tiny", "--tokenizer", str(tmp_path / "plain.json"))
    del words[words.index("--model") : words.index("--model") + 2]
    with pytest.raises(
        ValueError, match=r"id 1 must be a begin or end marker, but is the text .* in .*plain.json"
    ):
        train.main(words)


def test_another_tokenizer_than_the_models(folder: Path, tmp_path: Path):
    told = json.loads((folder / "full" / "tokenizer.json").read_text())
    vocab = told["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    with pytest.raises(
        ValueError, match=r"id \d+ is '.' in .*tokenizer.json and '.' in the tokenizer of .*full"
    ):
        train.main(command(folder, tmp_path / "new", "--tokenizer", str(tmp_path / "tokenizer.json")))


def test_a_held_out_text_counts_once(folder: Path, tmp_path: Path, capsys):
    """However many tokens are asked for."""
    for name, count in (("once", ""), ("often", ":1e5")):
        words = command(folder, tmp_path / name, "--steps=1")
        words[words.index("--eval-data") + 1] = f"{folder}/text.txt{count}"
        train.main(words)
    lines = capsys.readouterr().out.splitlines()
    said = [line for line in lines if "held out" in line or line.startswith("held-out perplexity")]
    assert len(said) == 4
    assert said[:2] == said[2:]


def test_scales_are_not_decayed(folder: Path, tmp_path: Path, monkeypatch):
    """Towards 0 is no prior for what starts at the size of the weights."""
    groups = {}

    def look(self, args, state, control, optimizer=None, model=None, **kwargs):
        names = {id(p): name for name, p in model.named_parameters()}
        for group in optimizer.param_groups:
            groups.setdefault(group["weight_decay"], set()).update(names[id(p)] for p in group["params"])

    monkeypatch.setattr(Progress, "on_step_begin", look, raising=False)
    words = ["--steps=1", "--weight_decay=0.1", "--embedding-bits=8"]
    train.main(command(folder, tmp_path / "new", *words))
    scales = {name for name in groups[0.0] | groups[0.1] if name.endswith(("weight_clip_val", "grid_end"))}
    assert len(scales) == 15  # 7 linears in each of 2 layers, and the table
    assert scales <= groups[0.0]
    assert all(name.endswith("weight") for name in groups[0.1])
    assert any("down_proj" in name for name in groups[0.1])
