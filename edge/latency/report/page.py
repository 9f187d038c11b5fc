"""One self-contained HTML page of a latency report: no script, nothing fetched, plots as inline SVG."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from edge.latency.devices.core_names import with_core_names
from edge.latency.report import answers, figures, plots, tables
from edge.latency.report.notes import circumstances, meanings
from edge.latency.report.svg import Drawing
from edge.latency.report.tables import Table
from edge.latency.report.words import count, weights_words
from edge.latency.schema import Report

_HERE = Path(__file__).parent
_HOLLOW = "Filled: our programs. Hollow: other runtimes."
_LINES = "Lines span the rounds."


@dataclass(frozen=True)
class Group:
    """Tables under a heading of their own."""

    heading: str
    tables: list[Table]


@dataclass(frozen=True)
class Section:
    """A folded section: words, rows of drawings, groups of tables; ``is_reason``: the words suffice."""

    heading: str
    text: str = ""
    rows: list[list[Drawing]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    is_reason: bool = False


def page(report: Report) -> str:
    """Render HTML for desktop, phone, dark mode and paper; equal reports give equal pages."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["prose"] = lambda text: text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    environment.filters["svg"] = lambda drawing: Markup(drawing.svg)  # ``draw`` escaped the report's words
    has_speed = report.device_kind.has_speed
    return environment.get_template("page.html.j2").render(
        title=answers.title(report),
        unfinished=answers.unfinished(report),
        verdict=answers.verdict(report),
        picture=plots.headline(report) if has_speed else None,
        widths=tables.widths(report) if has_speed else None,
        conditions=_conditions(report) if has_speed else report.device.cpu,
        overview=tables.overview(report),
        remarks=" ".join(answers.remarks(report)),
        circumstances=circumstances(report),
        meanings=meanings() if has_speed else [],
        sections=_sections(report) if has_speed else [_checked(report)],
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
    )


def _conditions(report: Report) -> str:
    settings = report.settings
    threads, rounds = count(settings.threads[0], "thread"), count(settings.rounds, "round")
    cpu = with_core_names(report.device.cpu)
    where = f"{cpu}, {threads}, behind {settings.contexts[0]} tokens, medians of {rounds}."
    return f"{where} {_HOLLOW} Dashed: our 4 bits."


def _checked(report: Report) -> Section:
    models = figures.by_model(report).items()
    groups = [Group(f"{name}, {weights_words(p)}", [tables.emulated(p)]) for name, p in models]
    return Section("Programs", groups=groups)


def _sections(report: Report) -> list[Section]:
    threads = count(report.settings.threads[0], "thread")
    sections = [
        Section(
            "Against our own 4 bits",
            f"Right of 1 is faster, or larger. {_HOLLOW} {_LINES}",
            plots.speed_ups(report),
        ),
        Section("Tokens per second", f"{_HOLLOW} {_LINES}", plots.rates(report)),
        Section(
            "Over context and prompt",
            f"With {threads}. Our 4 bits have the colour of the text. Dashed and hollow: other runtimes.",
            plots.lengths(report),
        ),
        _quality(report),
        Section(
            "Where a token's time goes",
            "From traced runs, which are some percent slower: read the shares, not the times. "
            "llama.cpp has no traces.",
            plots.times(report),
        ),
        Section(
            "Against memory",
            "A short bar is a program's limit: how often a second a pure read of a token's bytes would fit, "
            f"timed on its own file. {_HOLLOW}",
            plots.rooflines(report),
        ),
        _tables(report),
    ]
    return [section for section in sections if section.rows or section.groups or section.is_reason]


def _quality(report: Report) -> Section:
    if rows := plots.fronts(report):
        text = f"Perplexity of the programs themselves, on the same tokens. {_HOLLOW}"
        return Section("Quality", text, rows)
    if any(program.quality for program in report.programs):
        why = "No two programs have a perplexity on the same text."
    else:
        trained = any(program.weights != "random" for program in report.programs)
        reason = "no text was given to measure it on" if trained else "all weights are random"
        why = f"No perplexity is shown, because {reason}."
    return Section("Quality", why, is_reason=bool(figures.measured(report.programs)))


def _tables(report: Report) -> Section:
    groups = []
    for model, programs in figures.by_model(report).items():
        groups.append(Group(f"{model}, {weights_words(programs)}", [tables.facts(programs)]))
        for threads in report.settings.threads:
            found = tables.speeds(report, programs, threads)
            if traced := tables.traces(programs, threads):
                found.append(traced)
            groups.append(Group(f"{model}, {count(threads, 'thread')}", found))
    return Section(
        "All figures", "Medians of the rounds, with the least and the most below them.", groups=groups
    )
