"""A latency report as one self-contained HTML page: no script, nothing fetched, plots as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edge.latency import figures, tables
from edge.latency.report.answers import answer, title, unfinished
from edge.latency.report.notes import circumstances, definitions, fairness
from edge.latency.report.plots import report as plots
from edge.latency.report.plots.drawing import Drawing
from edge.latency.schema import Report
from edge.latency.report.tables import Table
from edge.latency.report.words import count, weights_words

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Group:
    """Tables under a heading of their own."""

    heading: str
    tables: list[Table]


@dataclass(frozen=True)
class Section:
    """``text`` stands before rows of drawings and groups of tables; one with nothing else says why."""

    anchor: str
    heading: str
    text: str
    rows: list[list[Drawing]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)


def page(report: Report) -> str:
    """HTML that reads on a desktop, on a phone, in the dark and on paper; equal reports give equal pages."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["prose"] = lambda text: text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    environment.filters["svg"] = lambda drawing: Markup(drawing.svg)  # ``draw`` escaped what the report says
    return environment.get_template("page.html.j2").render(
        title=title(report),
        unfinished=unfinished(report),
        answer=" ".join(answer(report)),
        overview=tables.answers(report),
        circumstances=circumstances(report),
        fairness=fairness(),
        definitions=definitions(report),
        emulated=report.device.kind == "emulator",
        sections=_sections(report),
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
    )


def _sections(report: Report) -> list[Section]:
    if report.device.kind == "emulator":
        models = figures.by_model(report).items()
        groups = [Group(f"{name}, {weights_words(p)}", [tables.emulated(p)]) for name, p in models]
        return [Section("programs", "Programs", "", groups=groups)]
    sections = [
        _against_4bit(report),
        _rates(report),
        _lengths(report),
        _quality(report),
        _times(report),
        _roofline(report),
        _tables(report),
    ]
    return [section for section in sections if section.text or section.rows or section.groups]


def _section(anchor: str, heading: str, text: str, rows: list[list[Drawing]]) -> Section:
    """Without drawings its text would explain nothing."""
    return Section(anchor, heading, text if rows else "", rows)


_HOLLOW = "Full marks are ours, hollow ones the others'."
_LINES = "Lines reach from the least to the most of the rounds."


def _against_4bit(report: Report) -> Section:
    text = f"Right of 1 is faster, or larger. {_HOLLOW} {_LINES}"
    return _section("4-bit", "Against our own 4 bits", text, plots.speed_ups(report))


def _rates(report: Report) -> Section:
    text = f"Every program at every number of threads. {_HOLLOW} {_LINES}"
    return _section("rates", "Tokens per second", text, plots.rates(report))


def _lengths(report: Report) -> Section:
    threads = count(report.settings.threads[0], "thread")
    text = f"With {threads}. Our 4 bits are as dark as the text; the others are dashed, with hollow marks."
    return _section("lengths", "Over context and prompt", text, plots.lengths(report))


def _quality(report: Report) -> Section:
    heading = "Quality"
    if rows := plots.fronts(report):
        text = (
            "Perplexity of the programs themselves. They are compared with those of their model on the same "
            "tokens in the same blocks. A dominated one has another beside it that is no worse in both."
        )
        return Section("quality", heading, text, rows)
    if not figures.measured(report.programs):
        return Section("quality", heading, "")
    if any(program.quality for program in report.programs):
        return Section("quality", heading, "No two programs of one model have a perplexity on the same text.")
    trained = any(program.weights != "random" for program in report.programs)
    why = "no text was given to measure it on" if trained else "all weights are random"
    return Section("quality", heading, f"No perplexity is shown, because {why}.")


def _times(report: Report) -> Section:
    text = (
        "From runs of their own with one context, because tracing slows a program by some percent: read the "
        "shares, and take speeds from the other plots. llama.cpp has no such traces."
    )
    return _section("time", "Where a token's time goes", text, plots.times(report))


def _roofline(report: Report) -> Section:
    text = (
        "Each program's own limit, a short bar, is how often a pure read of a token's bytes would fit into a "
        "second. The read was timed on the program's own file, because what fits a cache is read faster. "
        f"{_HOLLOW}"
    )
    return _section("roofline", "Against memory", text, plots.rooflines(report))


def _tables(report: Report) -> Section:
    groups = []
    for model, programs in figures.by_model(report).items():
        groups.append(Group(f"{model}, {weights_words(programs)}", [tables.facts(programs)]))
        for threads in report.settings.threads:
            found = tables.speeds(report, programs, threads)
            traced = tables.traces(programs, threads)
            groups.append(
                Group(f"{model}, {count(threads, 'thread')}", [*found, *([traced] if traced else [])])
            )
    text = "Medians of the rounds, with the least and the most below them."
    return Section("tables", "All figures", text, groups=groups)
