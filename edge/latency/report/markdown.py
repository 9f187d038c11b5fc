"""Markdown of a latency report: the answer, the circumstances, a table of every model and thread count."""

from __future__ import annotations

import html
import re
from pathlib import Path

from edge.latency.report import tables
from edge.latency.report.answers import remarks, title, unfinished, verdict
from edge.latency.report.figures import by_model
from edge.latency.report.notes import circumstances, meanings
from edge.latency.report.plots import fronts, headline
from edge.latency.report.svg import Drawing
from edge.latency.report.tables import Row, Table
from edge.latency.report.words import count, weights_words
from edge.latency.schema import Report

#: The file of the first screen's plot, beside the Markdown.
PICTURE_NAME = "picture.svg"
#: Files of the fronts of bytes and of time, beside it too.
FRONT_NAMES = ("bytes.svg", "time.svg")


def markdown(report: Report) -> str:
    """Format the answer, the circumstances and the headlines; the page holds every figure."""
    warning, has_speed = unfinished(report), report.device_kind.has_speed
    parts = [f"# {escaped(title(report))}", *([f"**{escaped(warning)}**"] if warning else [])]
    parts.append(escaped(verdict(report)))
    picture = headline(report) if has_speed else None
    parts += [f"![{escaped(picture.title)}]({PICTURE_NAME})"] if picture is not None else []
    for table in filter(None, (tables.widths(report), tables.overview(report))):
        parts += [f"{escaped(table.title)}:", _table(table)]
    parts.append(escaped(" ".join(remarks(report))))
    for name, drawing in front_pictures(report).items():
        parts += [f"## At equal {Path(name).stem}", f"![{escaped(drawing.title)}]({name})"]
        parts.append(escaped(drawing.finding))
    parts += ["## Circumstances", _list([f"{name}: {text}" for name, text in circumstances(report)])]
    if has_speed:
        parts += ["## How to read the figures", _list([f"{name}: {text}" for name, text in meanings()])]
    else:
        parts += ["## Programs"]
    return "\n\n".join([*parts, *_models(report)]) + "\n"


def front_pictures(report: Report) -> dict[str, Drawing]:
    """The fronts of the first programs whose perplexities compare, by their files' names."""
    rows = fronts(report) if report.device_kind.has_speed else []
    return dict(zip(FRONT_NAMES, rows[0], strict=False)) if rows else {}


def _models(report: Report) -> list[str]:
    parts = []
    for model, programs in by_model(report).items():
        parts.append(f"## {escaped(model)}, {escaped(weights_words(programs))}")
        if not report.device_kind.has_speed:
            parts.append(_table(tables.emulated(programs)))
            continue
        for threads in report.settings.threads:
            for table in tables.summary(report, programs, threads):
                parts += [f"{table.title}, {count(threads, 'thread')}:", _table(table)]
    return parts


def _table(table: Table) -> str:
    heads = [table.of, *table.heads]
    rule = ["---", *("---" if head in table.prose else "---:" for head in table.heads)]
    rows = [[escaped(head) for head in heads], rule, *(_cells(row, len(table.heads)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(row: Row, width: int) -> list[str]:
    name = f"**{escaped(row.name)}**" if row.is_choice else escaped(row.name)
    if row.failure is not None:
        return [name, *([escaped(f"failed: {row.failure}")] if width else []), *([""] * (width - 1))]
    return [name, *(escaped(f"{cell.text} {cell.aside}".strip()) for cell in row.cells)]


def _list(items: list[str]) -> str:
    return "\n".join(f"- {escaped(item)}" for item in items)


def escaped(text: str) -> str:
    """Escape text for Markdown, on one line."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)
