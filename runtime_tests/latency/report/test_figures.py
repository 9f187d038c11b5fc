"""Figures made from samples, on values that can be checked by hand."""

from __future__ import annotations

import pytest

from edge.latency.report import figures
from edge.latency.report.figures import Spread
from edge.latency.schema import DecodeSample, ProgramRecord, Run
from runtime_tests.latency.reports import KINDS, SETTINGS, emulated_report, made_up_report, program


def with_runs(label: str, rates: dict[int, float], **known: float) -> ProgramRecord:
    """One thread; ``rates`` of decoding behind 256 tokens by round."""
    record = program("125M", next(kind for kind in KINDS if kind[0] == label), 125_000_000, 1)
    record.runs = [
        Run(round=index, threads=1, prefill={}, decode={256: DecodeSample(tokens_per_second=rate)}, **known)
        for index, rate in rates.items()
    ]
    return record


DECODE = figures.decode(256)


def test_a_spread_is_the_median_of_what_is_known_and_its_ends():
    assert figures.spread([3.0, None, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0, 3)
    assert figures.spread([None]) is None


def test_a_speed_up_is_of_the_rounds_that_both_have():
    ours, theirs = with_runs("2 bits", {0: 2.0, 1: 40.0, 2: 9.0}), with_runs("4 bits", {0: 1.0, 1: 10.0})
    assert figures.speed_up(ours, theirs, 1, DECODE) == Spread(3.0, 2.0, 4.0, 2)
    assert figures.speed_up(ours, theirs, 2, DECODE) is None


def test_less_time_is_a_speed_up_too():
    ours, theirs = with_runs("2 bits", {0: 1.0}, load_ms=2.0), with_runs("4 bits", {0: 1.0}, load_ms=6.0)
    ratio = figures.speed_up(ours, theirs, 1, figures.LOAD)
    assert ratio is not None
    assert ratio.median == pytest.approx(3.0)


def test_a_failed_program_counts_nowhere():
    good, failed = with_runs("2 bits", {0: 1.0}), with_runs("4 bits", {0: 1.0})
    failed.failure = "ran out of memory"
    assert figures.measured([good, failed]) == [good]


def test_opponents_are_our_4_bits_and_every_other_recipe():
    programs = figures.by_model(made_up_report())["125M"]
    base = figures.own_4bit(programs)
    assert base is not None
    assert base.label == "4 bits"
    expected = ["4 bits", "xnnpack-8da4w", "fp32", "llama.cpp TQ2_0"]
    assert [p.label for p in figures.opponents(programs)] == expected
    assert figures.own_4bit([p for p in programs if p is not base]) is None  # xnnpack's 4 bits are not ours


def test_a_roofline_share_is_the_read_of_a_tokens_bytes_over_its_time():
    record = with_runs("4 bits", {0: 10.0}, read_seconds=0.04)
    record.file_bytes, record.kv_bytes_per_position = 1_000_000, 1000
    # the cache up to the middle of the 32 tokens behind 256
    assert figures.bytes_per_token(record, 256, SETTINGS) == 1_272_000
    share = figures.roofline_share(record, 1, 256, SETTINGS)
    bandwidth = figures.read_bandwidth(record, 1)
    assert share is not None
    assert bandwidth is not None
    assert share.median == pytest.approx(0.04 * 1.272 / 0.1)
    assert bandwidth.median == pytest.approx(25e6)
    assert figures.roofline_share(with_runs("4 bits", {0: 10.0}), 1, 256, SETTINGS) is None


def test_a_point_is_dominated_by_one_that_is_no_worse_in_both():
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 4.5), (3.0, 4.0), (2.0, 4.0)]
    assert figures.pareto_front(points) == [True, True, False, False, True]


def test_perplexities_compare_on_the_same_text_and_in_one_model():
    report = made_up_report()
    (group,) = figures.comparable_qualities(report.programs)
    assert {p.model for p in group} == {"story model"}
    other = group[0].quality
    assert other is not None
    group[0].quality = other.model_copy(update={"block": 256})
    (rest,) = figures.comparable_qualities(report.programs)
    assert rest == group[1:]
    report.programs[-1].quality = group[1].quality  # of another model
    assert figures.comparable_qualities(report.programs) == [rest]
    (both,) = figures.comparable_qualities(report.programs, across_models=True)
    assert both == [*rest, report.programs[-1]]


def test_rounds_are_complete_when_every_program_has_them_at_every_thread_count():
    report = made_up_report()
    assert figures.complete_rounds(report) == 5  # the failed program has none
    report.programs[3].runs = [run for run in report.programs[3].runs if (run.round, run.threads) != (4, 2)]
    assert figures.complete_rounds(report) == 4
    assert figures.complete_rounds(emulated_report()) == 0
