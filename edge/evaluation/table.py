"""Write the results as one Markdown table with notes, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from edge.evaluation.candidate import Facts
from edge.evaluation.multiple_choice import Accuracy, Share
from edge.evaluation.perplexity import Perplexity

NONE = "-"
#: Packages whose release can change a figure.
PACKAGES = ("edge-lowbit", "torch", "executorch", "tokenizers", "sentencepiece", "lm_eval")
ABOUT_ACCURACY = (
    "An accuracy is raw / normalised, each with one standard error: raw takes the choice of the largest "
    "summed log-probability, normalised that of the largest such sum per character, which are acc and "
    "acc_norm of lm-eval."
)


@dataclass(frozen=True)
class Row:
    """Figures of one model; every row has the same figures in the same order."""

    facts: Facts
    figures: list[Perplexity | Accuracy]


def as_json(rows: list[Row]) -> str:
    """Return every field of every figure; shares are of 1, a perplexity beyond float64 is ``Infinity``."""
    return json.dumps({"versions": _versions(), "models": [_record(row) for row in rows]}, indent=2) + "\n"


def markdown(rows: list[Row]) -> str:
    """Return a row per model and a column per figure, and notes on what the figures mean."""
    head = ["model", "kind", "bits", *map(heading, rows[0].figures), "weight bytes"]
    lines = [head, ["---", "---"] + ["---:"] * (len(head) - 2)]
    for row in rows:
        about = [row.facts.model, row.facts.kind, f"{row.facts.bits:g}"]
        lines.append([*about, *map(cell, row.figures), f"{row.facts.weight_bytes:,}"])
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return table + "\n" + "".join(f"- {note}\n" for note in _notes(rows))


def heading(figure: Perplexity | Accuracy) -> str:
    return f"{'perplexity' if isinstance(figure, Perplexity) else 'accuracy %'} {figure.text}"


def cell(figure: Perplexity | Accuracy) -> str:
    if isinstance(figure, Perplexity):
        return NONE if figure.value is None else f"{figure.value:.3f}"
    return f"{_share(figure.raw)} / {_share(figure.normalized)}"


def _share(share: Share | None) -> str:
    return NONE if share is None else f"{100 * share.value:.1f} ± {100 * share.standard_error:.1f}"


def _notes(rows: list[Row]) -> Iterator[str]:
    """Explain each column; a note that does not hold for all models names its models."""
    for column in zip(*(row.figures for row in rows), strict=True):
        models: dict[str, list[str]] = {}
        for row, figure in zip(rows, column, strict=True):
            for words in _explain(figure):
                models.setdefault(words, []).append(row.facts.model)
        for words, names in models.items():
            whose = "" if len(names) == len(rows) else f" ({', '.join(names)})"
            yield f"{heading(column[0])}{whose}: {words}."
    if any(isinstance(figure, Accuracy) for figure in rows[0].figures):
        yield ABOUT_ACCURACY


def _explain(figure: Perplexity | Accuracy) -> Iterator[str]:
    if isinstance(figure, Accuracy):
        yield f"{figure.questions:,} questions; {figure.scoring}"
        if figure.shortened:
            yield f"the context of {figure.shortened:,} texts was cut to fit the model's positions"
        distances = [s.distance for s in (figure.raw, figure.normalized) if s and s.distance is not None]
        if distances:
            points = " / ".join(f"{100 * each:.1f}" for each in distances)
            yield f"the fake-quantised model's is at most {points} points away"
    elif figure.refused is not None:
        yield figure.refused
    else:
        yield f"{figure.tokens:,} tokens predicted; {figure.convention}"
        if figure.factor is not None:
            yield f"the fake-quantised model's is within a factor {figure.factor:.6g}"


def _record(row: Row) -> dict[str, object]:
    return {
        **dataclasses.asdict(row.facts),
        "perplexities": [dataclasses.asdict(f) for f in row.figures if isinstance(f, Perplexity)],
        "accuracies": [dataclasses.asdict(f) for f in row.figures if isinstance(f, Accuracy)],
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # lm-eval is optional, and a checkout need not be installed
            continue
    return found
