"""Record a run's flags, data and weights in ``run.json``, so that only the same run is resumed.

The file lies in ``OUTPUT-checkpoints`` beside Trainer's checkpoints.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from edge.files import write_text
from edge.training.checkpoints import last_checkpoint
from edge.training.train_config import TrainConfig, spelled

RECORD = "run.json"
#: Flags that may change when a run is resumed, because they do not decide what is trained. ``data`` and
#: ``tokenizer`` are compared by the tokens they give, and batch flags by the global batch.
FREE_FLAGS = {"output", "data", "tokenizer", "eval_data", "data_cache", "save_steps", "save_total_limit"} | {
    "eval_steps", "eval_strategy", "logging_steps", "logging_strategy", "log_level", "report_to",
    "monitor_steps", "dataloader_num_workers",
    "batch_size", "gradient_accumulation_steps", "examples_per_step",
    "full_learning_rate",  # learning_rate holds its value
}  # fmt: skip
#: Hashes in ``run.json``, and what it means when one differs.
HASHES = {
    "data_sha256": "on other training tokens (another --data or --tokenizer)",
    "weights_sha256": "from other weights (--model or --teacher has changed since)",
}


def write_record(directory: Path, flags: dict[str, Any], hashes: dict[str, str]) -> None:
    """Write ``run.json`` atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory, {"flags": flags, **hashes})


def mark_diverged(directory: Path) -> None:
    """Note in ``run.json`` that the run diverged: it may be resumed with a lower learning rate."""
    record = read_record(directory)
    if record is not None:
        _write(directory, {**record, "diverged": True})


def _write(directory: Path, record: dict[str, Any]) -> None:
    write_text(directory / RECORD, json.dumps(record, indent=2) + "\n")


def read_record(directory: Path) -> dict[str, Any] | None:
    """Read ``run.json``; None where no run has begun.

    Raises:
        ValueError: the file is damaged, or there are checkpoints without it.
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
    """Raise a ValueError if the run was begun with other flags.

    The global batch may be divided differently (a smaller --batch-size, more --gradient_accumulation_steps,
    another number of ranks), and a run that diverged may go on with a lower --learning-rate.
    """
    before, free = record["flags"], set(FREE_FLAGS)
    defaults = {f.name: f.default for f in dataclasses.fields(TrainConfig)}  # a record may lack newer flags
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


def refuse_other_hashes(directory: Path, record: dict[str, Any], hashes: dict[str, str]) -> None:
    """Raise a ValueError if the run was begun on other tokens or from other weights."""
    for name, difference in HASHES.items():
        if record.get(name, hashes[name]) != hashes[name]:  # earlier versions recorded no weights
            raise ValueError(_another_run(directory, difference))


def _examples_per_step(flags: dict[str, Any]) -> int:
    """Return the global batch; records of earlier versions lack it, and mean one rank."""
    one_rank = int(flags["batch_size"]) * int(flags.get("gradient_accumulation_steps", 1))
    return flags.get("examples_per_step", one_rank)


def _another_run(directory: Path, difference: str) -> str:
    return (
        f"{directory} holds a run that was begun {difference}; resume it as it was begun, "
        "choose another --output, or remove that directory to start over"
    )


def _said(name: str, value: Any) -> str:
    if value is None:
        return f"without {spelled(name)}"
    return f"with {spelled(name)} {' '.join(value) if isinstance(value, list) else value}".rstrip()
