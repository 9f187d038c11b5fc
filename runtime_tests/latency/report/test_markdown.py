"""The Markdown of a report, and the sentences and tables that it shares with the page."""

from __future__ import annotations

import re

import pytest

from edge.latency.report.answers import answer, unfinished
from edge.latency.report.figures import by_model
from edge.latency.report.markdown import markdown
from edge.latency.report.words import number
from edge.latency.schema import Report
from runtime_tests.latency.reports import emulated_report, made_up_report


@pytest.fixture
def report() -> Report:
    return made_up_report()


def only(report: Report, *models: str) -> Report:
    return report.model_copy(update={"programs": [p for p in report.programs if p.model in models]})


def tables(text: str) -> list[list[list[str]]]:
    """Every table's rows of cells."""
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block] for block in blocks]


def test_numbers_have_three_digits():
    values = (0.01234, 0.9996, 9.994, 9.996, 99.94, 99.96, 12345.6)
    assert [number(value) for value in values] == ["0.012", "1.00", "9.99", "10.0", "99.9", "100", "12346"]


def test_the_answer_is_of_one_models_figures(report):
    for program in report.programs:
        for run in program.runs:
            speed = {"2 bits": 30.0, "4 bits": 20.0, "xnnpack-8da4w": 10.0}.get(program.label, 1.0)
            run.decode[256].tokens_per_second = speed
        if program.label in ("2 bits", "4 bits"):
            program.file_bytes = {"2 bits": 64, "4 bits": 100}[program.label]
    report.programs = [p for p in report.programs if p.label in ("2 bits", "4 bits", "xnnpack-8da4w", "fp32")]
    assert answer(only(report, "125M"))[:2] == [
        "On Imaginary CPU, 1 thread, behind 256 tokens, 125M, 2 bits decodes 1.50x as fast as our 4 bits "
        "with 0.64x of their bytes.",
        "Our 4 bits decode 2.00x as fast as xnnpack-8da4w, the fastest of the others.",
    ]


def test_the_answer_spans_models_and_says_what_weights_they_have(report):
    text = " ".join(answer(report))
    assert re.search(r"over 3 models, 1 bit decodes 1\.\d\d to 1\.\d\dx as fast as our 4 bits", text)
    assert "Perplexity of story model: 1 bit 14.70, 1.58 bits 14.20, 2 bits 13.90" in text
    assert "story model: trained weights; random: llama.cpp." in text
    assert "125M and 1B: random weights, which give a program its speed and size but no quality." in text


def test_without_4_bits_no_speed_up_is_told(report):
    report.programs = [p for p in report.programs if p.label != "4 bits"]
    assert answer(report)[0].startswith("Our own 4 bits were not measured")
    assert "our 4 bits" not in markdown(report)


def test_a_table_has_every_program_and_the_reason_of_a_failure(report):
    text = markdown(only(report, "1B"))
    speeds = tables(text)[1]  # behind that of the widths
    assert speeds[0][:3] == [" program ", " file, MB ", " decode at 256, tok/s "]
    assert [row[0].strip() for row in speeds[2:]] == [p.label for p in by_model(report)["1B"]]
    (failed,) = [row for row in speeds if row[0] == " fp32 "]
    assert failed[1] == " failed: was killed (SIGKILL), as the system does when memory runs out "
    assert {len(row) for row in speeds} == {len(speeds[0])}


def test_a_figure_stands_with_its_spread(report):
    rates = [50.0, 10.0, 20.0, 30.0, 40.0]
    program = report.programs[8]
    for run in program.runs:
        run.decode[256].tokens_per_second = rates[run.round]
    row = next(row for row in tables(markdown(only(report, "125M")))[1] if row[0] == f" {program.label} ")
    assert row[2] == " 30.0 (10.0\N{EN DASH}50.0) "


def test_speed_ups_name_the_opponent_in_the_head(report):
    (head, *_) = tables(markdown(only(report, "125M")))[2]
    names = ("our 4 bits", "xnnpack-8da4w", "fp32", "llama.cpp TQ2_0")
    whats = ("decode at 256", "prefill of 128")
    assert [cell.strip() for cell in head] == ["program", *(f"{w} over {n}" for n in names for w in whats)]


def test_an_emulator_has_no_speed():
    text = markdown(emulated_report())
    assert "An emulator has no speed." in text
    assert "tok/s" not in text
    assert "by its exporter, bit for bit" in text


def test_an_unfinished_report_says_how_many_rounds_it_has(report):
    assert unfinished(report) is None
    report.finished = False
    report.programs[0].runs = [run for run in report.programs[0].runs if run.round < 2]
    assert "**Unfinished: 2 of 5 rounds exist for every program; figures may change.**" in markdown(report)


def test_nothing_in_a_report_is_markup(report):
    report.programs[0].label = "a|b <i>*c*</i> `d` [e](f)\ng"
    text = markdown(only(report, "story model"))
    assert r"a\|b &lt;i&gt;\*c\*&lt;/i&gt; \`d\` \[e\](f) g" in text
    assert "<i>" not in text


@pytest.mark.parametrize("change", ["one program", "one round", "nothing"])
def test_small_reports(report, change):
    if change == "one program":
        report.programs = report.programs[:1]
    elif change == "nothing":
        report.programs = []
    else:
        for program in report.programs:
            program.runs = [run for run in program.runs if run.round == 0]
    assert markdown(report).startswith("# Latency on a made-up machine, 2026-01-02\n")
