"""Costs of a device: made-up ones are found again, and kept reports predict the programs left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.formats import LINEAR_GRIDS
from edge.latency.schema import read_report
from edge.model.config import NAMED_MODELS
from edge.model.shapes import parse_shape
from edge.scaling.plan.amounts import READ, decode_amounts, known_bytes, prefill_amounts
from edge.scaling.plan.device import fit_device
from edge.scaling.plan.fit import Row, fit_costs, leave_out
from edge.scaling.plan.programs import measured_programs
from edge.scaling.plan.sizes import program_size
from runtime_tests.scaling.kept_reports import ZEN3, ZEN5, report_of_costs, total

GRIDS = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
COSTS = {
    "decode": {
        **{f"bytes of linears, {grid.name}": 3e-11 + 1e-11 * i for i, grid in enumerate(GRIDS)},
        "bytes of the head": 5e-11,
        "layers": 7e-6,
        "multiplications of attention": 1.5e-10,
        READ: 0.0,
    },
    "prefill": {
        **{f"multiplications, {grid.name}": 2e-12 + 1e-13 * i for i, grid in enumerate(GRIDS)},
        "multiplications of attention": 2e-10,
        "layers": 1e-4,
    },
    "start": {"process": 3e-3, **{f"bytes of linears, {grid.name}": 4e-10 for grid in GRIDS}},
    "memory": {"process": 6e6, **{f"bytes of linears, {grid.name}": 0.1 * i for i, grid in enumerate(GRIDS)}},
}
#: Between the shapes that were measured.
CONFIG = parse_shape("dim=768,layers=36,heads=12,kv_heads=4,ffn_dim=2048")


@pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: grid.name)
def test_costs_that_a_report_was_made_of_predict_a_shape_between(grid):
    device = fit_device(report_of_costs(COSTS), "report", None)
    size = program_size(CONFIG, grid, 2048, device.kv_cache)
    decode = total(COSTS["decode"], decode_amounts(CONFIG, grid, size.linears, size.head, 400))
    assert device.decode_seconds(CONFIG, grid, size, 400) == pytest.approx(decode, rel=1e-3)
    start = 3e-3 + 4e-10 * size.linears
    prefill = total(COSTS["prefill"], prefill_amounts(CONFIG, grid, 300))
    first = device.first_token_seconds(CONFIG, grid, size, 300)
    assert first == pytest.approx(start + prefill, rel=1e-3)
    extra = 6e6 + COSTS["memory"][f"bytes of linears, {grid.name}"] * size.linears
    known = known_bytes(CONFIG, size.total, device.kv_cache, 128, 256)
    assert device.memory_bytes(CONFIG, grid, size, 128, 256) == pytest.approx(known + extra, rel=1e-3)
    assert all(error.largest < 1e-3 for error in device.errors.values())


def test_bytes_beyond_a_cache_cost_more_and_its_size_is_found():
    report = report_of_costs(COSTS)
    for program in (p for p in report.programs if p.is_own):
        beyond = max(0.0, program.file_bytes - 600_000 - 16e6)  # about the bytes that a token reads
        for run in program.runs:
            for sample in run.decode.values():
                sample.tokens_per_second = 1 / (1 / sample.tokens_per_second + 9e-11 * beyond)
    device = fit_device(report, "report", None)
    assert device.decode.cache_bytes == 16e6
    assert device.decode.costs.of["bytes beyond the cache"] == pytest.approx(9e-11, rel=0.05)


@pytest.mark.parametrize(
    ("path", "threads", "bounds"),
    [
        (ZEN5, 1, {"decode": 0.10, "first token": 0.08, "memory": 0.01}),
        (ZEN3, 1, {"decode": 0.06, "first token": 0.05, "memory": 0.01}),
    ],
)
def test_programs_left_out_of_the_kept_reports_are_predicted(path, threads, bounds):
    errors = fit_device(read_report(path), str(path), threads).errors
    for what, bound in bounds.items():
        assert 0 < errors[what].usual < bound, what
        assert errors[what].usual < errors[what].wide <= errors[what].largest < 0.2, what
        assert errors[what].figures >= 15


def test_activations_and_cache_are_counted():
    config = parse_shape("125M")
    # 30 layers x (keys and values) x 3 heads x (64 int8 and a float32 scale), and float32 [8, ...] of x twice
    # and of the feed-forward
    expected = 1000 + 30 * 2 * 3 * (64 + 4) * 10 + 4 * 8 * (576 + 576 + 1536)
    assert known_bytes(config, 1000, "int8", 8, 10) == expected


def test_a_program_left_out_is_predicted_by_the_others_alone():
    rows = [Row(name, {"bytes": amount}, value, value) for name, amount, value in
            [("a", 1.0, 2.0), ("b", 2.0, 4.0), ("c", 3.0, 12.0)]]  # fmt: skip
    error = leave_out(rows, [frozenset("c")], fit_costs)
    assert error.largest == pytest.approx(0.5)  # 6 instead of 12: its own row would have pulled it up
    assert fit_costs(rows).of["bytes"] > 2.0


def test_shapes_between_the_ends_are_left_out_whole():
    """Programs of one shape cost double at all widths: their siblings would have told."""
    report = report_of_costs(COSTS)
    assert all(error.largest < 1e-3 for error in fit_device(report, "report", None).shape_errors.values())
    sizes = sorted({p.config.linear_parameters for p in measured_programs(report, "report")})
    odd = [p for p in measured_programs(report, "report") if p.config.linear_parameters == sizes[1]]
    for program in odd:
        for sample in program.record.runs[0].decode.values():
            sample.tokens_per_second /= 2
    errors = fit_device(report, "report", None).shape_errors["decode"]
    assert errors.largest == pytest.approx(0.5, abs=0.05)
    assert errors.figures == 3 * len(odd) * len(report.settings.contexts)  # of five shapes three lie between


def test_what_lies_beyond_the_report_is_said():
    device = fit_device(read_report(ZEN3), "report", 1)
    grid, config = device.grids[0], parse_shape("125M")
    assert device.outside(config, grid) == ()
    wide = replace(config, vocab_size=8 * config.vocab_size)
    assert [words.partition(" 1")[0] for words in device.outside(wide, grid)] == ["weights of the head"]
    deep = replace(config, n_layers=20 * config.n_layers)
    assert device.outside(deep, grid)[0].startswith("weights of linears")


def test_a_width_that_only_one_program_has_is_not_judged():
    rows = [Row("a", {"int2": 1.0}, 1.0, 1.0), Row("b", {"int4": 1.0}, 1.0, 1.0)]
    assert leave_out(rows, [frozenset("a"), frozenset("b")], fit_costs) is None


def _none_of(report, what):
    for program in report.programs:
        for run in program.runs:
            setattr(run, what, None)
    return report


def test_without_peaks_or_first_tokens_the_rest_is_predicted():
    report = _none_of(_none_of(read_report(ZEN3), "first_token_ms"), "peak_resident_bytes")
    device, whole = fit_device(report, "report", 1), fit_device(read_report(ZEN3), "report", 1)
    size = program_size(CONFIG, GRIDS[0], 2048, "fp32")
    assert not device.has_start
    assert device.first_token_seconds(CONFIG, GRIDS[0], size, 128) < whole.first_token_seconds(
        CONFIG, GRIDS[0], size, 128
    )
    assert device.memory_bytes(CONFIG, GRIDS[0], size, 128, 256) == known_bytes(
        CONFIG, size.total, "fp32", 128, 256
    )


def _keep(report, keeps):
    return report.model_copy(update={"programs": [p for p in report.programs if keeps(p)]})


def _renamed(report):
    programs = [
        p.model_copy(update={"model": "mine", "name": f"mine {p.label} {p.model}"}) for p in report.programs
    ]
    return report.model_copy(update={"programs": programs})


@pytest.mark.parametrize(
    ("change", "threads", "sentence"),
    [
        (lambda r: _keep(r, lambda p: not p.is_own), 1, "no runs of our own programs"),
        (lambda r: _keep(r, lambda p: p.model == "1B"), 1, "programs of one shape, 1B.*need two"),
        (_renamed, 1, "does not tell the shapes of its programs"),
        (lambda r: r, 7, "--threads 7 was not measured in report.json; it has 1, 2"),
    ],
)  # fmt: skip
def test_a_report_that_lacks_something_is_refused(change, threads, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_device(change(read_report(ZEN5)), "report.json", threads)


def test_a_report_that_keeps_shapes_needs_no_published_names():
    report = read_report(ZEN5)
    named = fit_device(report, "report.json", 1)
    kept = _renamed(report)
    for program, before in zip(kept.programs, report.programs, strict=True):
        if program.is_own:
            config = NAMED_MODELS[before.model]
            grid = next(grid for grid in GRIDS if grid.name == program.format)
            program.config, program.head_bytes = config, program_size(config, grid, 2048).head
    assert fit_device(kept, "report.json", 1).decode == named.decode


def test_a_file_of_another_size_is_not_of_the_shape_that_its_name_says():
    report = read_report(ZEN5)
    for program in report.programs:
        program.file_bytes = program.file_bytes * 102 // 100
    with pytest.raises(ValueError, match="does not tell the shapes"):
        fit_device(report, "report.json", 1)


def test_an_emulator_has_no_costs():
    report = read_report(ZEN5)
    programs = [p.model_copy(update={"runs": [], "traces": []}) for p in report.programs]
    device = report.device.model_copy(update={"kind": "emulator"})
    with pytest.raises(ValueError, match="which has no speed; measure a device"):
        fit_device(report.model_copy(update={"device": device, "programs": programs}), "report.json", 1)
