"""Writing a checkpoint directory: it appears whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from edge.checkpoints.hf_config import CONFIG_NAME
from edge.checkpoints.tensor_files import WEIGHTS_NAME, hf_name
from edge.model.tokenizer import TOKENIZER_COMPANIONS


def check_output(directory: str | Path) -> None:
    """ValueError unless there is nothing yet, an empty directory, or an earlier checkpoint to replace."""
    directory = Path(directory)
    if not directory.name:
        raise ValueError(f"the output {directory} has no name of its own; give a directory to be made")
    if directory.is_dir() and ((directory / CONFIG_NAME).is_file() or not any(directory.iterdir())):
        return
    if directory.exists() or directory.is_symlink():
        raise ValueError(f"{directory} exists and is not a checkpoint; choose another output directory")


def write_directory(
    directory: str | Path, tensors: Mapping[str, Tensor], hf_config: dict[str, Any], tokenizer: Path | None
) -> None:
    """Writes config.json, model.safetensors and the tokenizer, in place of an earlier checkpoint.

    Everything is written beside the directory first, so that a failure leaves what was there before.

    Args:
        tensors: by their names in ``Decoder``.
        tokenizer: the tokenizer file; what transformers reads beside it comes along.

    Raises:
        ValueError: the directory may not be replaced, or it cannot be written (permissions, disk full).
    """
    directory = Path(directory)
    check_output(directory)
    partial = directory.with_name(directory.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
        partial.mkdir(parents=True)
        _write_files(partial, tensors, hf_config, tokenizer)
        swap_in(partial, directory)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{directory} could not be written ({reason}); what was there is unchanged"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_files(
    directory: Path, tensors: Mapping[str, Tensor], hf_config: dict[str, Any], tokenizer: Path | None
) -> None:
    (directory / CONFIG_NAME).write_text(json.dumps(hf_config, indent=2) + "\n")
    on_disk = {hf_name(name): tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(on_disk, directory / WEIGHTS_NAME, metadata={"format": "pt"})
    shutil.copymode(directory / CONFIG_NAME, directory / WEIGHTS_NAME)  # save_file lets nobody else read it
    if tokenizer is not None:
        beside = [tokenizer.with_name(name) for name in TOKENIZER_COMPANIONS]
        for path in (tokenizer, *filter(Path.is_file, beside)):
            shutil.copyfile(path, directory / path.name)


def swap_in(partial: Path, directory: Path) -> None:
    """Renames partial to directory; an earlier one makes way whole, and comes back should that fail."""
    replaced = directory.with_name(directory.name + ".replaced")
    if directory.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        directory.rename(replaced)
    try:
        partial.rename(directory)
    except BaseException:
        if replaced.exists():
            replaced.rename(directory)
        raise
    shutil.rmtree(replaced, ignore_errors=True)  # also what a run that was killed right here left
