"""Train and quantise the models of a plan, and append a record of each to a file.

A plan is a JSON file that names a text, sizes of models and grids of runs; plans/small.json is one. The
prediction comes first: how many runs there are, and how long they take here. The same command given again
does what is missing; records that another machine made may be copied into the file.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.data import PackedBlocks, Source, token_stream
from edge.data.train_tokenizer import train_tokenizer
from edge.files import only_writer, staged_file
from edge.latency.devices.circumstances import read_circumstances
from edge.latency.devices.process import run_process
from edge.latency.versions import versions
from edge.model.tokenizer import Tokenizer
from edge.scaling.records import read_records
from edge.scaling.sweep.cost import Costs
from edge.scaling.sweep.plan import Plan, read_plan
from edge.scaling.sweep.run import Room, model_config
from edge.scaling.sweep.schedule import Sweep, processes
from edge.scaling.sweep.tasks import PostTask, Task, TrainTask

RECORDS, TOKENIZER = "records.jsonl", "tokenizer.json"


@dataclass(frozen=True)
class SweepFlags:
    """Flags of ``python -m edge.scaling.sweep``."""

    plan: Path = flag("JSON file that names the runs")
    output: Path = flag(
        "directory for records.jsonl, and for the models in full precision, which others start from"
    )
    workers: int = flag("runs at a time, each on one core", default=os.cpu_count() or 1)
    hours: float = flag("start no run that would end later than so many hours from now", default=math.inf)
    predict: bool = flag("print the prediction, and run nothing", default=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"--workers must be at least 1, not {self.workers}")
        if not self.hours > 0:
            raise ValueError(f"--hours must be positive, not {self.hours}")


def room_of(plan: Plan, directory: Path) -> Room:
    """Train the tokenizer if there is none, tokenise the texts, and name what all runs share.

    Raises:
        ValueError: a text is missing or too short.
    """
    made_from = f"{plan.text.tokenizer_data} {plan.text.vocab_size}"
    path = directory / "tokenizer" / hashlib.sha256(made_from.encode()).hexdigest()[:8] / TOKENIZER
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(path) as staged:
            train_tokenizer(plan.text.tokenizer_data, plan.text.vocab_size).save(str(staged), pretty=False)
    tokenizer = Tokenizer(path)
    config = model_config(plan.shape(next(iter(plan.sizes.values()))), plan.context)
    texts = [
        token_stream([Source.parse(name) for name in plan.text.data], tokenizer, config),
        token_stream([Source.held_out(plan.text.held_out)], tokenizer, config, repeats=False),
    ]
    digest = hashlib.sha256("".join(text.fingerprint for text in texts).encode()).hexdigest()[:8]
    return Room(
        plan, directory, path, f"{plan.text.name} {digest}", PackedBlocks(texts[1], plan.context).predicted,
        f"{read_circumstances(run_process).cpu}, 1 thread", versions().get("commit", ""),
    )  # fmt: skip


def _announce(tasks: list[Task], sweep: Sweep, workers: int, console: Console) -> None:
    trained = sum(isinstance(task, TrainTask) for task in tasks)
    left = [sum(isinstance(task, kind) for task in sweep.waiting) for kind in (TrainTask, PostTask)]
    console.print(
        f"{trained} models to train and {len(tasks) - trained} to quantise, of which {left[0]} and {left[1]} "
        "are left; "
        f"they take {sweep.total / 3600:.1f} hours of a core, {sweep.total / workers / 3600:.1f} with "
        f"{workers} at a time"
    )


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(SweepFlags, argv, "edge.scaling.sweep", str(__doc__))
    plan = read_plan(flags.plan)
    refuse_unwritable(flags.output)
    console, started = Console(soft_wrap=True, highlight=False), time.monotonic()
    with only_writer(flags.output):
        flags.output.mkdir(parents=True, exist_ok=True)
        room, tasks, records = room_of(plan, flags.output), plan.tasks(), flags.output / RECORDS
        done = read_records([records]) if records.is_file() else []
        keys = {record.key for record in done if record.text == room.text}
        costs = Costs([task.shape for task in tasks], plan.batch_size, plan.context, room.loss_tokens)
        sweep = Sweep(room, tasks, {task: costs.seconds(task) for task in tasks}, keys, records)
        _announce(tasks, sweep, flags.workers, console)
        if not flags.predict:
            count = len(sweep.waiting)

            def say(sentence: str) -> None:
                left = max(0.0, sweep.total) * sweep.pace / flags.workers / 3600
                console.print(f"[{sweep.ended}/{count}, {left:.1f} h left] {sentence}", markup=False)

            with processes(flags.workers) as pool:
                sweep.go(pool, flags.workers, started + flags.hours * 3600, say)
            if sweep.failures:
                console.print(f"{len(sweep.failures)} runs failed; see {flags.output / 'failed'}")
                return 1
    return 0


if __name__ == "__main__":
    main_guard(main)
