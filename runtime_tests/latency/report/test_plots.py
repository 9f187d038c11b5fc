"""Plots as SVG that a page holds inline, and the small decisions behind them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from edge.latency.report import figures, plots
from edge.latency.report.charts import Line, Mark, curves, dots, round_ratios, spaced, token_times
from edge.latency.report.figures import Spread
from edge.latency.report.planes import Point, front
from edge.latency.report.svg import COLOURS, INK, PAPER, Drawing, shorten
from edge.latency.schema import Trace
from runtime_tests.latency.report.contrast import contrast
from runtime_tests.latency.reports import made_up_report

NASTY = '_<b>"$x$"& #010203 1.23456'


def mark(row: str, value: float, own: bool = True, series: str = "125M") -> Mark:
    return Mark(row, series, own, Spread(value, value * 0.9, value * 1.1, 3))


def texts(drawing: Drawing) -> list[str]:
    return [
        element.text or "" for element in ET.fromstring(drawing.svg).iter() if element.tag.endswith("text")
    ]


def test_equal_figures_give_equal_bytes_whatever_was_drawn_before():
    marks = [mark("2 bits", 1.4), mark("fp32", 0.7, own=False)]
    first = dots("title", "finding", "x", marks, "ratio")
    dots("another", "finding", "y", marks[:1])
    assert dots("title", "finding", "x", marks, "ratio") == first


def test_ink_and_paper_and_font_are_the_pages():
    svg = dots("title", "finding", "x", [mark("fp32", 1.0, own=False)]).svg
    assert "currentColor" in svg
    assert "var(--paper)" in svg
    assert not re.search(f"{INK}|{PAPER}|#000000|black|font-family|DejaVu", svg)


def test_an_svg_has_nothing_that_leaks_into_its_page():
    svg = dots("one", "finding", "x", [mark("2 bits", 1.0), mark("fp32", 2.0, own=False)], "ratio").svg
    assert not re.search(r' (id|class|href|xlink:href|style)="', svg)
    assert "<style" not in svg
    assert "<metadata" not in svg
    assert not re.search(r"<svg[^>]* (width|height)=", svg)


def test_names_are_text_whatever_they_hold():
    drawing = dots(NASTY, NASTY, NASTY, [mark("2 bits", 1.0, series=NASTY), mark(NASTY, 2.0)])
    assert "<b>" not in drawing.svg
    assert shorten(NASTY) in texts(drawing)
    label = re.search('aria-label="([^"]*)"', drawing.svg)
    assert label is not None
    assert label[1].startswith("_&lt;b&gt;&quot;$x$&quot;&amp; #010203 1.23456")


def test_long_names_keep_their_ends():
    assert shorten("4 bits") == "4 bits"
    short = shorten("2 bits, int8 cache (a-directory-with-a-long-name)")
    assert short.startswith("2 bits, in")
    assert short.endswith("long-name)")
    assert len(short) <= 22


@pytest.mark.parametrize("page", ["#ffffff", "#15181c"])
def test_colours_stand_out_on_light_and_on_dark(page):
    for colour in COLOURS:
        assert colour == INK or contrast(colour, page) >= 3


def test_what_is_far_beyond_ours_is_told_in_words():
    marks = [mark("1 bit", 1.5), mark("4 bits", 1.0), mark("fp32", 0.12, own=False)]
    words = texts(dots("title", "finding", "x", marks, "ratio"))
    assert "← 0.12x" in words
    assert "1x" in words
    assert "0.1x" not in words


def test_ticks_of_a_ratio_axis_hold_1_and_stand_apart():
    assert round_ratios(0.45, 1.7, 5) == [0.5, 0.75, 1, 1.5]
    assert round_ratios(0.85, 1.19, 5) == [0.9, 1, 1.1]
    assert round_ratios(0.05, 20, 5) == [0.1, 1, 10]


def test_names_beside_lines_are_moved_apart_and_kept_in_order():
    placed = spaced([5.0, 5.1, 9.9, 0.0], gap=1.0, low=0.0, high=10.0)
    assert placed == pytest.approx([5.0, 6.0, 9.9, 0.0])
    crowded = spaced([9.9, 9.8, 9.7], gap=1.0, low=0.0, high=10.0)
    assert crowded == pytest.approx([10.0, 9.0, 8.0])


def test_a_line_names_every_program_and_every_length():
    spread = Spread(3.0, 2.0, 4.0, 3)
    lines = [Line(name, True, False, {32: spread, 128: spread}) for name in ("1 bit", "2 bits")]
    words = texts(curves("title", "finding", [128, 32], "context", lines))
    assert {"1 bit", "2 bits", "32", "128"} <= set(words)


def test_every_row_is_named_however_many_there_are():
    names = [f"program {index}" for index in range(12)]
    trace = Trace(threads=1, context=8, token_ms=2.0, group_ms={"linears": 1.5, "rest": 0.5})
    assert set(names) <= set(texts(token_times("title", "finding", [(name, True, trace) for name in names])))
    assert set(names) <= set(texts(dots("title", "finding", "x", [mark(name, 1.0) for name in names])))


def test_a_front_says_which_points_are_dominated():
    points = [Point("a", Spread(1, 1, 1, 1), 5.0, True), Point("b", Spread(2, 2, 2, 1), 6.0, False)]
    meaning = "dominated: another is no worse in both"
    assert meaning in texts(front("t", "f", ("MB", "perplexity"), points, False))
    assert meaning not in texts(front("t", "f", ("MB", "perplexity"), points[:1], False))


def test_findings_are_of_the_figures():
    report = made_up_report()
    for program in report.programs:
        for run in program.runs:
            run.decode[256].tokens_per_second = {"2 bits": 30.0, "4 bits": 20.0}.get(program.label, 24.0)
    first = plots.speed_ups(report)[0]
    assert [drawing.title for drawing in first] == [
        "Speed of decode at 256, 1 thread",
        "Speed of prefill of 128, 1 thread",
        "Size of the file",
    ]
    ours = "1 bit 1.20x, 1.58 bits 1.20x, 2 bits 1.50x, 3 bits 1.20x"
    assert first[0].finding == f"{ours} and the others 1.20x."
    ((sizes, times),) = plots.fronts(report)
    assert sizes.finding == (
        "Within the bytes of 4 bits, none has less perplexity. On the front: 1 bit, 1.58 bits, 2 bits, "
        "3 bits, 4 bits and fp32. Dominated: xnnpack-8da4w. Trained weights."
    )
    assert times.finding.startswith(
        "Within the time of 4 bits, fp32 has the least perplexity, 12.90 instead of 13.10. On the front: "
        "2 bits and fp32. Dominated: 1 bit, 1.58 bits"
    )
    assert "mixed weights" in plots.rates(report)[0][0].title


def test_models_with_one_text_share_a_front_and_the_least_perplexity_at_equal_bytes_is_named():
    report = made_up_report()
    trained = {p.label: p.quality for p in report.programs if p.quality is not None}
    for program in report.programs:
        if program.model == "125M":  # larger, and better at every width
            program.weights, quality = "trained", trained.get(program.label)
            program.quality = quality and quality.model_copy(update={"perplexity": quality.perplexity - 3})
            program.file_bytes //= 30  # so that its fewest bits have the bytes of the other's most
    ((sizes, times),) = plots.fronts(report)
    assert sizes.title.startswith("story model and 125M: perplexity and file size (heldout.txt")
    best = min(
        (p for p in report.programs if p.quality and p.file_bytes <= 3_190_000),
        key=lambda p: p.quality.perplexity,
    )
    assert best.name.startswith("125M")
    assert sizes.finding.startswith(
        f"Within the bytes of story model 4 bits, {best.name} has the least perplexity, "
        f"{best.quality.perplexity:.2f} instead of 13.10. On the front: "
    )
    assert "125M 2 bits" in sizes.finding
    assert "Within the time of story model 4 bits, none has less perplexity." in times.finding


def test_a_tokens_time_is_of_each_runs_own_rate():
    report = made_up_report()
    (program, *_) = report.programs
    rates = [run.decode[256].tokens_per_second for run in program.runs if run.threads == 1]
    spread = figures.figure(program, 1, figures.token_time(256))
    assert (spread.least, spread.most) == (1e3 / max(rates), 1e3 / min(rates))
