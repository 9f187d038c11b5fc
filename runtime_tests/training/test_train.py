"""Training end to end on a tiny model: it learns, and it refuses bad input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import load_checkpoint
from edge.cli import main_guard
from edge.data import Source, load_blocks
from edge.evaluation.language_model import EagerModel
from edge.evaluation.perplexity import perplexity
from edge.formats import BY_NAME, LINEAR_GRIDS
from edge.model.config import NAMED_MODELS
from edge.quantizers.paretoq import initial_alpha
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import qat_linears
from edge.training import train
from edge.training.start import starting_model
from edge.training.train_config import TrainConfig
from edge.training.trainer_arguments import training_arguments
from runtime_tests.tiny import save_tiny, tiny_config, tiny_tokenizer
from runtime_tests.training.tiny_run import command, last_line, weights


def test_full_precision_then_two_bits(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Trains from scratch to perplexity below 10 (it starts near 304), then at 2 bits to half the loss."""
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


@pytest.mark.parametrize("fmt", [grid for grid in LINEAR_GRIDS if grid.is_quantized], ids=lambda f: f.name)
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


def test_another_directory_is_never_overwritten(tmp_path: Path, text: Path, full: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="already exists and is not this run's"):
        train.main(command(tmp_path / "out", text, model=full))
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_compiled_steps_train_the_same(tmp_path: Path, text: Path):
    """Two widths in one graph, and a held-out batch of another size; traced as always, but not built."""
    full = save_tiny(tmp_path / "full", n_layers=1)
    for name, flags in (("eager", {}), ("compiled", {"torch_compile_backend": "aot_eager"})):
        torch.compiler.reset()
        mixed = {"bits": 2, "mixed": "*.down_proj=4", **flags}
        assert train.main(command(tmp_path / name, text, model=full, **mixed)) == 0
    eager, compiled = weights(tmp_path / "eager"), weights(tmp_path / "compiled")
    assert eager.keys() == compiled.keys()
    for name, tensor in eager.items():
        assert torch.allclose(tensor, compiled[name], rtol=0, atol=1e-5), name


BAD_INPUT = {
    "unknown bits": ({"bits": 5}, "no weight format has 5.0 bits; choose one of 1, 1.58, 2, 3, 4, 16"),
    "bits for tables only": ({"bits": 8}, "choose one of 1, 1.58, 2, 3, 4, 16"),
    "bits that are no number": ({"bits": "two"}, "invalid float value: 'two'"),
    "unknown shape": ({"model": None, "shape": "7B"}, "unknown shape 7B; known are default, 125M"),
    "shape of a checkpoint": ({"shape": "125M"}, "--model brings its own"),
    "no tokenizer": ({"model": None}, "--tokenizer is needed"),
    "a tokenizer that is none": ({"tokenizer": "TEXT"}, "is not a readable tokenizer"),
    "context beyond the model": ({"context": 65}, "--context 65 is beyond the model's 64 positions"),
    "no context": ({"context": 0}, "--context must be at least 1"),
    "no steps": ({"steps": 0}, "--steps must be at least 1"),
    "a rate that is no rate": ({"learning_rate": "nan"}, "--learning-rate must be positive"),
    "negative warm-up": ({"warmup_steps": -1}, "--warmup-steps must be at least 0, not -1"),
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
        "--optim schedule_free_adamw is not for this command: its average",
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
