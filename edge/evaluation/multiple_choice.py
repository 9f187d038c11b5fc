"""Score multiple-choice questions: the most probable choice is the model's answer.

lm-eval's local tasks give the same accuracies (a test compares them), but cannot replace this: lm-eval is an
optional package with many dependencies, and does not tell how far a program may be from its checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

from edge.evaluation.bounds import ErrorBounds
from edge.evaluation.candidate import Candidate
from edge.evaluation.language_model import continuation, fitted
from edge.evaluation.progress import progress
from edge.evaluation.questions import ChoiceFile


@dataclass(frozen=True)
class Share:
    """Share of right answers with its standard error.

    Attributes:
        distance: how far a program's fake-quantised model may be from it; None for a checkpoint.
    """

    value: float
    standard_error: float
    distance: float | None = None


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on a set of questions.

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
    """Scores of a question's choices: summed log-probability, tokens and characters of each."""

    totals: list[float]
    tokens: list[int]
    characters: list[int]
    gold: int

    def is_right(self, normalized: bool) -> bool:
        scores = self._scores(normalized)
        return scores.index(max(scores)) == self.gold  # the first of equal ones, as in lm-eval

    def chance_to_change(self, normalized: bool, bounds: ErrorBounds) -> float:
        """Return an upper bound of the chance that errors within the bounds make a right answer wrong, or
        a wrong one right (derived in bounds.py).
        """
        scores, lengths = self._scores(normalized), self._lengths(normalized)
        others = [i for i in range(len(scores)) if i != self.gold]
        chances = {}
        for i in others:
            tokens = sum(self.tokens[j] / lengths[j] ** 2 for j in (i, self.gold))
            chances[i] = bounds.overtaking(abs(scores[self.gold] - scores[i]), tokens)
        if self.is_right(normalized):
            return min(1.0, sum(chances.values()))  # any other may overtake
        # Wrong as long as any choice is ahead of the right one.
        return min(chances[i] for i in others if scores[i] >= scores[self.gold])

    def _scores(self, normalized: bool) -> list[float]:
        return [t / n for t, n in zip(self.totals, self._lengths(normalized), strict=True)]

    def _lengths(self, normalized: bool) -> list[int]:
        return self.characters if normalized else [1] * len(self.totals)


def accuracy(candidate: Candidate, file: ChoiceFile) -> Accuracy:
    """Answer a file's questions.

    Raises:
        ValueError: a choice alone is longer than the model's positions.
    """
    pairs = [pair for question in file.questions for pair in question.pairs]
    whole = [continuation(candidate.tokenizer, candidate.config.bos_id, *pair) for pair in pairs]
    fitting = [fitted(each, candidate.model.positions) for each in whole]
    scores = iter(progress(candidate.model.scores(fitting), len(pairs), "choices"))
    answers = []
    for question in file.questions:
        own = list(islice(scores, len(question.pairs)))
        answers.append(
            Scored(
                totals=[score.total for score in own],
                tokens=[len(score.log_probabilities) for score in own],
                characters=[len(text.strip()) for _, text in question.pairs],
                gold=question.gold,
            )
        )
    shortened = sum(len(a.context) != len(b.context) for a, b in zip(whole, fitting, strict=True))
    raw, normalized = (_share(answers, how, candidate.bounds) for how in (False, True))
    return Accuracy(file.name, file.scoring, len(answers), raw, normalized, shortened)


def share(right: int, questions: int, distance: float | None = None) -> Share:
    """Return a share with its binomial standard error, sqrt(p (1 - p) / n)."""
    value = right / questions
    return Share(value, math.sqrt(value * (1 - value) / questions), distance)


def _share(answers: list[Scored], normalized: bool, bounds: ErrorBounds | None) -> Share:
    right = [each.is_right(normalized) for each in answers]
    distance = None
    if bounds is not None:
        chances = [each.chance_to_change(normalized, bounds) for each in answers]
        losses = [chance for chance, is_right in zip(chances, right, strict=True) if is_right]
        gains = [chance for chance, is_right in zip(chances, right, strict=True) if not is_right]
        distance = bounds.accuracy_distance(losses, gains)
    return share(sum(right), len(answers), distance)
