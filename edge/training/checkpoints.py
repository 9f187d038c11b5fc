"""Find the checkpoints of a run in ``OUTPUT-checkpoints``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

#: What Trainer writes into a checkpoint: plain files, or under FSDP files and folders of shards.
PARTS = ("*model*", "optimizer*", "scheduler.pt")


def checkpoints_dir(output: str) -> Path:
    path = Path(output)
    if not path.name:
        raise ValueError(f"--output {output} has no name of its own; give a directory to be made")
    return path.with_name(path.name + "-checkpoints")


def last_checkpoint(directory: Path) -> Path | None:
    """Return the newest complete checkpoint.

    Transformers' ``get_last_checkpoint`` takes the highest number, also of a checkpoint with parts missing,
    and a run would silently start those parts anew.
    """
    return max(filter(is_complete, directory.glob("checkpoint-*")), key=step_of, default=None)


def is_complete(checkpoint: Path) -> bool:
    """Tell whether all parts are there, and trainer_state.json, which is written last."""
    return bool(step_of(checkpoint)) and all(any(checkpoint.glob(part)) for part in PARTS)


def remove_unfinished(directory: Path) -> None:
    """Remove checkpoints that were not written to the end."""
    for path in directory.glob("checkpoint-*"):
        if not step_of(path):
            shutil.rmtree(path, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """Return a checkpoint's step; 0 if its trainer_state.json was not written to the end."""
    try:
        return int(json.loads((checkpoint / "trainer_state.json").read_text())["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
