"""A plan: what fits a device, ranked by predicted loss, with commands that parse."""

from __future__ import annotations

import math
import shlex
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge.cli import parse_flags
from edge.formats import grid_for_bits
from edge.latency.report.figures import pareto_front
from edge.latency.report.words import DASH
from edge.latency.schema import read_report, write_report
from edge.model.config import MOBILELLM
from edge.model.shapes import parse_shape
from edge.quantize.flags import QuantizeFlags
from edge.scaling.fit.data import data_of
from edge.scaling.fit.fitted import Fitted, HeldOut, Interval, read_fits, write_fits
from edge.scaling.laws import LAWS
from edge.scaling.laws.law import INPUTS
from edge.scaling.plan.__main__ import PlanFlags, main
from edge.scaling.plan.commands import commands
from edge.scaling.plan.device import fit_device
from edge.scaling.plan.law import AFTERWARDS, FROM_SCRATCH, FULL, Case, Loss, TrainingPlan
from edge.scaling.plan.laws import open_law
from edge.scaling.plan.limits import Limits, Need, parse_bytes, parse_seconds
from edge.scaling.plan.ours import OWN_FITS
from edge.scaling.plan.schema import Plan
from edge.scaling.plan.search import Choice, Work, fitting, programs, ranked
from edge.scaling.plan.shapes import candidate_shapes
from edge.scaling.plan.sizes import program_size
from edge.scaling.records import read_records
from edge.training.arguments import parse as parse_training
from export.to_pte import ExportFlags
from runtime_tests.scaling.kept_reports import ZEN3, ZEN5

LIMITS = ["--max-bytes=60MB", "--min-decode=20", "--max-first-token=1s"]


def plan_of(tmp_path, *words, device=ZEN5):
    output = tmp_path / "plan"
    assert main([f"--device={device}", "--train-tokens=2e10", f"--output={output}", *words]) == 0
    assert (output / "plan.svg").read_text().startswith("<svg")
    return Plan.model_validate_json((output / "plan.json").read_text())


def fit_of(law, values, ranges=None, way=""):
    return Fitted(
        law=law, way=way, text="a text", schedule="cosine", records=60,
        constants={name: Interval(value=v, low=v, high=v) for name, v in values.items()},
        samples=[list(values.values())], at_bounds=[], residuals=[-0.02, 0.0, 0.02],
        held_out={"largest": HeldOut(records=20, relative_error=0.004, low=0.003, high=0.005, r2=0.9)},
        ranges=dict.fromkeys(INPUTS, (0.0, 1e12)) | (ranges or {}),
    )  # fmt: skip


def own_fit(tmp_path, ranges=None, others=()):
    """A fit of our own law with constants that a test can follow by hand, at 2 and 4 bits."""
    values = {
        "A": 400.0, "alpha": 0.3, "B": 4000.0, "beta": 0.4, "E": 1.5, "C_4": 0.05, "C_2": 0.4,
        "gamma_D": 0.1, "gamma_N": 0.1, "gamma_Q": 0.05,
    }  # fmt: skip
    path = tmp_path / "fit.json"
    write_fits(path, [*others, fit_of("ours", values, ranges)])
    return path


@pytest.mark.parametrize("law", ["precision", "groups", "ours"])
def test_choices_fit_and_are_ranked(tmp_path, law):
    fit = [f"--fit={own_fit(tmp_path)}"] if law == "ours" else []
    plan = plan_of(tmp_path, *LIMITS, f"--law={law}", *fit)
    assert all(
        c.file_bytes <= 60e6 and c.decode_tokens_per_second >= 20 and c.first_token_seconds <= 1
        for c in plan.choices
    )
    losses = [choice.loss for choice in plan.choices]
    assert losses == sorted(losses)
    assert all(math.isfinite(loss) for loss in losses)
    front = pareto_front([(choice.file_bytes, choice.loss) for choice in plan.choices])
    assert [choice.on_front for choice in plan.choices] == front
    assert 1 < sum(front) < len(front)


