"""The analysis answers from records whose answers are known."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest

from edge.latency.schema import DecodeSample, ProgramRecord, Report, Run, Settings
from edge.model.config import ModelConfig
from edge.scaling.analysis import (
    combined,
    damage,
    fronts,
    held_out,
    noise,
    schedules,
    shares,
    turning,
    widths,
)
from edge.scaling.analysis.__main__ import main
from edge.scaling.analysis.widths import Row
from edge.scaling.fit.fit import fit
from edge.scaling.fit.fitted import FitFile, write_fits
from edge.scaling.laws import LAWS
from edge.scaling.records import PostQuantization
from runtime_tests.scaling.kept_reports import ZEN5
from runtime_tests.scaling.some_records import PARAMETERS, record, write_records
from runtime_tests.scaling.synthetic import made_by, true_constants


def rounded(loss, trained, bits=3, **training):
    return record(
        loss, post=PostQuantization(method="rtn", weight_bits=bits, trained_loss=trained), **training
    )


def seeds(*losses, **training):
    return [record(loss, seed=seed, **training) for seed, loss in enumerate(losses)]


def test_noise_is_the_spread_of_seeds():
    runs = [*seeds(3.0, 3.02), *seeds(2.0, 2.1, 2.2, tokens=2_000_000), record(1.0, tokens=3_000_000)]
    # the squares of all three runs' deviations, over 1 + 2 degrees of freedom
    assert noise.Noise(runs).trained == pytest.approx(((0.02**2 / 2 + 2 * 0.1**2) / 3) ** 0.5)
    found = noise.section(runs)
    assert "0.0821 nats, all such runs pooled, and of 0.1000 at most" in found.answer[0]
    assert len(found.tables[0].rows) == 3
    assert noise.section([record()]) is None


def test_differences_that_count():
    """A margin is 2 deviations times sqrt(1/n + 1/m); a way to quantise has its own deviation."""
    three = [rounded(loss, 2.0, seed=seed) for seed, loss in enumerate((2.1, 2.2, 2.3))]
    one = rounded(2.5, 2.0, tokens=2_000_000)
    other = rounded(2.5, 2.0, bits=4)
    runs = [*seeds(2.0, 2.1, 2.2), *three, one, other]
    found = {len(mean.losses) * mean.record.post.weight_bits: mean for mean in damage.quantized(runs)}
    margin = noise.Noise([*runs, *seeds(3.0, 3.4, tokens=9_000_000)])
    assert margin.of_loss(found[9], found[3]) == pytest.approx(2 * 0.1 * (1 / 3 + 1) ** 0.5)
    # damages of .1, .2 and .3: logarithms of them are compared
    logs = statistics.stdev(math.log(damage) for damage in (0.1, 0.2, 0.3))
    assert margin.of_damage(found[3], found[9]) == pytest.approx(2 * logs * (1 / 3 + 1) ** 0.5)
    # nothing was quantised to 4 bits twice, so that the noise of training stands in: .02 + .08 over 3
    assert margin.of_loss(found[4], found[4]) == pytest.approx(2 * (0.1 / 3) ** 0.5 * 2**0.5)
    assert margin.of_sum(2) == pytest.approx(2 * (0.1 / 3) ** 0.5 * 2)  # a, b, both, and once full precision
    assert margin.of_sum(3) == pytest.approx(2 * (0.1 / 3) ** 0.5 * 8**0.5)


def test_damage_that_grows_is_counted():
    """Steps of 1.5 times the tokens at least, from the last back: 14 is too close to 15."""
    runs = [
        rounded(3.0 + added, 3.0, parameters=size, tokens=tokens * 100_000)
        for size, line in (
            (100, {10: 0.1, 14: 0.5, 15: 0.2, 30: 0.15}),
            (200, {10: 0.05, 20: 0.06, 40: 0.08}),
            (300, {10: 0.0001, 20: 0.0002}),  # neither can be seen
        )
        for tokens, added in line.items()
    ]
    found = damage.section(runs)
    assert found.answer[0].startswith("In 3 of 4 steps to 1.5 times the tokens or more")
    assert "between 4 pairs of trained models" in found.answer[0]
    assert found.tables[0].rows[1:] == [
        ["RTN per channel, 3 bits", "4", "3", "1", "0"],
        ["all", "4", "3", "1", "0"],
    ]
    noisy = [rounded(3.1 + 0.01 * seed, 3.0, parameters=400, seed=seed) for seed in range(2)]
    # .1 and .11 of two seeds: a factor of exp(2 sqrt(2) ln(1.1) / sqrt(2)) = 1.21 counts as none
    assert damage.section([*runs, *noisy]).tables[0].rows[1] == [
        "RTN per channel, 3 bits",
        "4",
        "2",
        "1",
        "1",
    ]
    assert damage.section([record()]) is None


def test_powers_of_damage_by_the_tokens_they_end_at():
    """To 4 tokens each damage doubles with the tokens, from there to 40 it doubles where they are tenfold."""
    line = {200_000: 0.01, 400_000: 0.02, 4_000_000: 0.04}
    runs = [rounded(3.0 + added, 3.0, parameters=100_000, tokens=tokens) for tokens, added in line.items()]
    found = damage.section(runs)
    assert found.tables[1].rows[1:] == [
        ["up to 5", "1", "1.00", "1.00", "1.00"], ["up to 80", "1", "0.30", "0.30", "0.30"]
    ]  # fmt: skip
    assert "was 1.00 in the median of 1 step up to 5 tokens" in found.answer[1]
    assert found.answer[1].endswith("0.30 in that of 1 step up to 80. 2411.04330 has 0.51 for all.")


def test_a_point_beyond_which_training_hurts():
    losses = {3: (2.6, 2.5, 2.7), 4: (2.5, 2.4, 2.3), 2: (2.9, 2.80, 2.805)}
    runs = [
        rounded(loss, 2.0, bits, tokens=1_000_000 * 2**step)
        for bits, line in losses.items()
        for step, loss in enumerate(line)
    ]
    noisy = seeds(2.0, 2.01, tokens=7_000_000)  # so that .005 of the 2 bits, and no more, is none
    found = turning.section([*runs, *noisy])
    assert found.answer[0].startswith("Yes: in 1 of 3 series")
    assert "by more than noise: RTN per channel, 3 bits." in found.answer[0]
    assert [row[0] for row in found.tables[0].rows[1:]] == ["RTN per channel, 3 bits"]
    unknown = turning.section(runs[3:]).answer[0]
    assert unknown.startswith("Yes: in 1 of 2 series")
    assert "(its noise is not known): RTN per channel, 2 bits." in unknown
    assert turning.section(runs[3:6]).answer[0].startswith("Not here: in all 1 series")
    close = [
        rounded(loss, 2.0, tokens=tokens)
        for loss, tokens in ((3, 10**6), (2.5, 19 * 10**5), (2.6, 2 * 10**6))
    ]
    assert turning.section(close).answer[0].startswith("Not here")  # 5 % more tokens are no step


def test_damage_by_schedule():
    added = {"cosine": 0.2, "linear": 0.1, "constant_with_warmup": 0.05}
    trained = {"cosine": 2.0, "linear": 2.05, "constant_with_warmup": 2.3}
    runs = [rounded(trained[name] + one, trained[name], schedule=name) for name, one in added.items()]
    found = schedules.section(runs)
    linear, constant, _ = found.answer
    assert linear.startswith("Linear: damage was 0.50 times that of a cosine in the median, and less (its")
    assert "is not known) in 1 of 1 pairs" in linear
    assert linear.endswith("losses were +0.050 nats off the cosine's in the median; after it they were lower "
                           "(its noise is not known) in 1.")  # fmt: skip
    assert "damage was 0.25 times" in constant
    assert constant.endswith("lower (its noise is not known) in 0.")  # 2.35 against 2.2
    cells = ["RTN per channel, 3 bits", "0.2000 (2.200)", "0.1000 (2.150)", "0.0500 (2.350)"]
    assert found.tables[0].rows[1][2:] == cells
    assert schedules.section(runs[:2]) is None


def test_the_best_share():
    by_share = {0.1: 3.0, 0.3: 2.9, 0.6: 2.95, 1.0: 3.1}
    runs = [
        record(loss, low_bit_tokens=round(1_000_000 * share), weight_bits=2.0, method="paretoq")
        for share, loss in by_share.items()
    ]
    rows = shares.section(runs).tables[0].rows
    assert rows[1][:6] == ["2", "55.5 K", "18", "30%", "30%", "0.100"]
    # 1e6 tokens over 55,536 / 4 bytes: exp(-6.7297 / ln 72.0)
    assert rows[1][6] == "21%"
    lucky = runs[1].model_copy(update={"loss": 2.0})
    other_seed = lucky.model_copy(update={"training": lucky.training.model_copy(update={"seed": 1})})
    assert shares.section([*runs, other_seed]).tables[0].rows[1][3] == "30%"  # by the seed that all have
    assert shares.section([*runs, other_seed]).tables[0].rows[1][5] == "0.100"
    assert shares.section(runs[:2]) is None


def test_widths_tell_amounts_of_text_apart():
    """4.5 and 5 tokens for each parameter are two rows, whichever comes first."""
    runs = [
        record(loss, tokens=tokens, **low)
        for tokens, added in ((250_000, 0.5), (277_500, 0.0))
        for loss, low in (
            (3.0 + added, {}),
            (3.1 + added, {"low_bit_tokens": tokens, "weight_bits": 4.0, "method": "paretoq"}),
            (3.2 + added, {"low_bit_tokens": tokens, "weight_bits": 2.0, "method": "paretoq"}),
        )
    ]
    for order in (runs, runs[::-1]):
        rows = widths.section(order).tables[0].rows[1:]
        assert rows == [
            ["55.5 K", "4.5", "3.500", "+0.100", "+0.200"], ["55.5 K", "5", "3.000", "+0.100", "+0.200"]
        ]  # fmt: skip


def test_widths_compare_the_seeds_that_all_have():
    low = {"low_bit_tokens": 100_000, "weight_bits": 4.0, "method": "paretoq"}
    eight = low | {"weight_bits": 8.0, "method": "minmax"}
    runs = [
        *seeds(3.0, 2.0), record(3.1, **low), record(9.0, seed=2, **low), record(3.2, **eight),
        record(3.3, **(low | {"method": "minmax"})),
    ]  # fmt: skip
    assert widths.section(runs).tables[0].rows == [
        ["low bits the last tenth", "tokens each", "full precision", "8 by minmax", "4", "4 by minmax"],
        ["55.5 K", "18", "3.000", "+0.200", "+0.100", "+0.300"],
    ]


def test_parts_together_and_alone():
    """Costs of .1 and .2 nats where parameters reduce .5: sum .3, product .5 (1.2 * 1.4 - 1) = .34."""
    law = LAWS["full"]
    full = fit(law, made_by(law, true_constants(law), 0.0, 0), 1, 1)
    constants = full.constants | {
        "A": full.constants["A"].model_copy(update={"value": 0.5 * PARAMETERS**0.5}),
        "alpha": full.constants["alpha"].model_copy(update={"value": 0.5}),
    }
    fits = FitFile(fits=[full.model_copy(update={"constants": constants})])
    low = {"low_bit_tokens": 1_000_000, "method": "paretoq"}
    runs = [
        record(3.0), record(3.1, weight_bits=4.0, **low), record(3.2, activation_bits=4.0, **low),
        record(3.33, weight_bits=4.0, activation_bits=4.0, **low),
        record(4.0, weight_bits=2.0, kv_bits=4.0, **low),  # 2 bits alone are missing
    ]  # fmt: skip
    found = combined.section(runs, fits)
    assert found.tables[0].rows[1:] == [["55.5 K", "4", "4", "16", "+0.330", "+0.300", "+0.340"]]
    assert "was 0.030 nats off in the median, (its noise is not known) in 1" in found.answer[0]
    assert found.answer[0].endswith("their product was 0.010 off, (its noise is not known) in 1.")
    noisy = seeds(2.0, 2.022, tokens=9_000_000)  # .0156, and .062 for a sum of two
    told = combined.section([*runs, *noisy], fits).answer
    assert "was 0.030 nats off in the median, by more than noise in 0" in told[0]
    assert told[1].startswith("Sum and product differ by 0.040 nats at most, less than noise")
    assert combined.section(runs, FitFile(fits=[])) is None


def test_laws_compare_where_they_were_fitted_to_the_same_runs():
    law = LAWS["precision"]
    runs = made_by(law, true_constants(law), 0.01, 0)
    fits = [fit(LAWS[name], runs, 1, 1) for name in ("full", "precision", "tokens")]
    found = held_out.section(FitFile(fits=fits))
    assert len(found.tables) == 1
    assert {row[0].partition(":")[0] for row in found.tables[0].rows[1:]} == {"precision", "tokens"}
    assert "Of the 2 laws of the same" in found.answer[1]
    assert held_out.section(FitFile(fits=fits[:2])) is None


def test_what_widths_cost():
    low = {4: 3.05, 2: 3.2, 1: 3.1}
    runs = [record(3.0)] + [
        record(loss, low_bit_tokens=100_000, weight_bits=float(bits), method="paretoq")
        for bits, loss in low.items()
    ]
    found = widths.section(runs)
    assert found.tables[0].rows == [
        ["low bits the last tenth", "tokens each", "full precision", "4", "2", "1"],
        ["55.5 K", "18", "3.000", "+0.050", "+0.200", "+0.100"],
    ]
    told = "With low bits the last tenth, of 3 pairs of neighbouring widths, the fewer bits were worse "
    told += "{} in {}, "
    assert found.answer[0].startswith(
        told.format("(its noise is not known)", 2) + "better in 1, and as good in 0"
    )
    noisy = seeds(2.0, 2.06, tokens=7_000_000)  # and .12 counts
    noise = widths.section([*runs, *noisy]).answer[0]
    assert noise.startswith(told.format("by more than noise", 1) + "better in 0, and as good in 2")
    eight = record(3.02, low_bit_tokens=100_000, weight_bits=8.0, method="minmax")
    scratch = [record(3.01, low_bit_tokens=1_000_000, weight_bits=b, method="minmax") for b in (8.0, 4.0)]
    assert (
        widths.section([*runs, eight, *scratch])
        .answer[-1]
        .startswith(
            "8 bits, which round least, cost in the median +0.020 the last tenth, and +0.010 from scratch."
        )
    )


def test_the_command_writes_text_and_pictures(tmp_path, capsys):
    damages = made_by(LAWS["post"], true_constants(LAWS["post"]), 0.01, seed=0)
    runs = made_by(LAWS["precision"], true_constants(LAWS["precision"]), 0.01, 0)
    fits = [
        fit(LAWS["post"], damages, 2, 5, "GPTQ per channel"),
        *(fit(LAWS[name], runs, 1, 2) for name in ("full", "precision")),
    ]
    write_fits(tmp_path / "fit.json", fits)
    write_records(tmp_path / "runs.jsonl", [*runs, *damages])
    words = [f"--records={tmp_path}/runs.jsonl", f"--output={tmp_path}/out", f"--fits={tmp_path}/fit.json"]
    assert main(words) == 0
    assert "4 questions, 474 records" in capsys.readouterr().out
    text = (tmp_path / "out/README.md").read_text()
    assert "306 trained models of 50 K to 1.6 M parameters" in text
    for picture in ("damage-1.svg", "turning-1.svg"):
        assert f"({picture})" in text
        assert (tmp_path / "out" / picture).read_text().startswith("<svg")
    assert "| published |  | 0.507 | 0.344 | 0.591 |  |" in text
    assert "post (damage after training): of 1 ways to quantise, damage grows with the tokens in 1" in text


def test_records_that_cannot_be_compared(tmp_path):
    path = tmp_path / "runs.jsonl"
    write_records(path, [record(), record().model_copy(update={"text": "another text"})])
    with pytest.raises(ValueError, match="records of 2 texts do not compare: another text, some text"):
        main([f"--records={path}", f"--output={tmp_path}/out"])
    other = fit(LAWS["full"], made_by(LAWS["full"], true_constants(LAWS["full"]), 0.01, 0), 1, 1)
    write_fits(tmp_path / "fit.json", [other.model_copy(update={"text": "another text"})])
    write_records(path, [record()])
    with pytest.raises(ValueError, match="was fitted to losses of another text, not of some text"):
        main([f"--records={path}", f"--output={tmp_path}/out", f"--fits={tmp_path}/fit.json"])
    write_records(path, [rounded(3.1, 3.0)])
    with pytest.raises(ValueError, match="there is no trained model among the records"):
        main([f"--records={path}", f"--output={tmp_path}/out"])


def measured(parameters, bits, kilobytes, microseconds):
    """A program as a report holds it, of the shape that a record of so many parameters has."""
    shape = record(parameters=parameters).shape
    config = ModelConfig(
        shape.vocab_size, shape.dim, shape.layers, shape.heads, shape.kv_heads, shape.ffn_dim, shape.head_dim
    )
    run = Run(
        round=0, threads=1, prefill={8: 1.0}, decode={16: DecodeSample(tokens_per_second=1e6 / microseconds)}
    )
    return ProgramRecord(
        name=f"{parameters}-{bits}", model=str(parameters), label=str(bits), recipe="lowbit", format="int",
        bits=bits, weights="random", parameters=parameters, config=config, file_bytes=1000 * kilobytes,
        sha256="", linear_bits_per_weight=bits, kv_cache="int8", kv_bytes_per_position=1, runs=[run],
    )  # fmt: skip


def test_widths_at_equal_bytes_and_time():
    """Losses fall by the logarithm of bytes; at the bytes that both have 2 bits win, and in time 4 bits."""
    runs, programs = [], []
    for size, four, two in ((1_000_000, 3.0, 3.1), (2_000_000, 2.8, 2.9), (4_000_000, 2.6, 2.7)):
        for bits, loss in ((16.0, 2.0), (4.0, four), (2.0, two)):
            low = (
                {} if bits == 16 else {"low_bit_tokens": 1_000_000, "weight_bits": bits, "method": "paretoq"}
            )
            runs.append(record(loss, size, tokens=10_000_000, **low))
        programs += [measured(size, 4.0, size // 1000, 100 * size / 1e6)]
        programs += [measured(size, 2.0, size // 2000, 400 * size / 1e6)]
    settings = Settings(threads=[1], prompts=[8], contexts=[16], generated=4, rounds=1)
    report = Report.model_construct(programs=programs, settings=settings, device=SimpleNamespace(cpu="a CPU"))
    found = fronts.section(runs, report)
    assert found.tables[0].rows == [
        ["bytes of the file, kB (10 M tokens)", "4 bits", "2 bits"],
        ["1000.0", "3.000", "2.900"],
        ["2000.0", "2.800", "2.700"],
        ["4000.0", "2.600", ""],  # no program of 2 bits is as large
    ]
    against = "10 M tokens, against 4 bits (its noise is not known): 2 bits better in {}, worse in {} of {}."
    assert found.answer[1].endswith(against.format(2, 0, 2))
    assert found.answer[3].endswith(against.format(0, 1, 1))
    noisy = seeds(2.0, 2.06, tokens=9_000_000)  # .085 between two runs, and twice that counts
    assert fronts.section([*runs, *noisy], report).answer[1].endswith("2 bits better in 0, worse in 0 of 2.")
    assert [row[2] for row in found.tables[2].rows[1:]] == ["", "", "3.100"]
    assert len(found.drawings) == 3
    assert fronts.section(runs, report.model_copy(update={"programs": []})) is None
    twice = report.model_copy(update={"programs": [*programs, programs[0].model_copy()]})
    with pytest.raises(ValueError, match="two programs of one shape at 4 bits, 1000000-4"):
        fronts.section(runs, twice)
    unknown = [p.model_copy(update={"linear_bits_per_weight": None}) for p in programs]
    assert len(fronts.section(runs, report.model_copy(update={"programs": unknown})).tables) == 2


def test_sizes_with_other_text_do_not_compare():
    """Ten tokens for each parameter: the larger model saw twice as many."""
    rows = [
        Row(record(parameters=size).shape, size, tokens, {(4.0, "paretoq"): 3.0}, 1)
        for size, tokens in ((1_000, 10_000), (2_000, 20_000), (4_000, 21_000), (2_000, 21_000))
    ]
    found = fronts._of_alike_text(rows)
    assert [[row.parameters for row in same] for same in found] == [[1_000], [2_000, 4_000], [2_000]]


def test_fits_of_other_records_and_programs_of_other_shapes_are_refused(tmp_path):
    damages = made_by(LAWS["post"], true_constants(LAWS["post"]), 0.01, seed=0)
    write_records(tmp_path / "runs.jsonl", [record(), *damages[8:]])
    write_fits(tmp_path / "fit.json", [fit(LAWS["post"], damages, 1, 1, "GPTQ per channel")])
    words = [f"--records={tmp_path}/runs.jsonl", f"--output={tmp_path}/out"]
    with pytest.raises(ValueError, match="has a fit of post, GPTQ per channel to other records; fit again"):
        main([*words, f"--fits={tmp_path}/fit.json"])
    with pytest.raises(ValueError, match="has no programs of two sizes of the records"):
        main([*words, f"--device={ZEN5}"])
    (tmp_path / "runs.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"runs\.jsonl holds no records"):
        main(words)
    assert not (tmp_path / "out").exists()
