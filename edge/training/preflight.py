"""Check the output directory, the disk and the devices before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import TrainingArguments

from edge.cli import refuse_unwritable
from edge.data import Source
from edge.model.decoder import Decoder


def refuse_several_gpus(arguments: TrainingArguments) -> None:
    """Raise a ValueError if one process sees several GPUs: Trainer would use DataParallel."""
    if arguments.n_gpu > 1:
        raise ValueError(
            f"{arguments.n_gpu} GPUs need one process each: torchrun --nproc-per-node {arguments.n_gpu} -m "
            "edge.training ...; for one of them set CUDA_VISIBLE_DEVICES=0"
        )


def refuse_bad_output(output: Path, data: list[str]) -> None:
    """Raise a ValueError if the output cannot be written, or lies in a directory that is read as text."""
    refuse_unwritable(output)
    for name in data:
        folder = Path(Source.parse(name).name).absolute()
        if folder.is_dir() and folder.resolve() in output.absolute().resolve().parents:
            raise ValueError(f"--output {output} lies in {folder}, which is read as text; choose another")


def refuse_full_disk(model: Decoder, directory: Path) -> None:
    """Raise a ValueError without room for three checkpoints (weights and AdamW's two moments) and the output.

    Checkpoints that are already there count as room.
    """
    needed = sum(p.numel() * 4 for p in model.parameters()) * (3 * 3 + 1)
    needed -= sum(path.stat().st_size for path in directory.glob("checkpoint-*/*"))
    free = shutil.disk_usage(next(p for p in directory.absolute().parents if p.is_dir())).free
    if free < needed:
        raise ValueError(
            f"{directory} needs about {needed / 1e6:.0f} MB of disk, and {free / 1e6:.0f} MB are free"
        )
