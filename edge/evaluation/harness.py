"""Run zero-shot tasks of lm-eval (github.com/EleutherAI/lm-evaluation-harness, the optional extra ``eval``).

Prompts, data and metrics are lm-eval's. Every text begins with the begin token, as in training.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from edge.evaluation.candidate import Candidate
from edge.evaluation.language_model import continuation, fitted
from edge.evaluation.multiple_choice import Accuracy, Share, share
from edge.evaluation.progress import progress

#: ParetoQ's eight tasks (arXiv 2502.02631) by lm-eval's names. The paper's code has other prompts, so its
#: figures are close to these, not equal.
PAPER_TASKS = (
    "arc_easy",
    "arc_challenge",
    "boolq",
    "piqa",
    "social_iqa",
    "hellaswag",
    "openbookqa",
    "winogrande",
)
SCORING = "lm-eval's prompt and metric"
AVERAGE = f"mean of the {len(PAPER_TASKS)} tasks"


class HarnessModel(LM):
    """A candidate behind lm-eval's interface."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__()
        self.candidate = candidate
        self.shortened: Counter[str | None] = Counter()  # by task

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return the summed log-probability of each text, and whether greedy decoding gives that text."""
        candidate = self.candidate
        whole = [continuation(candidate.tokenizer, candidate.config.bos_id, *each.args) for each in requests]
        fitting = [fitted(each, candidate.model.positions) for each in whole]
        for each, a, b in zip(requests, whole, fitting, strict=True):
            self.shortened[each.task_name] += len(a.context) != len(b.context)
        scores = progress(candidate.model.scores(fitting), len(fitting), "requests")
        return [(score.total, score.is_greedy) for score in scores]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise ValueError("--tasks takes tasks that are answered by choosing; for perplexity use --data")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        raise ValueError("--tasks takes tasks that are answered by choosing, not by writing")


@functools.cache
def task_manager() -> TaskManager:
    """Return lm-eval's index of tasks; making it takes seconds."""
    return TaskManager()


def check_tasks(names: list[str]) -> None:
    """Raise a ValueError for a task that lm-eval does not know."""
    known = task_manager().all_tasks
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"lm-eval has no task {unknown[0]}; `lm-eval ls tasks` lists them")


def harness_accuracies(candidate: Candidate, tasks: list[Any], limit: int | None) -> list[Accuracy]:
    """Measure the accuracy of every task, and the mean if they are the paper's eight.

    Args:
        tasks: names, or anything else that ``lm_eval.simple_evaluate`` takes for a task.
        limit: questions of each task; all where None.

    Raises:
        ValueError: lm-eval cannot load a task, or it is not answered by choosing.
    """
    model = HarnessModel(candidate)
    try:
        report = simple_evaluate(
            model=model, tasks=tasks, limit=limit, log_samples=False, task_manager=task_manager()
        )
    except Exception as error:  # also of datasets and of the hub's client
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"lm-eval could not run --tasks ({type(error).__name__}: {reason})") from error
    results = [
        _accuracy(name, report["results"][name], counts["effective"], model.shortened[name])
        for name, counts in report["n-samples"].items()
    ]
    return [*results, average(results)] if {r.text for r in results} == set(PAPER_TASKS) else results


def average(results: list[Accuracy]) -> Accuracy:
    """Return the plain mean over tasks; a task without normalised accuracy counts with its raw one."""
    return Accuracy(
        AVERAGE,
        "raw accuracy counts for a task that has no normalised one",
        sum(each.questions for each in results),
        _mean([each.raw for each in results]),
        _mean([each.normalized or each.raw for each in results]),
        sum(each.shortened for each in results),
    )


def _mean(shares: list[Share]) -> Share:
    error = math.sqrt(math.fsum(each.standard_error**2 for each in shares))
    return Share(math.fsum(each.value for each in shares) / len(shares), error / len(shares))


def _accuracy(name: str, metrics: dict[str, Any], questions: int, shortened: int) -> Accuracy:
    if "acc,none" not in metrics:
        raise ValueError(f"lm-eval's task {name} has no accuracy; --tasks takes multiple-choice tasks")
    normalized = metrics.get("acc_norm,none")
    return Accuracy(
        name,
        SCORING,
        questions,
        share(round(metrics["acc,none"] * questions), questions),
        None if normalized is None else share(round(normalized * questions), questions),
        shortened,
    )