def test_every_figure_of_a_choice_is_that_of_its_own_shape_and_width(tmp_path):
    plan = plan_of(tmp_path, *LIMITS, "--law=precision", "--prompt=64", "--context=200")
    device = fit_device(read_report(ZEN5), "report", None)
    for choice in plan.choices[::40]:
        grid, config = grid_for_bits(choice.bits), parse_shape(choice.shape)
        assert config == choice.config
        size = program_size(config, grid, 2048, "int8")
        assert choice.file_bytes == size.total
        assert 1 / choice.decode_tokens_per_second == pytest.approx(
            device.decode_seconds(config, grid, size, 200)
        )
        assert choice.first_token_seconds == pytest.approx(device.first_token_seconds(config, grid, size, 64))
        assert choice.memory_bytes == pytest.approx(device.memory_bytes(config, grid, size, 64, 200))


def test_losses_are_those_of_the_papers_formulas():
    config, bits, tokens = MOBILELLM["125M"], 4, 2e10
    n = config.parameters - 32000 * 576
    scratch, after = (Case(config, bits, tokens, way) for way in (FROM_SCRATCH, AFTERWARDS))

    def loss(parameters):
        return 4.299e3 * parameters**-0.4965 + 1.806e4 * tokens**-0.4965 + 2.7648

    damage = 0.0598 * tokens**0.5068 / n**0.3439 * math.exp(-4 / 0.5907)
    for reading, bias, post_bias in (("without biases", 0.0, 0.0), ("with biases", 0.3037, 1.1277)):
        law = open_law("precision", reading, None)
        counted = n * (1 - math.exp(-4 / 2.6745 + bias))
        # the other factors, at 16 bits, are of activations and of keys and values
        for gamma, shift in ((2.2102, 1.4072), (0.9578, 2.4185)):
            counted *= 1 - math.exp(-16 / gamma + (shift if bias else 0.0))
        assert law.predict(scratch).nats == pytest.approx(loss(counted), rel=1e-6)
        full = law.predict(Case(config, 16, tokens, FULL)).nats
        assert law.predict(after).nats - full == pytest.approx(damage * math.exp(post_bias), rel=1e-6)
    groups = open_law("groups", None, None).predict(scratch).nats
    plain = 237.7042 / n**0.3022 + 596.249 / tokens**0.3022 + 1.9279
    assert groups - plain == pytest.approx(
        0.2522 * tokens**0.161 * math.log2(576) ** 0.3533 / n**0.3589, rel=1e-6
    )


def test_paretoqs_points_are_the_published_ones_and_between_them_a_straight_line():
    law = open_law("paretoq", None, None)
    tell = lambda config: law.predict(Case(config, 2, 1e10, law.plans(config, 2, 1e10)[0])).nats  # noqa: E731
    assert math.exp(tell(MOBILELLM["125M"])) == pytest.approx(18.2)
    assert math.exp(tell(MOBILELLM["1.5B"])) == pytest.approx(8.3)
    between = tell(parse_shape("dim=768,layers=32,heads=12,kv_heads=4,ffn_dim=2048"))
    assert math.log(12.5) < between < math.log(18.2)
    assert law.plans(parse_shape("dim=128,layers=4,heads=2,kv_heads=1,ffn_dim=384"), 2, 1e10) == []


def test_our_own_law_gives_intervals_shares_and_where_it_extrapolates(tmp_path):
    law = open_law("ours", None, own_fit(tmp_path, {"parameters": (1e4, 1e7)}))
    config = MOBILELLM["125M"]
    shares = {plan.words: plan.low_bit_share for plan in law.plans(config, 2, 2e10)}
    n = config.parameters - 32000 * 576
    best = math.exp(-6.7297 / math.log(2e10 / (n * 2 / 8)))
    assert shares == {"last 10 %": 0.1, f"last {100 * best:.0f} %": pytest.approx(best), "from scratch": 1.0}
    assert law.plans(config, 3, 2e10) == []  # the fit has no constant of 3 bits
    assert (
        law.notes[-1] == "Without a fit of per-parameter, GPTQ per channel, nothing is quantised afterwards."
    )
    predicted = law.predict(Case(config, 2, 2e10, TrainingPlan("", "", 0.1)))
    plain = 400 / n**0.3 + 4000 / 2e10**0.4 + 1.5
    expected = plain + 0.4 * 2e10**0.1 / (n**0.1 * 2e9**0.05)
    assert predicted.nats == pytest.approx(expected)
    low, high = predicted.interval
    assert low < expected < high
    assert high / low == pytest.approx(math.exp(0.036), rel=0.01)  # 9 of 10 between the residuals' ends
    assert any("parameters" in words for words in predicted.outside)


