"""The Markdown of a report, and the sentences and tables that it shares with the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.latency.report.answers import remarks, unfinished, verdict
from edge.latency.report.figures import by_model
from edge.latency.report.markdown import markdown
from edge.latency.report.words import number
from edge.latency.schema import Report, read_report
from runtime_tests.latency.reports import emulated_report, made_up_report

REPORTS = Path(__file__).resolve().parents[3] / "edge/latency/reports"


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


def test_the_verdict_is_of_one_models_figures(report):
    for program in report.programs:
        for run in program.runs:
            speed = {"2 bits": 30.0, "4 bits": 20.0, "xnnpack-8da4w": 10.0}.get(program.label, 1.0)
            run.decode[256].tokens_per_second = speed
        if program.label in ("2 bits", "4 bits"):
            program.file_bytes = {"2 bits": 64, "4 bits": 100}[program.label]
    report.programs = [p for p in report.programs if p.label in ("2 bits", "4 bits", "xnnpack-8da4w", "fp32")]
    some = only(report, "125M")
    assert (
        verdict(some)
        == "Fastest: 2 bits, 1.50x as fast as 4 bits, 0.64x the bytes. Its quality is not known."
    )
    assert remarks(some)[0] == "Our 4 bits decode 2.00x as fast as xnnpack-8da4w, the fastest of the others."
    for line in ("Imaginary CPU", "Threads: 1 and 2", "decode at 256"):
        assert line in markdown(some)


def test_the_width_to_ship_is_the_fastest_with_little_more_perplexity(report):
    """The story model's 2 bits have 6.1 % more perplexity than its 4 bits, its 3 bits 1.5 %."""
    best = "Ship 3 bits of story model: the fastest with at most 5 % more perplexity than 4 bits, 1."
    assert verdict(report).startswith(best)
    assert "| **3 bits** | 13.30 |" in markdown(report)
    slow = only(report, "story model")
    for run in next(p for p in slow.programs if p.label == "3 bits").runs:
        run.decode[256].tokens_per_second = 1.0
    assert verdict(slow).startswith(
        "Ship 4 bits: every faster width has over 5 % more perplexity. Fastest: 1 bit"
    )
    slow.programs = [p for p in slow.programs if p.label in ("3 bits", "4 bits")]
    assert verdict(slow) == "Ship 4 bits: no width is faster."


def test_the_tables_span_models_and_the_remarks_say_what_weights_they_have(report):
    widths, overview, *_ = tables(markdown(report))
    perplexities = {row[0].strip(" *"): row[1].strip() for row in widths[2:]}
    assert list(perplexities.items())[:3] == [("1 bit", "14.70"), ("1.58 bits", "14.20"), ("2 bits", "13.90")]
    assert [row[0].split(",")[0].strip() for row in overview[2:]] == ["story model", "125M", "1B"]
    assert all(re.match(r" 1\.\d\dx 0\.\d\dx the bytes ", row[1]) for row in overview[2:])
    text = " ".join(remarks(report))
    assert "story model: trained weights; random: llama.cpp." in text
    assert "125M and 1B: random weights, which give a program its speed and size but no quality." in text


def test_without_4_bits_no_speed_up_is_told(report):
    report.programs = [p for p in report.programs if p.label != "4 bits"]
    assert verdict(report).startswith("Fastest: 1 bit of story model. Our own 4 bits were not measured")
    assert "our 4 bits" not in markdown(report).lower()


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


def test_the_report_in_the_tree_is_what_its_samples_give():
    paths = sorted(REPORTS.glob("*/report.json"))
    assert paths
    for path in paths:
        made = markdown(read_report(path))
        assert path.with_name("report.md").read_text(encoding="utf-8") == made, f"--render {path} anew"


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


def test_the_markdown_has_the_fronts_of_bytes_and_time_where_quality_is_known(report):
    text = markdown(report)
    for what in ("bytes", "time"):
        section = text.split(f"## At equal {what}\n\n")[1].split("\n\n")
        assert section[0].startswith("![story model: perplexity and ")
        assert section[0].endswith(f"]({what}.svg)")
        assert section[1].startswith(f"Within the {what} of 4 bits, ")
    assert "At equal" not in markdown(only(report, "125M"))
    assert "At equal" not in markdown(emulated_report())
