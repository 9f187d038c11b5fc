"""lm-eval over the same interface, on a task of a local file: it must count what our own scoring counts."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest

from edge.evaluation.__main__ import main
from edge.evaluation.language_model import EagerModel
from edge.evaluation.multiple_choice import Accuracy, accuracy, share
from edge.evaluation.questions import read_questions
from runtime_tests.evaluation.stand_in import ScriptedModel, candidate_of
from runtime_tests.tiny import save_tiny, tiny_model

QUERIES = ("The mouse", "The cake sat", "All night the ants", "And the baker kept")
CHOICES = ("sat beside it", "was glad", "of the ants away all night", "kept")


@pytest.fixture
def harness():
    pytest.importorskip("lm_eval", reason="needs lm-eval: pip install '.[eval]'")
    from edge.evaluation import harness

    return harness


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "mice.jsonl"
    rows = [
        {"query": f"{query} {number}", "choices": list(CHOICES), "gold": number % 4}
        for query in QUERIES
        for number in range(5)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def task_of(path, **changes):
    metrics = [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
    ]
    return {
        "task": "mice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{query}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{gold}}",
        "metric_list": metrics,
        **changes,
    }


@pytest.mark.parametrize("limit", [None, 7])
def test_a_local_task_counts_what_our_scoring_counts(harness, questions, limit):
    candidate = candidate_of(EagerModel(tiny_model()))
    (found,) = harness.harness_accuracies(candidate, [task_of(questions)], limit)
    own = accuracy(candidate, read_questions(str(questions), limit))
    assert (found.text, found.questions) == ("mice", 20 if limit is None else limit)
    assert (found.raw.value, found.normalized.value) == (own.raw.value, own.normalized.value)
    assert 0 < own.raw.value < 1
    assert own.raw.value != own.normalized.value  # or the two could be exchanged unseen
    assert found.raw.standard_error == own.raw.standard_error


def test_shortened_contexts_count_for_their_own_task(harness, tmp_path, questions):
    long = tmp_path / "long.jsonl"
    rows = [{"query": "the ants " * 60, "choices": list(CHOICES), "gold": 0}] * 2
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [task_of(questions), task_of(long, task="long")]
    found = harness.harness_accuracies(candidate_of(EagerModel(tiny_model())), tasks, None)
    shortened = {each.text: each.shortened for each in found}
    assert shortened == {"mice": 0, "long": 2 * len(CHOICES)}
    assert harness.average(found).shortened == 2 * len(CHOICES)


def test_requests_are_answered_in_order(harness):
    model = ScriptedModel({" ants": -3.0, " cake": -5.0}.__getitem__)
    requests = [SimpleNamespace(args=("The", text), task_name="t") for text in (" cake", " ants", " cake")]
    assert harness.HarnessModel(candidate_of(model)).loglikelihood(requests) == [
        (pytest.approx(-5.0), False),
        (pytest.approx(-3.0), False),
        (pytest.approx(-5.0), False),
    ]


def test_tasks_of_another_kind_are_refused(harness, questions):
    task = task_of(
        questions, output_type="generate_until", doc_to_choice=None, metric_list=[{"metric": "exact_match"}]
    )
    with pytest.raises(ValueError, match="answered by choosing"):
        harness.harness_accuracies(candidate_of(EagerModel(tiny_model())), [task], 2)


def test_the_mean_of_the_eight(harness):
    tasks = [
        Accuracy(name, "", 10, share(number, 10), share(2, 10) if number % 2 else None)
        for number, name in enumerate(harness.PAPER_TASKS, start=1)
    ]
    mean = harness.average(tasks)
    assert mean.raw.value == pytest.approx(0.45)
    assert mean.normalized.value == pytest.approx((4 * 0.2 + 0.2 + 0.4 + 0.6 + 0.8) / 8)
    expected = sum(each.raw.standard_error**2 for each in tasks) ** 0.5 / 8
    assert mean.raw.standard_error == pytest.approx(expected)


def test_lm_eval_knows_the_eight(harness):
    assert set(harness.PAPER_TASKS) <= set(harness.task_manager().all_tasks)


def test_an_unknown_task_is_refused(harness):
    with pytest.raises(ValueError, match="lm-eval has no task arc_hard"):
        harness.check_tasks(["arc_easy", "arc_hard"])


def test_an_unreachable_hub_is_said_before_lm_eval_is_loaded(harness, tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(sys.modules, "edge.evaluation.harness", None)  # to import it fails
    with pytest.raises(ValueError, match=r"cannot be reached \(OSError\); with HF_HUB_OFFLINE=1"):
        main(["--model", str(save_tiny(tmp_path / "full")), "--tasks"])


def test_offline_nothing_is_asked_of_the_hub(harness, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="lm-eval has no task arc_hard"):
        main(["--model", str(save_tiny(tmp_path / "full")), "--tasks", "arc_hard"])


def test_without_lm_eval_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ValueError, match=r"--tasks needs lm-eval: pip install '\.\[eval\]'"):
        main(["--model", str(save_tiny(tmp_path / "full")), "--tasks"])
