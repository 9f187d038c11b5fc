"""The ablation: one budget for every way to a low-bit model, and a table that says what came of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.data import Source, load_blocks
from edge.evaluation.language_model import EagerModel
from edge.evaluation.perplexity import perplexity
from edge.formats import grid_for_bits
from edge.model.config import NAMED_MODELS
from edge.model.decoder import named_linears
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat, qat_linears
from edge.training.ablation import __main__ as ablation
from edge.training.ablation import study as studying
from edge.training.ablation.__main__ import _study
from edge.training.ablation.picture import picture
from edge.training.ablation.results import Result, Results
from edge.training.ablation.table import markdown
from edge.training.ablation.variants import TRAINED_ON, VARIANTS
from edge.training.trainer_arguments import training_arguments
from runtime_tests.tiny import TEXT, save_tiny, tiny_config

QAT, FROM_SCRATCH = (next(v for v in VARIANTS if v.name == name) for name in ("QAT", "from scratch"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ablation")
    (path / "text.txt").write_text(TEXT)
    save_tiny(path / "model")
    return path


def command(folder: Path, *words: str, output: str = "out") -> list[str]:
    text = folder / "text.txt"
    flags = ["--context=16", "--batch-size=4", "--save-steps=8", "--use_cpu=True", "--data", str(text)]
    return ["--output", str(folder / output), "--eval-data", f"{text}:200", *flags, *words]


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NAMED_MODELS, "tiny", tiny_config())
        budget = ["--steps=20", "--qat-fraction=0.2", "--shape=tiny", "--bits=3,1", "--seeds=2"]
        tokenizer = ["--tokenizer", str(folder / "model" / "tokenizer.json")]
        assert ablation.main(command(folder, *budget, *tokenizer)) == 0
    return folder / "out"


def found(study: Path) -> list[Result]:
    return [Result(**r) for r in json.loads((study / "results.json").read_text())["results"]]


def test_every_way_spends_the_same_budget(study):
    steps = {(r.variant, r.bits): r.steps for r in found(study)}
    assert {name for name, _ in steps} == {v.name for v in VARIANTS} | {"full precision", "trained on"}
    for variant in VARIANTS:
        for bits in (3, 1):
            spent = 20 if variant.from_nothing else 4 if variant.is_trained else 0
            assert steps[variant.name, bits] == spent
    assert json.loads((study / "full-checkpoints" / "run.json").read_text())["flags"]["steps"] == 16
    seeds = [r.seed for r in found(study) if (r.variant, r.bits) == ("QAT", 3)]
    assert sorted(seeds) == [0, 1]


def test_the_figures_are_those_of_the_checkpoints(folder, study):
    tokenizer = Tokenizer(folder / "model" / "tokenizer.json")
    blocks = load_blocks([Source.parse(f"{folder}/text.txt:200")], tokenizer, tiny_config(), 16)
    full = open_model(study / "full")
    rounded = prepare_qat(build_model(full), Plan(grid_for_bits(3)))
    for model, bits, variant in (
        (build_model(full), 16, "full precision"),
        (rounded, 3, "RTN"),
        (build_model(open_model(study / "1bit-QAT-seed0")), 1, "QAT"),
    ):
        (value,) = (r.perplexity for r in found(study) if (r.bits, r.variant, r.seed) == (bits, variant, 0))
        assert perplexity(EagerModel(model), blocks)[0] == value


def test_what_each_way_leaves_alone(study):
    start = qat_linears(prepare_qat(build_model(open_model(study / "full")), Plan(grid_for_bits(1))))
    learned = qat_linears(build_model(open_model(study / "1bit-QAT-seed0")))
    fixed = qat_linears(build_model(open_model(study / "1bit-fixed-alpha-seed0")))
    for name, linear in start.items():
        assert torch.equal(fixed[name].weight_clip_val, linear.weight_clip_val), name
        assert not torch.equal(learned[name].weight_clip_val, linear.weight_clip_val), name
        assert not torch.equal(fixed[name].weight, linear.weight), name
    even = open_model(study / "3bit-min-max-seed0").weights["layers.0.mlp.up_proj.weight"]
    assert max(len(row.unique()) for row in even) <= 8


def test_again_nothing_is_trained_or_measured(folder, study, monkeypatch, capsys):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    monkeypatch.setattr(studying, "perplexity", None)
    before = (study / "results.json").read_bytes()
    budget = ["--steps=20", "--qat-fraction=0.2", "--shape=tiny", "--bits=3,1", "--seeds=2"]
    assert (
        ablation.main(command(folder, *budget, "--tokenizer", str(folder / "model" / "tokenizer.json"))) == 0
    )
    assert (study / "results.json").read_bytes() == before
    assert "Held-out perplexity. In full precision: as it was" in capsys.readouterr().out
    tokenizer = ["--tokenizer", str(folder / "model" / "tokenizer.json")]
    with pytest.raises(ValueError, match="was begun with --steps 16, not with --steps 24"):
        ablation.main(command(folder, *["--steps=30", *budget[1:]], *tokenizer))
    with pytest.raises(ValueError, match=r"was begun with learning_rate None, not 0\.1; give the"):
        ablation.main(command(folder, *budget, *tokenizer, "--learning-rate=0.1"))


def test_low_bits_go_on_in_the_text_where_full_precision_ended(study):
    def skipped(run: str) -> int:
        return json.loads((study / f"{run}-checkpoints" / "run.json").read_text())["flags"]["skip_examples"]

    assert (skipped("full"), skipped("3bit-from-scratch-seed0")) == (0, 0)
    assert (skipped("3bit-QAT-seed0"), skipped("16bit-trained-on-seed0")) == (64, 64)


def test_what_rounding_loses_of_the_model_trained_on(folder, study):
    tokenizer = Tokenizer(folder / "model" / "tokenizer.json")
    blocks = load_blocks([Source.parse(f"{folder}/text.txt:200")], tokenizer, tiny_config(), 16)
    rounded = build_model(open_model(study / "16bit-trained-on-seed0"))
    prepare_qat(rounded, Plan(grid_for_bits(3)))
    (value,) = (r.perplexity for r in found(study) if (r.bits, r.variant) == (3, "RTN of trained on"))
    assert perplexity(EagerModel(rounded), blocks)[0] == value


def test_the_reference_is_trained_as_low_bits_are(tmp_path):
    """But for the rounding, and for the teacher, which would be the model itself."""
    words = [
        "--model=m",
        "--data=d",
        "--eval-data=e",
        "--preset=paretoq",
        "--distill=0.5",
        "--steps=5",
        "--use_cpu=True",
    ]
    study = _study(str(tmp_path), words)
    plans = (study._planned(4, QAT, 0), study._planned(16, TRAINED_ON, 0))
    low, reference = (training_arguments(config, rest, str(tmp_path)) for config, rest in plans)
    for name in ("learning_rate", "warmup_steps", "weight_decay", "adam_beta2", "bf16", "max_steps"):
        assert getattr(reference, name) == getattr(low, name), name
    assert [config.distill for config, _ in plans] == [0.5, 0.0]


def test_from_scratch_is_full_precisions_schedule(tmp_path):
    words = ["--tokenizer=t", "--data=d", "--eval-data=e", "--preset=paretoq", "--steps=50"]
    words += ["--qat-fraction=0.1", "--distill=0.5", "--use_cpu=True"]
    for teacher, distill in (([], 0.0), (["--teacher=m"], 0.5)):
        study = _study(str(tmp_path), [*words, *teacher])
        config, rest = study._planned(2, FROM_SCRATCH, 0)
        assert (config.steps, config.distill) == (50, distill)
        ours = training_arguments(config, rest, str(tmp_path))
        full = training_arguments(study.full, study.rest, str(tmp_path))
        for name in ("learning_rate", "warmup_steps", "weight_decay", "adam_beta2", "bf16"):
            assert getattr(ours, name) == getattr(full, name), name


def test_how_far_weights_moved(study):
    moved = {(r.variant, r.bits): r.moved for r in found(study) if r.seed == 0}
    assert all(0 < moved[variant, bits] < 1 for variant in ("QAT", "fixed alpha") for bits in (3, 1))
    assert {variant for (variant, _), share in moved.items() if share is not None} == {
        "trained on", "QAT", "fixed alpha",
    }  # fmt: skip
    start, trained = (build_model(open_model(study / name)) for name in ("full", "1bit-QAT-seed0"))
    before = torch.cat(
        [named_linears(start)[name].weight.detach().flatten() for name in qat_linears(trained)]
    )
    after = torch.cat([linear.weight.detach().flatten() for linear in qat_linears(trained).values()])
    assert moved["QAT", 1] == pytest.approx(
        float((after - before).abs().sum() / before.abs().sum()), rel=1e-5
    )


def test_a_model_that_is_quantised_is_no_start(folder):
    save_tiny(folder / "quantised", grid_for_bits(2))
    with pytest.raises(ValueError, match="quantised has 2 bits; the study starts from full precision"):
        ablation.main(command(folder, "--model", str(folder / "quantised"), "--steps=2", output="low"))


def test_only_a_run_that_diverges_is_a_result(folder):
    words = ["--model", str(folder / "model"), "--steps=2", "--bits=2", "--variants=QAT"]
    with pytest.raises(ValueError, match="--typo"):
        ablation.main(command(folder, *words, "--typo=3", output="typo"))
    with pytest.raises(ValueError, match="--embedding-bits is not for this command"):
        ablation.main(command(folder, *words, "--embedding-bits=8", output="typo"))
    assert ablation.main(command(folder, *words, "--mixed", "*down_proj=4", output="mixed")) == 0
    assert open_model(folder / "mixed" / "2bit-QAT-seed0").plan.others


def test_from_a_model_that_is_there(folder):
    words = ["--model", str(folder / "model"), "--steps=2", "--bits=2", "--variants=RTN,QAT"]
    assert ablation.main(command(folder, *words, output="there")) == 0
    assert {r.variant for r in found(folder / "there")} == {"full precision", "trained on", "RTN", "QAT"}


def test_a_run_that_diverges_is_a_result(folder, capsys):
    words = ["--model", str(folder / "model"), "--steps=4", "--bits=2", "--variants=QAT", "--logging_steps=1"]
    assert ablation.main(command(folder, *words, "--learning-rate=1e30", output="wild")) == 0
    (result,) = (r for r in found(folder / "wild") if r.variant == "QAT")
    assert result.perplexity is None
    assert "not finite" in result.failure
    assert "| 2 | - |" in capsys.readouterr().out


def test_the_table():
    results = Results(
        {"steps": 7, "data": "/a/b/c.txt:5 d.txt"},
        [
            Result(16, "full precision", 0, 0, math.exp(1.0)),
            Result(16, "trained on", 0, 7, math.exp(0.75)),
        ],
    )
    for variant, bits, seed, loss in (
        ("RTN", 2, 0, 3.0), ("QAT", 2, 0, 1.4), ("QAT", 2, 1, 1.6), ("RTN", 4, 0, 1.5), ("QAT", 4, 0, 0.9),
        ("RTN of trained on", 2, 0, 2.75),
    ):  # fmt: skip
        results.add(Result(bits, variant, seed, 7, math.exp(loss)))
    text = markdown(results)
    assert "as it was 2.718; trained on for as many steps 2.117." in text
    perplexity, won, missing = text.split("| bits |")[1:]
    assert "| 2 | 20.086 | 15.643 | 4.482 (4.055 to 4.953) |" in perplexity  # exp of 3, 2.75, 1.5, 1.4, 1.6
    assert "| 2 | 75.0% / 62.5% |" in won  # of 3 - 1, and of 2.75 - 0.75
    assert "| 4 | 120.0% / - |" in won  # of 1.5 - 1; how the other rounds is not known
    assert "| 2 | +0.500 / +0.750 |" in missing
    assert "| 4 | -0.100 / +0.150 |" in missing
    assert perplexity.index("| 4 |") < perplexity.index("| 2 |")
    assert "- steps 7; data b/c.txt:5 d.txt." in missing


def test_the_picture_says_what_lies_beyond_it():
    results = Results({}, [Result(16, "full precision", 0, 0, 10.0), Result(2, "RTN", 0, 0, 2000.4)])
    assert picture(results).axes[0].get_ylim()[1] > 2000  # with nothing trained, all is shown
    results.add(Result(2, "QAT", 0, 7, 12.0))
    axes = picture(results).axes[0]
    assert axes.get_ylim()[1] == pytest.approx(12 * math.exp(0.5))
    assert [text.get_text() for text in axes.texts] == ["RTN 2,000 \u2191"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model=m", "--bits=5"], "no weight format has 5 bits; choose one of 1, 1.58, 2, 3, 4"),
        (["--model=m", "--bits=16"], "no weight format has 16 bits"),
        (["--steps=5"], "give --model, or --tokens and --qat-fraction"),
        (["--model=m", "--variants=RTN,magic"], "--variants magic is unknown; choose from RTN, RTN min-max"),
        (["--model=m", "--variants=from scratch"], "from scratch needs a budget to divide"),
        (["--model=m", "--seeds=0"], "--seeds must be at least 1, not 0"),
        (["--model=m", "--steps=many"], "argument --steps: invalid int value: 'many'"),
    ],
)
def test_mistakes_are_one_sentence(folder, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        ablation.main(command(folder, *words, output="never"))
    assert not (folder / "never").exists()
