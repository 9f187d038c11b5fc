"""Multiple choice: what is scored, which choice wins, and how sure the share is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import NormalDist

import pytest

from edge.evaluation.bounds import ErrorBounds
from edge.evaluation.language_model import EagerModel
from edge.evaluation.multiple_choice import Scored, accuracy, share
from edge.evaluation.questions import read_questions
from runtime_tests.conftest import shared_data
from runtime_tests.evaluation.stand_in import ScriptedModel, candidate_of
from runtime_tests.tiny import tiny_model


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_raw_and_normalised_answers(tmp_path: Path):
    """A long choice loses by its sum and wins by its mean over characters, spaces at its ends not counted."""
    script = {" cake": -4.0, " the baker": -8.0, " ants": -6.0, " a": -1.0}
    rows = [
        {"query": "The mouse sat beside", "choices": ["cake", "the baker"], "gold": 1},  # -1 against -8/9
        {"query": "The mouse ate", "choices": ["cake", " ants "], "gold": 0},  # -1 against -1.5
        {"query": "The mouse saw", "choices": ["a", "the baker"], "gold": 1},  # -1 against -8/9
        {"query": "The mouse", "choices": ["the baker", "a", "cake"], "gold": 1},  # -8/9, -1, -1
    ]
    model = ScriptedModel(script.__getitem__)
    result = accuracy(candidate_of(model), read_questions(write(tmp_path / "mice.jsonl", rows)))
    assert (result.text, result.questions, result.shortened) == ("mice", 4, 0)
    assert result.raw.value == 0.5  # the second and the last
    assert result.normalized.value == 0.75  # all but the last
    assert result.raw.standard_error == 0.25
    assert result.normalized.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert result.raw.distance is None  # nothing is rounded in a checkpoint
    texts = [
        model.tokenizer.decode(each.context) + model.tokenizer.decode(each.tokens) for each in model.asked
    ]
    assert texts[:2] == ["The mouse sat beside cake", "The mouse sat beside the baker"]
    assert all(each.context[0] == 1 for each in model.asked)


def test_equal_choices_count_for_the_first(tmp_path: Path):
    rows = [{"query": "The", "choices": ["ants", "cake"], "gold": gold} for gold in (0, 1, 1)]
    result = accuracy(
        candidate_of(ScriptedModel(lambda _: -1.0)), read_questions(write(tmp_path / "a.jsonl", rows))
    )
    assert result.raw.value == pytest.approx(1 / 3)


def test_a_blank_is_filled_and_judged_by_what_follows(tmp_path: Path):
    rows = [
        {"query": "The cat met a dog; the _ 's tail was up.", "choices": ["cat", "dog"], "gold": 0},
        {"query": "The _ was glad of snake_case.", "choices": ["baker", "ant"], "gold": 1},
    ]
    model = ScriptedModel(len)
    file = read_questions(write(tmp_path / "blank.jsonl", rows))
    assert "blank" in file.scoring
    accuracy(candidate_of(model), file)
    found = [tuple(map(model.tokenizer.decode, each)) for each in model.asked]
    assert found == [
        ("The cat met a dog; the cat", " 's tail was up."),
        ("The cat met a dog; the dog", " 's tail was up."),
        ("The baker", " was glad of snake_case."),
        ("The ant", " was glad of snake_case."),
    ]


@pytest.mark.parametrize(
    "query",
    ["no blank", "snake_case", "two _ of _ them", "at its end _", "at its end _ ", "before a stop _."],
)
def test_one_query_without_a_blank_and_the_file_is_of_the_other_kind(tmp_path: Path, query):
    rows = [
        {"query": "The _ was glad.", "choices": ["cat", "dog"], "gold": 0},
        {"query": query, "choices": ["cat", "dog"], "gold": 0},
    ]
    file = read_questions(write(tmp_path / "a.jsonl", rows))
    assert [question.pairs[0] for question in file.questions] == [
        ("The _ was glad.", " cat"),
        (query.strip(), " cat"),
    ]
    assert file.scoring.endswith("(1 of 2 queries have a blank, which is not filled)")


def test_a_long_context_is_shortened_and_counted(tmp_path: Path):
    rows = [
        {"query": "the ants " * 60, "choices": ["cake", "night"], "gold": 0},
        {"query": "the ants", "choices": ["cake", "night"], "gold": 0},
    ]
    candidate = candidate_of(EagerModel(tiny_model()))
    assert accuracy(candidate, read_questions(write(tmp_path / "a.jsonl", rows))).shortened == 2


def test_limit_takes_the_first(tmp_path: Path):
    rows = [{"query": f"q{i}", "choices": ["a", "b"], "gold": 0} for i in range(5)]
    path = write(tmp_path / "a.jsonl", rows)
    assert len(read_questions(path).questions) == 5
    assert [q.pairs[0][0] for q in read_questions(path, 2).questions] == ["q0", "q1"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "holds no question"),
        ("\n \n", "holds no question"),
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 is not an object"),
        ('{"query": "q", "choices": ["a", "b"]}', "line 1 is not an object"),
        ('{"query": " ", "choices": ["a", "b"], "gold": 0}', '"query" must be text'),
        ('{"query": "q", "choices": ["a"], "gold": 0}', "two texts or more"),
        ('{"query": "q", "choices": ["a", " "], "gold": 0}', "two texts or more"),
        ('{"query": "q", "choices": "ab", "gold": 0}', "two texts or more"),
        ('{"query": "q", "choices": ["a", "b"], "gold": 2}', r"0\.\.1: 2"),
        ('{"query": "q", "choices": ["a", "b"], "gold": -1}', r"0\.\.1: -1"),
        ('{"query": "q", "choices": ["a", "b"], "gold": true}', r"0\.\.1: True"),
        ('{"query": "q", "choices": ["a", "b"], "gold": "0"}', r"0\.\.1: '0'"),
        ('{"query": "q", "choices": ["a", "b"], "gold": 0}\n{"query"', "line 2 is not JSON"),
    ],
)
def test_bad_questions_are_named(tmp_path: Path, line, words):
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    with pytest.raises(ValueError, match=words):
        read_questions(str(path))


def test_a_missing_file():
    with pytest.raises(ValueError, match="no such file"):
        read_questions("none.jsonl")


def test_standard_error_is_binomial():
    assert share(0, 10).standard_error == 0
    assert share(5, 100).standard_error == pytest.approx(math.sqrt(0.05 * 0.95 / 100))


@pytest.mark.parametrize(
    ("totals", "tokens", "deviations"),
    [
        ([-1.0, -7.0], [1, 3], [6 / 2]),  # right; token_rms 1, so the two differ by an rms of sqrt(1 + 3)
        ([-7.0, -1.0], [1, 3], [6 / 2]),  # wrong by as much
        ([-1.0, -7.0, -4.0], [2, 2, 2], [6 / 2, 3 / 2]),  # either of the others may overtake
        (
            [-7.0, -1.0, -4.0],
            [2, 2, 2],
            [6 / 2],
        ),  # both must be overtaken, which is no likelier than the best
        ([-4.0, -1.0, -9.0], [2, 2, 2], [3 / 2]),  # what is behind does not matter
    ],
)
def test_the_chance_that_errors_change_a_mark(totals, tokens, deviations):
    bounds = ErrorBounds(1 / math.sqrt(2))
    scored = Scored(totals, tokens, [5] * len(totals), gold=0)
    expected = sum(1 - NormalDist().cdf(d) for d in deviations)
    assert scored.chance_to_change(False, bounds) == pytest.approx(expected)
    # Divided by the same number of characters, leads and errors shrink alike.
    assert scored.chance_to_change(True, bounds) == pytest.approx(expected)


def test_equal_scores_may_always_change():
    scored = Scored([-1.0, -1.0], [1, 1], [1, 1], gold=1)
    assert not scored.is_right(False)
    assert scored.chance_to_change(False, ErrorBounds(0.1)) == 0.5


def test_distance_of_accuracies():
    """The larger sum of chances and four of its standard deviations, over all questions, 1 at most."""
    bounds = ErrorBounds(0.1)
    assert bounds.accuracy_distance([0.5, 0.5, 0.0], [0.25] * 97) == pytest.approx(
        (24.25 + 4 * 24.25**0.5) / 100
    )
    assert bounds.accuracy_distance([0.5] * 8, [0.0] * 92) == pytest.approx((4 + 4 * 2) / 100)
    assert bounds.accuracy_distance([0.5] * 4, []) == 1.0


@pytest.mark.parametrize(
    ("name", "scoring", "questions"),
    [("arc_easy", "after", 2376), ("boolq", "after", 3270), ("winogrande", "blank", 1267)],
)
def test_the_public_files_read_whole(name, scoring, questions):
    file = read_questions(str(shared_data(f"zeroshot/{name}.jsonl")))
    assert scoring in file.scoring
    assert len(file.questions) == questions
