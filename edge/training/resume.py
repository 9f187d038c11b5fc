"""What a run leaves beside its output so that the same command, given again, goes on where it stopped.

``<output>-checkpoints`` holds Trainer's ``checkpoint-N`` directories and ``run.json``: the flags of the
run and the hashes of what it is made of (``CONTENTS``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from edge.training.train_config import TrainConfig, spelled

RECORD = "run.json"
LOCK = "lock"
#: What Trainer writes into a checkpoint: plain files, or under FSDP files and folders of shards.
PARTS = ("*model*", "optimizer*", "scheduler.pt")
#: Flags that may change between the parts of a run: they decide what is shown and kept, not what is trained.
#: ``data`` and ``tokenizer`` are compared by the tokens they give, wherever the files lie, and what divides a
#: batch by the whole of it.
FREE_FLAGS = {"output", "data", "tokenizer", "eval_data", "data_cache", "save_steps", "save_total_limit"} | {
    "eval_steps", "eval_strategy", "logging_steps", "logging_strategy", "log_level", "report_to",
    "monitor_steps", "dataloader_num_workers",
    "batch_size", "gradient_accumulation_steps", "examples_per_step",
    "full_learning_rate",  # says where learning_rate comes from
}  # fmt: skip
#: What a run is made of, by the names of its hashes in ``run.json``, and what it means that one has changed.
CONTENTS = {
    "data_sha256": "on other training tokens (another --data or --tokenizer)",
    "weights_sha256": "from other weights (--model or --teacher has changed since)",
}


def checkpoints_dir(output: str) -> Path:
    path = Path(output)
    if not path.name:
        raise ValueError(f"--output {output} has no name of its own; give a directory to be made")
    return path.with_name(path.name + "-checkpoints")


def last_checkpoint(directory: Path) -> Path | None:
    """The newest whole checkpoint; without any part of it a run would begin that part anew, unnoticed."""
    return max(filter(is_whole, directory.glob("checkpoint-*")), key=step_of, default=None)


def is_whole(checkpoint: Path) -> bool:
    """Whether it was written to its end, trainer_state.json being the last file, and has all its parts."""
    return bool(step_of(checkpoint)) and all(any(checkpoint.glob(part)) for part in PARTS)


def remove_unfinished(directory: Path) -> None:
    """Removes checkpoints that were not written to their end, which only take room."""
    for path in directory.glob("checkpoint-*"):
        if not step_of(path):
            shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was taken at; 0 where its trainer_state.json was not written to its end."""
    try:
        return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def write_record(directory: Path, flags: dict[str, Any], hashes: dict[str, str]) -> None:
    """Writes ``run.json``; it appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, {"flags": flags, **hashes})


def mark_diverged(directory: Path) -> None:
    """Notes in ``run.json`` that the run diverged: it may be resumed with a lower learning rate."""
    record = read_record(directory)
    if record is not None:
        _write(directory, {**record, "diverged": True})


def _write(directory: Path, record: dict[str, Any]) -> None:
    partial = directory / (RECORD + ".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(partial, directory / RECORD)


def read_record(directory: Path) -> dict[str, Any] | None:
    """What ``write_record`` wrote, or None where no run has begun.

    Raises:
        ValueError: the file is no record, or there are checkpoints without one.
    """
    path = directory / RECORD
    if not path.is_file():
        if last_checkpoint(directory) is not None:
            raise ValueError(
                f"{directory} holds checkpoints without {RECORD}, which says of what run they are; "
                "remove it, or choose another --output"
            )
        return None
    try:
        record = json.loads(path.read_text())
        record["flags"].items(), record["data_sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged; remove {directory} to train from the start") from error
    return record


def refuse_other_flags(directory: Path, record: dict[str, Any], flags: dict[str, Any]) -> None:
    """ValueError when a run was begun with other flags than those it is to be resumed with.

    The batch may be cut up otherwise (a smaller --batch-size, more --gradient_accumulation_steps, another
    number of processes), and a run that diverged may go on with a lower --learning-rate.
    """
    before, free = record["flags"], set(FREE_FLAGS)
    defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}  # a flag of a later version, say
    examples, now = _examples_per_step(before), _examples_per_step(flags)
    if examples != now:
        cut = "--batch-size x --gradient-accumulation-steps x processes"
        raise ValueError(_another_run(directory, f"with {examples} examples a step, not {now} ({cut})"))
    if record.get("diverged") and flags["learning_rate"] < before["learning_rate"]:
        free.add("learning_rate")
    for name in sorted((before.keys() | flags.keys()) - free):
        old, new = before.get(name, defaults.get(name)), flags.get(name, defaults.get(name))
        if old != new:
            raise ValueError(_another_run(directory, f"{_said(name, old)}, not {_said(name, new)}"))


def refuse_other_contents(directory: Path, record: dict[str, Any], hashes: dict[str, str]) -> None:
    """ValueError when a run was begun on other tokens, or from other weights, than it is to go on with."""
    for name, difference in CONTENTS.items():
        if record.get(name, hashes[name]) != hashes[name]:  # earlier versions recorded no weights
            raise ValueError(_another_run(directory, difference))


def _examples_per_step(flags: dict[str, Any]) -> int:
    """Of all processes; records of earlier versions do not say it, and mean one process."""
    one_process = int(flags["batch_size"]) * int(flags.get("gradient_accumulation_steps", 1))
    return flags.get("examples_per_step", one_process)


@contextmanager
def only_run(directory: Path) -> Iterator[None]:
    """ValueError where another process trains in this directory; the system frees the lock of a dead one."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another process trains in {directory}; wait for its end, or choose another --output"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _another_run(directory: Path, difference: str) -> str:
    return (
        f"{directory} holds a run that was begun {difference}; resume it as it was begun, "
        "choose another --output, or remove that directory to start over"
    )


def _said(name: str, value: Any) -> str:
    if value is None:
        return f"without {spelled(name)}"
    return f"with {spelled(name)} {' '.join(value) if isinstance(value, list) else value}".rstrip()
