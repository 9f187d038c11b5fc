"""Multiple-choice questions from JSONL files: the choice that the model finds most probable is its answer."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from edge.data.readers import is_whole_text
from edge.evaluation.agreement import Agreement
from edge.evaluation.language_model import Score, continuation, fitted
from edge.evaluation.progress import progress
from edge.evaluation.subject import Subject

#: A blank that the choice belongs into: an underscore that is no part of a word or line.
_BLANK = re.compile(r"(?<!\w)_(?!\w)")
#: What must follow a blank: by a full stop alone no choice can be judged.
_WORD = re.compile(r"\w")
AFTER = "each choice after its query and a space"
FILLED = "each choice in the query's blank, scored by what follows the blank"


@dataclass(frozen=True)
class Question:
    """A question, as pairs of a context and the text after it that is scored, one pair for every choice."""

    pairs: list[tuple[str, str]]
    gold: int


@dataclass(frozen=True)
class ChoiceFile:
    """Questions of one kind, and in words how they are scored."""

    name: str
    scoring: str
    questions: list[Question]


@dataclass(frozen=True)
class Share:
    """Right answers as a share, with its standard error.

    Attributes:
        distance: how far that of a program's fake-quantised model can be; None for a checkpoint.
    """

    value: float
    standard_error: float
    distance: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """What a model made of a set of questions.

    Attributes:
        text: heading of its column.
        scoring: in words.
        raw: by the summed log-probability of a choice.
        normalized: by that sum over the choice's characters, as lm-eval's ``acc_norm``; None where a task of
            lm-eval has none.
        shortened: scored texts whose context was cut to fit the model's positions.
    """

    text: str
    scoring: str
    questions: int
    raw: Share
    normalized: Share | None
    shortened: int = 0


@dataclass(frozen=True)
class Scored:
    """A question's choices as a model scored them: summed log-probability, tokens and characters of each."""

    totals: list[float]
    tokens: list[int]
    characters: list[int]
    gold: int

    def is_right(self, normalized: bool) -> bool:
        scores = self._scores(normalized)
        return scores.index(max(scores)) == self.gold  # of equal ones the first, as lm-eval has it

    def changing(self, normalized: bool, bounds: Agreement) -> float:
        """Chance, at most, that errors within the bounds change the mark (``agreement.py``)."""
        scores, lengths = self._scores(normalized), self._lengths(normalized)
        chances = []
        for i, score in enumerate(scores):
            if i != self.gold:
                tokens = sum(self.tokens[j] / lengths[j] ** 2 for j in (i, self.gold))
                chances.append(bounds.overtaking(abs(scores[self.gold] - score), tokens))
        if self.is_right(normalized):
            return min(1.0, sum(chances))  # any other may overtake
        ahead = [c for c, s in zip(chances, self._others(scores), strict=True) if s >= scores[self.gold]]
        return min(ahead)  # each of those ahead must be overtaken

    def _others(self, values: list[float]) -> list[float]:
        return values[: self.gold] + values[self.gold + 1 :]

    def _scores(self, normalized: bool) -> list[float]:
        return [t / n for t, n in zip(self.totals, self._lengths(normalized), strict=True)]

    def _lengths(self, normalized: bool) -> list[int]:
        return self.characters if normalized else [1] * len(self.totals)


def read_questions(name: str, limit: int | None = None) -> ChoiceFile:
    """Lines of {"query": text, "choices": [text, ...], "gold": index of the right one}, the first ``limit``.

    Where every query has one blank, ``_``, with a word behind it, each choice fills the blank and is
    judged by the text behind, the same for all (arXiv 1806.02847; lm-eval's WinoGrande). Else each choice
    follows its query, unchanged but for white space, and a space.

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
    if all(_has_blank(query) for query, _, _ in rows):
        return ChoiceFile(path.stem, FILLED, [_filled(*row) for row in rows])
    blanks = sum(_has_blank(query) for query, _, _ in rows)
    left = f" ({blanks} of {len(rows)} queries have a blank, which is not filled)" if blanks else ""
    return ChoiceFile(path.stem, AFTER + left, [_after(*row) for row in rows])


def accuracy(subject: Subject, file: ChoiceFile) -> Accuracy:
    """The model's answers to a file's questions.

    Raises:
        ValueError: a choice alone is longer than the model's positions.
    """
    pairs = [pair for question in file.questions for pair in question.pairs]
    whole = [continuation(subject.tokenizer, subject.config.bos_id, *pair) for pair in pairs]
    fitting = [fitted(each, subject.model.positions) for each in whole]
    scores = iter(progress(subject.model.scores(fitting), len(pairs), "choices"))
    answers = list(_scored(file.questions, scores))
    shortened = sum(len(a.context) != len(b.context) for a, b in zip(whole, fitting, strict=True))
    return Accuracy(
        f"{file.name}",
        file.scoring,
        len(answers),
        _share(answers, False, subject.agreement),
        _share(answers, True, subject.agreement),
        shortened,
    )


def share(right: int, questions: int, distance: float | None = None) -> Share:
    """With the standard error of a binomial share, sqrt(p (1 - p) / n)."""
    value = right / questions
    return Share(value, math.sqrt(value * (1 - value) / questions), distance)


def _share(answers: list[Scored], normalized: bool, bounds: Agreement | None) -> Share:
    right = [each for each in answers if each.is_right(normalized)]
    wrong = [each for each in answers if not each.is_right(normalized)]
    distance = None
    if bounds is not None:
        losses = [each.changing(normalized, bounds) for each in right]
        gains = [each.changing(normalized, bounds) for each in wrong]
        distance = bounds.accuracy_distance(losses, gains)
    return share(len(right), len(answers), distance)


def _scored(questions: list[Question], scores: Iterator[Score]) -> Iterator[Scored]:
    for question in questions:
        own = list(islice(scores, len(question.pairs)))
        yield Scored(
            totals=[score.total for score in own],
            tokens=[len(score.log_probabilities) for score in own],
            characters=[len(text.strip()) for _, text in question.pairs],
            gold=question.gold,
        )


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
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
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
