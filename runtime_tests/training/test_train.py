"""Training end to end on a tiny model: it learns, it resumes bit for bit, and it refuses bad input."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from edge.cli import main_guard
from edge.config import NAMED_MODELS
from edge.formats import BY_NAME, FORMATS
from edge.model.checkpoint import load_checkpoint, save_checkpoint
from edge.model.plan import Plan
from edge.quantizers.convert import build_model, qat_linears
from edge.quantizers.paretoq import initial_alpha
from edge.training import resume, train
from edge.training.arguments import training_arguments
from edge.training.data import Source, load_blocks
from edge.training.evaluate.language_model import EagerModel
from edge.training.evaluate.perplexity import perplexity
from edge.training.progress import Progress
from edge.training.start import starting_model
from edge.training.train_config import TrainConfig
from runtime_tests.tiny import TEXT, save_tiny, tiny_checkpoint, tiny_config, tiny_tokenizer

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for a process that is gone: nothing may catch it."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny full-precision checkpoint with random weights."""
    return save_tiny(tmp_path_factory.mktemp("model") / "full")


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


def test_full_precision_then_two_bits(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """From nothing to perplexity below 10 on its own text (it starts near 304); at 2 bits the loss halves."""
    monkeypatch.setitem(NAMED_MODELS, "default", tiny_config())
    flags = {"context": 32, "steps": 60, "save_steps": 60, "learning_rate": 1e-2}
    long = [f"{text}", "--eval-data", str(text)]
    start = ["--tokenizer", str(tiny_tokenizer()), *(f"--{k}={v}" for k, v in flags.items())]
    assert train.main(["--output", str(tmp_path / "full"), "--data", *long, *start]) == 0
    learned = float(last_line(capsys).removeprefix("held-out perplexity "))
    assert learned < 10

    quantised = command(tmp_path / "two", text, **flags, model=tmp_path / "full", bits=2)
    quantised[3:6] = long
    assert train.main(quantised) == 0
    out = capsys.readouterr().out
    printed = float(out.strip().splitlines()[-1].removeprefix("held-out perplexity "))
    assert printed < 10
    losses = [float(value) for value in re.findall(r"step \d+/60 +loss ([0-9.]+)", out)]
    assert len(losses) == 3
    assert losses[-1] < losses[0] / 2

    checkpoint = load_checkpoint(tmp_path / "two")
    assert checkpoint.plan == Plan(BY_NAME["int2"])
    blocks = load_blocks(
        [Source.parse(str(text))], train.Tokenizer(checkpoint.tokenizer), checkpoint.config, 32
    )
    value, _ = perplexity(EagerModel(build_model(checkpoint)), blocks)
    assert printed == pytest.approx(value, abs=1e-3)  # what the run printed is what the checkpoint scores


@pytest.mark.parametrize("fmt", [f for f in FORMATS if f.trainable], ids=lambda f: f.name)
def test_qat_starts_at_the_initial_alpha_of_every_format(fmt, full: Path, text: Path):
    config = TrainConfig("out", [str(text)], [str(text)], model=str(full), bits=fmt.bits, context=16)
    model, _ = starting_model(config)
    plain = load_checkpoint(full).weights
    assert len(qat_linears(model)) == 7 * tiny_config().n_layers
    for name, linear in qat_linears(model).items():
        assert torch.equal(linear.weight, plain[f"{name}.weight"])
        assert torch.equal(linear.weight_clip_val, initial_alpha(linear.weight, fmt))


def test_qat_goes_on_from_learned_alphas(tmp_path: Path, text: Path):
    two = save_tiny(tmp_path / "two", BY_NAME["int2"])
    config = TrainConfig("out", [str(text)], [str(text)], model=str(two), bits=2, context=16)
    model, _ = starting_model(config)
    for name, linear in qat_linears(model).items():
        assert torch.equal(linear.weight_clip_val, load_checkpoint(two).alphas[name])


def kill_at_step(step: int):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == step:
            raise Killed

    return on_step_end


def half_written(self, path: str) -> None:
    Path(path).write_text('{"global_step": 6, "max_')
    raise Killed


def killed(*args, **kwargs):
    raise Killed


KILLS = {
    "before the first checkpoint": (Progress, "on_step_end", kill_at_step(2)),
    "between checkpoints": (Progress, "on_step_end", kill_at_step(4)),
    "while the checkpoint is written": (Trainer, "_save_rng_state", killed),
    "in the last file of a checkpoint": (
        train.Trainer.__init__.__globals__["TrainerState"],
        "save_to_json",
        half_written,
    ),
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
    process = start(command(tmp_path / "out", text, **flags))
    wait_for(lambda: resume.last_checkpoint(tmp_path / "out-checkpoints"), process)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    train.main(command(tmp_path / "out", text, **flags))
    train.main(command(tmp_path / "straight", text, **flags))
    assert_same_weights(tmp_path / "straight", tmp_path / "out")


def start(arguments: list[str]) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "edge.training.train", *arguments],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, process: subprocess.Popen) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
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


