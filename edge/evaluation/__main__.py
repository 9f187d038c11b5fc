"""``python -m edge.evaluation``: perplexity and zero-shot accuracy, one row per model."""

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
from edge.evaluation.multiple_choice import Accuracy, ChoiceFile, accuracy, read_questions
from edge.evaluation.perplexity import (
    Perplexity,
    block_length,
    file_perplexity,
    wikitext_perplexities,
)
from edge.evaluation.subject import Subject, open_subject
from edge.evaluation.table import Row, as_json, cell, heading, markdown
from edge.evaluation.wikitext import wikitext_rows

#: What --wikitext without a value, and --tasks without names, stand for.
HUB = "hub"
#: One of the datasets of --tasks, asked for to see whether the hub answers at all.
A_DATASET = "allenai/ai2_arc"
EXAMPLE = """\
examples:
  python -m edge.evaluation --model default/2bit exported/default-2bit --data heldout.txt
  python -m edge.evaluation --model two-bit --wikitext wiki.test.raw --choices arc_easy.jsonl"""


@dataclass(frozen=True)
class Work:
    """What every model is put through; read and checked before the first one is."""

    data: list[str]
    context: int | None
    wikitext: list[str] | None
    choices: list[ChoiceFile]
    tasks: list[str]
    limit: int | None

    def figures(self, subject: Subject) -> Iterator[Perplexity | Accuracy]:
        for file in self.data:
            yield file_perplexity(subject, file, self.context)
        if self.wikitext is not None:
            yield from wikitext_perplexities(subject, self.wikitext)
        for questions in self.choices:
            yield accuracy(subject, questions)
        if self.tasks:
            from edge.evaluation.harness import harness_accuracies

            yield from harness_accuracies(subject, self.tasks, self.limit)


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
        help="embedded models, checkpoint directories or hub ids of any bit width, and exported programs "
        "(their directory or .pte file); a row each",
    )
    parser.add_argument("--data", nargs="+", default=[], help="held-out files for perplexity")
    parser.add_argument(
        "--context", type=int, help="tokens per block of --data (default: the model's positions)"
    )
    parser.add_argument(
        "--wikitext",
        nargs="?",
        const=HUB,
        metavar="PATH",
        help="WikiText-2 perplexity in both published conventions, of a local wiki.test.raw (or the folder "
        "that holds it), else of the hub's copy",
    )
    parser.add_argument(
        "--choices", nargs="+", default=[], help='JSONL files of {"query", "choices", "gold"}; accuracy'
    )
    parser.add_argument(
        "--tasks", nargs="*", help="tasks of lm-eval by name (default: the eight that ParetoQ reports)"
    )
    parser.add_argument(
        "--limit", type=int, help="first questions of every --choices file and task (default: all)"
    )
    parser.add_argument("--output", type=Path, help="file for the table, which is printed anyway")
    parser.add_argument("--json", type=Path, help="file for every figure and how it was taken")
    return parser


def _prepared(args: argparse.Namespace) -> Work:
    """Reads what was asked for; ValueError where that cannot be done."""
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
    """ValueError where a result cannot be written or would take the place of something else."""
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
    except Exception as error:  # besides its own errors the client lets those of its HTTP library through
        raise ValueError(
            f"the hub, which has the data of --tasks, cannot be reached ({type(error).__name__}); with "
            "HF_HUB_OFFLINE=1 what was downloaded before is used, and --choices scores local files"
        ) from error
    from edge.evaluation.harness import PAPER_TASKS, check_tasks  # lm-eval takes seconds to import

    tasks = names or list(PAPER_TASKS)
    check_tasks(tasks)
    return tasks


def _write(path: Path | None, text: str) -> None:
    if path is not None:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    work = _prepared(args)
    for name in args.model:
        block_length(open_subject(name), args.context)  # what is wrong shows before hours of work, not after
    rows: list[Row] = []
    for name in args.model:
        subject = open_subject(name)
        figures = []
        for figure in work.figures(subject):
            figures.append(figure)
            print(f"{name}: {heading(figure)} {cell(figure)}", flush=True)
        rows.append(Row(subject.facts, figures))
        _write(args.output, markdown(rows))  # after every model: an interruption costs only the one under way
        _write(args.json, as_json(rows))
    print("\n" + markdown(rows), end="")
    return 0


if __name__ == "__main__":
    main_guard(main)