def test_our_own_laws_tell_gptq_after_full_precision(tmp_path):
    """Loss and damage add, and so do the ends of their intervals; other ways to quantise are not taken."""
    values = {"C_T": 2.0, "gamma_D": 0.4, "gamma_post": 0.6, "D_0": 1e9}
    ranges = {"parameters": (1e4, 1e7), "post_bits": (2.0, 3.0)}
    damage = fit_of("per-parameter", values, ranges, "GPTQ per channel")
    other = fit_of("per-parameter", values | {"C_T": 9.0}, way="RTN per channel")
    law = open_law("ours", None, own_fit(tmp_path, others=[other, damage]))
    config = MOBILELLM["125M"]
    assert [plan.words for plan in law.plans(config, 2, 2e10)][-1] == AFTERWARDS.words
    assert law.plans(config, 3, 2e10) == [AFTERWARDS]  # of 3 bits the law of loss has no constant
    n = config.parameters - 32000 * 576
    plain = 400 / n**0.3 + 4000 / 2e10**0.4 + 1.5
    added = 2 * (2e10 / n) ** 0.4 * math.exp(-4 / 0.6 - 1e9 / 2e10)
    predicted = law.predict(Case(config, 4, 2e10, AFTERWARDS))
    assert predicted.nats == pytest.approx(plain + added)
    ends = [predicted.nats * math.exp(end) for end in (-0.02, 0.02)]  # both residuals, in one of nine draws
    assert predicted.interval == pytest.approx(ends, rel=1e-3)
    assert [words.split()[0] for words in predicted.outside] == ["parameters", "post_bits"]
    plan = plan_of(tmp_path, *LIMITS, "--law=ours", f"--fit={tmp_path}/fit.json")
    assert "GPTQ after" in {choice.training for choice in plan.choices}


def test_intervals_are_shown_and_extrapolation_is_said(tmp_path, capsys):
    fit = own_fit(tmp_path, {"parameters": (1e4, 5e7)})
    plan = plan_of(tmp_path, *LIMITS, "--law=ours", f"--fit={fit}")
    text = capsys.readouterr().out
    first = plan.choices[0]
    assert f"{first.loss:.3f} ({first.loss_low:.2f}{DASH}{first.loss_high:.2f})?" in text
    assert "losses are extrapolated beyond the law's runs; the first, in parameters" in text
    assert "The best within them has" in text
    assert "times and memory are extrapolated" in text
    assert "They compare with no other law's" in text


def test_context_and_prompt_beyond_the_reports_are_extrapolated(tmp_path):
    plan = plan_of(tmp_path, "--law=groups", "--context=1500", "--prompt=700")
    assert any("--context 1500 is extrapolated from 256" in words for words in plan.warnings)
    assert any("--prompt 700 is extrapolated from 128" in words for words in plan.warnings)
    within = plan_of(tmp_path, "--law=groups", device=ZEN3)
    assert not any("--context" in words or "--prompt" in words for words in within.warnings)


def test_a_limit_that_is_met_by_less_than_the_error_is_said(tmp_path):
    loose = plan_of(tmp_path, "--law=groups", "--max-bytes=50MB")
    rate = loose.choices[0].decode_tokens_per_second
    tight = plan_of(tmp_path, "--law=groups", "--max-bytes=50MB", f"--min-decode={0.99 * rate}")
    assert not any("meets" in words for words in loose.warnings)
    assert any("the first choice meets --min-decode by 1 %" in words for words in tight.warnings)


def test_the_kv_cache_is_the_reports_and_the_exporter_is_told(tmp_path):
    plan = plan_of(tmp_path, "--law=groups", device=ZEN3)
    assert plan.costs.kv_cache == "fp32"
    assert "--kv-cache fp32" in plan.commands[-1]


