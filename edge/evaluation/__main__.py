"""Measure perplexity and multiple-choice accuracy of models, in one table."""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.cli import main_guard
from edge.data import Source, documents
from edge.data.hub import ask_hub
from edge.evaluation.candidate import Candidate, open_candidate
from edge.evaluation.multiple_choice import Accuracy, accuracy
from edge.evaluation.perplexity import Perplexity, block_length, file_perplexity, wikitext_perplexities
from edge.evaluation.questions import ChoiceFile, read_questions
from edge.evaluation.table import Row, as_json, cell, heading, markdown
from edge.evaluation.wikitext import wikitext_rows
from edge.files import write_text

#: Value of --wikitext when none is given.
HUB = "hub"
#: A dataset of --tasks, used to check that the hub answers.
A_DATASET = "allenai/ai2_arc"
EXAMPLE = """\
examples:
  python -m edge.evaluation --model default/2bit exported/default-2bit --data heldout.txt
  python -m edge.evaluation --model two-bit --wikitext wiki.test.raw --choices arc_easy.jsonl"""


@dataclass(frozen=True)
class Work:
    """Texts, questions and tasks that every model is measured on, read and checked beforehand."""

    data: list[str]
    context: int | None
    wikitext: list[str] | None
    choices: list[ChoiceFile]
    tasks: list[str]
    limit: int | None

    def figures(self, candidate: Candidate) -> Iterator[Perplexity | Accuracy]:
        for file in self.data:
            yield file_perplexity(candidate, file, self.context)
        if self.wikitext is not None:
            yield from wikitext_perplexities(candidate, self.wikitext)
        for questions in self.choices:
            yield accuracy(candidate, questions)
        if self.tasks:
            from edge.evaluation.harness import harness_accuracies

            yield from harness_accuracies(candidate, self.tasks, self.limit)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge.evaluation",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        nargs="+",
        required=True,
        help="checkpoints of any bit width (directory, hub id, or default/2bit and the like) and exported "
        "programs (directory or .pte file); a row each",
    )
    parser.add_argument(
        "--data", nargs="+", default=[], help="held-out text for perplexity, named as in training"
    )
    parser.add_argument(
        "--context", type=int, help="tokens per block of --data (default: all of the model's positions)"
    )
    parser.add_argument(
        "--wikitext",
        nargs="?",
        const=HUB,
        metavar="PATH",
        help="WikiText-2 perplexity in both published conventions, from a local wiki.test.raw or its folder "
        "(default: the hub's copy)",
    )
    parser.add_argument(
        "--choices", nargs="+", default=[], help='JSONL files of {"query", "choices", "gold"} for accuracy'
    )
    parser.add_argument(
        "--tasks", nargs="*", help="lm-eval tasks for accuracy (default: the eight that ParetoQ reports)"
    )
    parser.add_argument("--limit", type=int, help="questions of every --choices file and task (default: all)")
    parser.add_argument("--output", type=Path, help="file for the table, which is also printed")
    parser.add_argument("--json", type=Path, help="file for every figure and how it was measured")
    return parser


def _prepared(args: argparse.Namespace) -> Work:
    """Read and check all texts and questions.

    Raises:
        ValueError: nothing is asked for, a flag is out of range, or a file cannot be read or written.
    """
    if not (args.data or args.wikitext or args.choices or args.tasks is not None):
        raise ValueError("there is nothing to evaluate on: give --data, --wikitext, --choices or --tasks")
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, not {args.limit}")
    _refuse_targets(args)
    for name in args.data:
        next(documents(Source.held_out(name).name))
    return Work(
        data=args.data,
        context=args.context,
        wikitext=wikitext_rows(None if args.wikitext == HUB else args.wikitext) if args.wikitext else None,
        choices=[read_questions(name, args.limit) for name in args.choices],
        tasks=[] if args.tasks is None else _checked_tasks(args.tasks),
        limit=args.limit,
    )


def _refuse_targets(args: argparse.Namespace) -> None:
    """Raise a ValueError if a result cannot be written, or would overwrite an input or the other result."""
    taken = [Path(name).resolve() for name in (*args.data, *args.choices, args.wikitext) if name]
    for flag, path in (("--output", args.output), ("--json", args.json)):
        if path is None:
            continue
        folder = path.absolute().parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f"{flag} {path}: give a file in a directory that exists and can be written")
        if path.resolve() in taken:
            raise ValueError(f"{flag} {path} is what another flag names; give a file of its own")
        taken.append(path.resolve())


def _checked_tasks(names: list[str]) -> list[str]:
    if importlib.util.find_spec("lm_eval") is None:
        raise ValueError(
            "--tasks needs lm-eval: pip install '.[eval]'; --choices scores local files without it"
        )
    try:
        ask_hub(A_DATASET)
    except Exception as error:  # the client also raises errors of its HTTP library
        raise ValueError(
            f"the hub, which has the data of --tasks, cannot be reached ({type(error).__name__}); with "
            "HF_HUB_OFFLINE=1 what was downloaded before is used, and --choices scores local files"
        ) from error
    from edge.evaluation.harness import PAPER_TASKS, check_tasks  # lm-eval takes seconds to import

    tasks = names or list(PAPER_TASKS)
    check_tasks(tasks)
    return tasks


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    work = _prepared(args)
    for name in args.model:
        block_length(open_candidate(name), args.context)  # find mistakes before hours of work
    rows: list[Row] = []
    for name in args.model:
        candidate = open_candidate(name)
        figures = []
        for figure in work.figures(candidate):
            figures.append(figure)
            print(f"{name}: {heading(figure)} {cell(figure)}", flush=True)
        rows.append(Row(candidate.facts, figures))
        # After every model, so that an interruption costs only one.
        for path, text in ((args.output, markdown(rows)), (args.json, as_json(rows))):
            if path is not None:
                write_text(path, text)
    print("\n" + markdown(rows), end="")
    return 0


if __name__ == "__main__":
    main_guard(main)
