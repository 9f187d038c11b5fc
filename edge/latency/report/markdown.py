"""A latency report as Markdown: the answer, the circumstances and a table of every model and thread count."""

from __future__ import annotations

import html
import re

from edge.latency import tables
from edge.latency.report.answers import answer, title, unfinished
from edge.latency.report.figures import by_model
from edge.latency.report.notes import circumstances, definitions, fairness
from edge.latency.schema import Report
from edge.latency.report.tables import Row, Table
from edge.latency.report.words import count, weights_words


def markdown(report: Report) -> str:
    """The report's headlines with their spreads; the page holds every figure."""
    warning = unfinished(report)
    parts = [f"# {escaped(title(report))}", *([f"**{escaped(warning)}**"] if warning else [])]
    parts.append(escaped(" ".join(answer(report))))
    if overview := tables.answers(report):
        parts += [f"{escaped(overview.title)}:", _table(overview)]
    parts += ["## Circumstances", _list([f"{name}: {text}" for name, text in circumstances(report)])]
    if report.device.kind == "emulator":
        parts += ["## Programs"]
    else:
        meanings = [f"{name}: {text}" for name, text in definitions(report)]
        parts += ["## How to read the figures", _list([*fairness(), *meanings])]
    return "\n\n".join([*parts, *_models(report)]) + "\n"


def _models(report: Report) -> list[str]:
    parts = []
    for model, programs in by_model(report).items():
        parts.append(f"## {escaped(model)}, {escaped(weights_words(programs))}")
        if report.device.kind == "emulator":
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
    if row.failure is not None:
        return [
            escaped(row.name),
            *([escaped(f"failed: {row.failure}")] if width else []),
            *([""] * (width - 1)),
        ]
    return [escaped(row.name), *(escaped(f"{cell.text} {cell.aside}".strip()) for cell in row.cells)]


def _list(items: list[str]) -> str:
    return "\n".join(f"- {escaped(item)}" for item in items)


def escaped(text: str) -> str:
    """On one line, and nothing in it taken for markup."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)