def test_another_directory_is_never_overwritten(tmp_path: Path, text: Path, full: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="already exists and is not this run's"):
        train.main(command(tmp_path / "out", text, model=full))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_compiled_steps_train_the_same(tmp_path: Path, text: Path, full: Path):
    """Two widths in one graph, and a held-out batch of another size; traced as always, but not built."""
    for name, flags in (("eager", {}), ("compiled", {"torch_compile_backend": "aot_eager"})):
        torch.compiler.reset()
        mixed = {"bits": 2, "mixed": "layers.0.*=4", **flags}
        assert train.main(command(tmp_path / name, text, model=full, **mixed)) == 0
    eager, compiled = weights(tmp_path / "eager"), weights(tmp_path / "compiled")
    assert eager.keys() == compiled.keys()
    for name, tensor in eager.items():
        assert torch.allclose(tensor, compiled[name], rtol=0, atol=1e-5), name


BAD_INPUT = {
    "unknown bits": ({"bits": 5}, "no weight format has 5.0 bits; choose one of 1, 1.58, 2, 3, 4, 16"),
    "bits for tables only": ({"bits": 8}, "choose one of 1, 1.58, 2, 3, 4, 16"),
    "bits that are no number": ({"bits": "two"}, "invalid float value: 'two'"),
    "unknown shape": ({"model": None, "shape": "7B"}, "unknown --shape 7B; known are default, 125M"),
    "shape of a checkpoint": ({"shape": "125M"}, "--model brings its own"),
    "no tokenizer": ({"model": None}, "--tokenizer is needed"),
    "a tokenizer that is none": ({"tokenizer": "TEXT"}, "is not a readable tokenizer"),
    "context beyond the model": ({"context": 65}, "--context 65 is beyond the model's 64 positions"),
    "no context": ({"context": 0}, "--context must be at least 1"),
    "no steps": ({"steps": 0}, "--steps must be at least 1"),
    "a rate that is no rate": ({"learning_rate": "nan"}, "--learning-rate must be positive"),
    "negative warm-up": ({"warmup_steps": -1}, "--warmup-steps must not be negative"),
    "negative seed": ({"seed": -1}, "--seed must lie in 0..2^32 - 1, not -1"),
    "output without a name": ({"out": "/"}, "--output / has no name of its own"),
    "unknown flag": (
        {"optimizer": "sgd"},
        "neither this command nor TrainingArguments knows --optimizer=sgd",
    ),
    "a flag of ours by another name": ({"max_steps": 5}, "--max-steps is not for this command: use --steps"),
    "a flag with a wrong value": ({"lr_scheduler_type": "cosin"}, "cosin"),
    "a schedule that lacks what it needs": (
        {"lr_scheduler_type": "warmup_stable_decay"},
        "--lr_scheduler_type warmup_stable_decay with --lr_scheduler_kwargs {}: get_wsd_schedule() missing",
    ),
    "an optimiser that is not installed": (
        {"optim": "lomo"},
        "--optim lomo cannot be used here",
    ),
    "an optimiser whose average is not kept": (
        {"optim": "schedule_free_adamw"},
        "--optim schedule_free_adamw is not for this command: the average",
    ),
    "a batch that finds its own size": (
        {"auto_find_batch_size": True},
        "--auto-find-batch-size is not for this command: it changes how many tokens a step takes",
    ),
    "a resumed run on text it has seen": (
        {"ignore_data_skip": True},
        "--ignore-data-skip is not for this command",
    ),
    "batches that processes share": (
        {"accelerator_config": '{"split_batches": true}'},
        "split_batches is not for this command",
    ),
    "a rate for a stage that is not there": (
        {"full_learning_rate": 1e-3},
        "--full-learning-rate is for --qat-fraction",
    ),
    "checkpoints by epochs": ({"save_strategy": "epoch"}, "--save-strategy epoch is not for this command"),
    "missing model": ({"model": "nowhere"}, "nowhere"),
    "a file as output": ({"out": "TEXT"}, "is a file; give a directory"),
    "output below a file": ({"out": "TEXT/x"}, "is not a writable directory"),
    "missing data": ({"data": "missing.txt"}, "missing.txt is not a readable file"),
    "too little data": ({"data": "TEXT:5"}, "5 tokens, fewer than one block of 17"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_sentence_and_exit_code_2(case: str, tmp_path: Path, text: Path, full: Path, capsys):
    changes, message = BAD_INPUT[case]
    words = command(**{"out": tmp_path / "out", "text": text, "model": full, **changes})
    words = [w.replace("TEXT", str(text)) for w in words if not w.endswith("=None")]
    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: train.main(words))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_among_the_texts_is_refused(tmp_path: Path, text: Path, full: Path):
    shutil.copy(text, tmp_path / "text.txt")
    with pytest.raises(ValueError, match="which is read as text; choose another"):
        train.main(command(tmp_path / "runs" / "out", tmp_path, model=full))
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


def test_a_full_disk_is_foreseen(tmp_path: Path, text: Path, full: Path, monkeypatch: pytest.MonkeyPatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"needs about \d+ MB of disk"):
        train.main(command(tmp_path / "out", text, model=full))
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_too_big_for_the_model_is_refused(tmp_path: Path, text: Path, monkeypatch):
    monkeypatch.setitem(NAMED_MODELS, "default", tiny_config(vocab_size=300))
    with pytest.raises(ValueError, match="the tokenizer has 304 entries, the model only 300"):
        train.main(command(tmp_path / "out", text, tokenizer=tiny_tokenizer()))


def test_a_checkpoint_of_other_bits_is_refused(tmp_path: Path, text: Path):
    two = save_tiny(tmp_path / "two", BY_NAME["int2"])
    for bits in (3, 16):
        with pytest.raises(
            ValueError, match=f"was trained at 2 bits, not {bits} bits; start from a full-precision"
        ):
            train.main(command(tmp_path / "out", text, model=two, bits=bits))


def test_flags_of_training_arguments_override_ours(tmp_path: Path):
    config = TrainConfig("out", ["a.txt"], ["b.txt"], learning_rate=0.5, save_steps=7)
    rest = ["--eval-steps", "9", "--weight_decay=0.3", "--adam_beta2", "0.9", "--use_cpu", "True"]
    arguments = training_arguments(config, rest, str(tmp_path))
    assert (arguments.learning_rate, arguments.save_steps, arguments.eval_steps) == (0.5, 7, 9)
    assert (arguments.weight_decay, arguments.adam_beta2) == (0.3, 0.9)


def test_help_names_every_flag_and_trainingarguments(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        train.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for name in TrainConfig.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
    assert "TrainingArguments" in text