@pytest.mark.parametrize(
    ("bits", "training", "steps"),
    [
        (2, FROM_SCRATCH, ["edge.training", "export.to_pte"]),
        *((bits, FROM_SCRATCH, ["edge.training", "export.to_pte"]) for bits in (1, 1.58, 3, 4, 8)),
        (2, TrainingPlan("last 10 %", "", 0.1), ["edge.training", "export.to_pte"]),
        (8, TrainingPlan("last 10 %", "", 0.1), ["edge.training", "export.to_pte"]),
        (4, AFTERWARDS, ["edge.training", "edge.quantize", "export.to_pte"]),
        (16, FULL, ["edge.training", "export.to_pte"]),
    ],
)
def test_commands_parse(bits, training, steps):
    config = parse_shape("dim=320,layers=11,heads=5,kv_heads=1,ffn_dim=896")
    case = Case(config, bits, 2e9, training)
    need = Need(1, 1.0, 1.0, 1.0)
    lines = commands(Choice(case, grid_for_bits(bits), need, (), Loss(3.0)), "int8")
    words = [shlex.split(line) for line in lines]
    assert [each[:3] for each in words] == [["python", "-m", step] for step in steps]
    trained, rest = parse_training(words[0][3:])
    assert rest == []
    assert parse_shape(trained.shape) == config
    assert trained.tokens == 2e9
    low = training.low_bit_share
    assert trained.bits == (bits if low else 16)
    assert trained.how.name == ("minmax" if bits == 8 else "paretoq")
    assert trained.qat_fraction == (low if 0 < low < 1 else None)
    if low == 1:
        assert trained.learning_rate == 5e-4  # of training from nothing, not of going on at low bits
    exported = parse_flags(ExportFlags, words[-1][3:], "export.to_pte", "")
    assert float(exported.bits) == bits
    last = trained.output
    if len(words) == 3:
        quantized = parse_flags(QuantizeFlags, words[1][3:], "edge.quantize", "")
        assert (quantized.model, float(quantized.bits), quantized.group_size) == (last, bits, None)
        last = str(quantized.output)
    assert exported.model == last


def test_shapes_are_mobilellms_and_a_lattice_of_its_proportions():
    shapes = candidate_shapes(32000)
    assert set(MOBILELLM.values()) <= set(shapes)
    assert len(shapes) == len(set(shapes)) > 60
    for config in shapes:
        assert config.dim % 64 == config.ffn_dim % 64 == 0
        assert config.n_heads * config.head_dim == config.dim
        assert 2.5 <= config.ffn_dim / config.dim < 3.1
        assert config.tied_embedding
    assert {config.vocab_size for config in candidate_shapes(4096)} == {4096}
    assert all(a.dim <= b.dim for a, b in pairwise(shapes[len(MOBILELLM) :]))


@pytest.mark.parametrize(
    ("text", "value"), [("60MB", 60e6), ("1.5 GiB", 1.5 * 2**30), ("900kB", 9e5), ("7B", 7)]
)
def test_bytes_are_read(text, value):
    assert parse_bytes(text, "--max-bytes") == value


@pytest.mark.parametrize(("text", "value"), [("1s", 1.0), ("250ms", 0.25), ("1.5 s", 1.5)])
def test_seconds_are_read(text, value):
    assert parse_seconds(text, "--max-first-token") == value


@pytest.mark.parametrize("text", ["60", "MB", "60 mb", "-1MB", "0MB", "1e400MB", "60MB or so", "", "nanMB"])
def test_malformed_bytes_are_refused(text):
    with pytest.raises(ValueError, match="--max-bytes takes a positive number of B, kB, MB, GB"):
        parse_bytes(text, "--max-bytes")


