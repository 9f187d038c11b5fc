"""Read multiple-choice questions from JSONL files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edge.data.readers import is_whole_text

#: A blank for the choice: an underscore that is no part of a word or line.
_BLANK = re.compile(r"(?<!\w)_(?!\w)")
#: A word must follow a blank: a full stop alone cannot tell choices apart.
_WORD = re.compile(r"\w")
AFTER = "each choice after its query and a space"
FILLED = "each choice in the query's blank, scored by what follows the blank"


@dataclass(frozen=True)
class Question:
    """A pair of context and scored text for every choice, and the index of the right choice."""

    pairs: list[tuple[str, str]]
    gold: int


@dataclass(frozen=True)
class ChoiceFile:
    """Questions of one kind, and in words how they are scored."""

    name: str
    scoring: str
    questions: list[Question]


def read_questions(name: str, limit: int | None = None) -> ChoiceFile:
    """Read the first ``limit`` lines of {"query": text, "choices": [text, ...], "gold": index}.

    If every query has one blank, ``_``, with a word behind it, each choice fills the blank and is scored by
    the text behind, which is the same for all (arXiv 1806.02847; lm-eval's WinoGrande). Else each choice
    follows its query and a space, both stripped of white space.

    Raises:
        ValueError: the file cannot be read, holds no question, or a line is not of that form.
    """
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"--choices {name}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text: {error}") from error
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    rows = [_checked(line, f"{name} line {number}") for number, line in islice(numbered, limit)]
    if not rows:
        raise ValueError(f"{name} holds no question")
    blanks = sum(_has_blank(query) for query, _, _ in rows)
    if blanks == len(rows):
        return ChoiceFile(path.stem, FILLED, [_filled(*row) for row in rows])
    left = f" ({blanks} of {len(rows)} queries have a blank, which is not filled)" if blanks else ""
    return ChoiceFile(path.stem, AFTER + left, [_after(*row) for row in rows])


def _checked(line: str, where: str) -> tuple[str, list[str], int]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict) or not {"query", "choices", "gold"} <= row.keys():
        raise ValueError(f'{where} is not an object with "query", "choices" and "gold"')
    query, choices, gold = row["query"], row["choices"], row["gold"]
    if not _is_text(query):
        raise ValueError(f'{where}: "query" must be text')
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(_is_text, choices)):
        raise ValueError(f'{where}: "choices" must be a list of two texts or more')
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise ValueError(f'{where}: "gold" must be the index of a choice, 0..{len(choices) - 1}: {gold!r}')
    return query, choices, gold


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_whole_text(value)


def _has_blank(query: str) -> bool:
    parts = _BLANK.split(query)
    return len(parts) == 2 and bool(_WORD.search(parts[1]))


def _filled(query: str, choices: list[str], gold: int) -> Question:
    before, behind = _BLANK.split(query)
    return Question([(before + choice.strip(), behind) for choice in choices], gold)


def _after(query: str, choices: list[str], gold: int) -> Question:
    return Question([(query.strip(), f" {choice.strip()}") for choice in choices], gold)
