"""What a run leaves beside its output so that the same command, given again, goes on where it stopped.

``<output>-checkpoints`` holds Trainer's ``checkpoint-N`` directories and ``run.json``: the flags of the
run and the fingerprint of its training tokens (``TokenStream.fingerprint``).
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

from edge.training.train_config import TrainConfig, spelled

RECORD = "run.json"
#: Flags that may change between the parts of a run: they decide what is shown and kept, not what is trained.
#: ``data`` and ``tokenizer`` are compared by the tokens they give, wherever the files lie, and what divides a
#: batch by the whole of it.
FREE_FLAGS = {"output", "data", "tokenizer", "eval_data", "data_cache", "save_steps", "save_total_limit"} | {
    "eval_steps", "eval_strategy", "logging_steps", "logging_strategy", "log_level", "report_to",
    "monitor_steps", "dataloader_num_workers",
    "batch_size", "gradient_accumulation_steps", "examples_per_step",
}  # fmt: skip


def checkpoints_dir(output: str) -> Path:
    path = Path(output)
    if not path.name:
        raise ValueError(f"--output {output} has no name of its own; give a directory to be made")
    return path.with_name(path.name + "-checkpoints")


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end: Trainer writes trainer_state.json last."""
    whole = [
        path.parent for path in directory.glob("checkpoint-*/trainer_state.json") if step_of(path.parent)
    ]
    return max(whole, key=step_of, default=None)


def remove_unfinished(directory: Path) -> None:
    """Removes checkpoints that were not written to their end, which only take room."""
    for path in directory.glob("checkpoint-*"):
        if not (path / "trainer_state.json").is_file() or not step_of(path):
            shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was taken at; 0 where its trainer_state.json was not written to its end."""
    try:
        return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])
    except (ValueError, KeyError, TypeError):
        return 0


def write_record(directory: Path, flags: dict[str, Any], data_hash: str) -> None:
    """Writes ``run.json``; it appears whole or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, {"flags": flags, "data_sha256": data_hash})


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
    """What ``write_record`` wrote, or None for a run that has no record.

    Raises:
        ValueError: the file is there and is not a record.
    """
    path = directory / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text())
        record["flags"], record["data_sha256"]
    except (ValueError, KeyError, TypeError) as error:
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


def refuse_other_data(directory: Path, record: dict[str, Any], data_hash: str) -> None:
    """ValueError when a run was begun on other tokens than those it is to be resumed with."""
    if record["data_sha256"] != data_hash:
        raise ValueError(_another_run(directory, "on other training tokens (another --data or --tokenizer)"))


def _examples_per_step(flags: dict[str, Any]) -> int:
    """Of all processes; records of earlier versions do not say it, and mean one process."""
    one_process = int(flags["batch_size"]) * int(flags.get("gradient_accumulation_steps", 1))
    return flags.get("examples_per_step", one_process)


def _another_run(directory: Path, difference: str) -> str:
    return (
        f"{directory} holds a run that was begun {difference}; resume it as it was begun, "
        "choose another --output, or remove that directory to start over"
    )


def _said(name: str, value: Any) -> str:
    if value is None:
        return f"without {spelled(name)}"
    return f"with {spelled(name)} {' '.join(value) if isinstance(value, list) else value}".rstrip()