def test_nothing_fits_names_the_limit_that_the_nearest_program_misses_most():
    device = fit_device(read_report(ZEN5), "report", None)
    found = programs(device, candidate_shapes(32000), Work(128, 256))
    fewest = min(found, key=lambda each: each.need.file_bytes)
    limits = Limits(max_bytes=fewest.need.file_bytes / 1.25)
    with pytest.raises(ValueError, match=r"nothing fits: .*misses --max-bytes by a factor of 1\.25"):
        fitting(found, limits)
    fastest = max(found, key=lambda each: each.need.decode_tokens_per_second)
    both = Limits(max_bytes=fewest.need.file_bytes, min_decode=2 * fastest.need.decode_tokens_per_second)
    with pytest.raises(ValueError, match=r"misses --min-decode by a factor of 2"):
        fitting(found, both)
    assert fitting(found, replace(limits, max_bytes=fewest.need.file_bytes)) == [
        each for each in found if each.need.file_bytes == fewest.need.file_bytes
    ]


def test_the_own_fit_is_of_the_own_records():
    """Records that were added without fitting again would be found here."""
    records = read_records([OWN_FITS.with_name("records.jsonl")])
    fits = read_fits(OWN_FITS).fits
    assert {fitted.text for fitted in fits} == {record.text for record in records}
    for fitted in fits:
        data = data_of(LAWS[fitted.law], records, fitted.way)
        assert (fitted.records, fitted.schedule) == (len(data.measured), data.schedule)
        residuals = np.log(data.measured) - np.log(fitted.predict(data.inputs))
        kept = (fitted.residuals[0], fitted.residuals[-1])
        assert (residuals.min(), residuals.max()) == pytest.approx(kept, abs=1e-4)
    assert "fitted to" in open_law("ours", None, None).source


def test_a_law_without_anything_to_say_is_refused():
    device = fit_device(read_report(ZEN5), "report", None)
    small = parse_shape("dim=128,layers=4,heads=2,kv_heads=1,ffn_dim=384")
    found = programs(device, [small], Work(128, 256))
    with pytest.raises(ValueError, match="--law paretoq tells nothing about the 5 programs that fit"):
        ranked(found, open_law("paretoq", None, None), 2e10)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--law=zeta"], "--law zeta is unknown; choose from ours, precision, groups, paretoq"),
        (
            ["--law=precision", "--reading=upside down"],
            "--reading upside down is none of --law precision: its readings are with biases, without biases",
        ),
        (["--law=paretoq", "--reading=W4A4"], "none of --law paretoq: it has one reading"),
        (["--law=ours", "--reading=W4A4"], "--reading is for a paper's constants"),
        (["--law=groups", "--fit=fit.json"], "--fit is for --law ours"),
        (["--law=ours", "--fit=nowhere.json"], "there is no file of fits nowhere.json"),
        (["--law=groups", "--max-bytes=60"], "--max-bytes takes a positive number of B, kB, MB"),
        (["--law=groups", "--max-first-token=1 hour"], "--max-first-token takes a positive number of ms, s"),
        (["--law=groups", "--min-decode=-3"], "--min-decode must be positive, not -3"),
        (["--law=groups", "--train-tokens=nan"], "--train-tokens must be positive, not nan"),
        (["--law=groups", "--context=5000"], "--context must lie in 1..2048, not 5000"),
        (["--law=groups", "--device=nowhere.json"], "there is no latency report of version 1 nowhere.json"),
        (["--law=groups", "--threads=9"], "--threads 9 was not measured"),
        (["--law=groups", "--max-bytes=10kB"], "nothing fits: the nearest"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        main([f"--device={ZEN5}", "--train-tokens=2e10", f"--output={tmp_path / 'plan'}", *words])
    assert not (tmp_path / "plan").exists()


def test_the_command_ends_with_code_2_for_an_emulated_device(tmp_path):
    report = read_report(ZEN5)
    silent = [p.model_copy(update={"runs": [], "traces": []}) for p in report.programs]
    device = report.device.model_copy(update={"kind": "emulator"})
    path = tmp_path / "report.json"
    write_report(report.model_copy(update={"device": device, "programs": silent}), path)
    command = [
        sys.executable,
        "-m",
        "edge.scaling.plan",
        f"--device={path}",
        "--train-tokens=1e9",
        "--law=groups",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "which has no speed" in ended.stderr


def test_flags_of_a_plan_have_help_for_each():
    with pytest.raises(SystemExit) as ended:
        parse_flags(PlanFlags, ["--help"], "edge.scaling.plan", "")
    assert ended.value.code == 0
