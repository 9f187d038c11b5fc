"""Write a checkpoint directory, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.families import family_of
from edge.checkpoints.hf_config import CONFIG_NAME, config_to_hf
from edge.checkpoints.hf_grids import PACKED_KEY, PACKED_VERSION, nesting_to_hf, plan_to_hf
from edge.checkpoints.tensor_files import ALPHA_SUFFIX, PACKED_SUFFIX, WEIGHTS_NAME, hf_name
from edge.files import replace_directory
from edge.model.config import ModelConfig
from edge.model.decoder import is_norm
from edge.model.tokenizer import TOKENIZER_COMPANIONS
from edge.ops.packing import pack
from edge.text import first_of


def save_checkpoint(
    checkpoint: Checkpoint, directory: str | Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write a Hugging Face directory, with ParetoQ's learned scales if there are any; those stay float32.

    Weights that are codes already are written packed, so that the directory is one of ``packed.py``.

    Raises:
        ValueError: the directory cannot be written or holds something else; a weight is NaN or beyond dtype.
    """
    packed = {f"{name}.weight" for name in checkpoint.quantized}
    kept = {name: checkpoint.weights[name] for name in checkpoint.weights if name not in packed}
    kept = norms_on_disk(kept, checkpoint.config)
    tensors = {name: tensor.detach().to(dtype) for name, tensor in kept.items()}
    beyond = [hf_name(name) for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if beyond:
        raise ValueError(f"{first_of(beyond)}: NaN, or values that {dtype} cannot hold; nothing was written")
    tensors |= {name + ALPHA_SUFFIX: alpha.detach().float() for name, alpha in checkpoint.alphas.items()}
    tensors |= {name + PACKED_SUFFIX: pack(weight) for name, weight in checkpoint.quantized.items()}
    hf = config_to_hf(checkpoint.config) | plan_to_hf(checkpoint.plan) | nesting_to_hf(checkpoint.nesting)
    hf |= {PACKED_KEY: PACKED_VERSION} if packed else {}
    write_directory(directory, tensors, hf, checkpoint.tokenizer)


def norms_on_disk(tensors: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Tensors with the norms' weights as the family writes them."""
    if not family_of(config).norms_add_one:
        return tensors
    return {name: tensor - 1 if is_norm(name) else tensor for name, tensor in tensors.items()}


def check_output(directory: str | Path) -> None:
    """Raise ValueError unless the directory is absent, empty, or an earlier checkpoint to replace."""
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
    """Write config.json, model.safetensors and the tokenizer, in place of an earlier checkpoint if any.

    Args:
        tensors: by their names in ``Decoder``.
        tokenizer: the tokenizer file; the files that transformers reads beside it are copied too.

    Raises:
        ValueError: the directory may not be replaced, or it cannot be written (permissions, disk full).
    """
    check_output(directory)
    on_disk = {hf_name(name): tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replace_directory(Path(directory)) as partial:
        write_beside_weights(partial, hf_config, tokenizer)
        save_file(on_disk, partial / WEIGHTS_NAME, metadata={"format": "pt"})
        shutil.copymode(partial / CONFIG_NAME, partial / WEIGHTS_NAME)  # save_file makes it private


def write_beside_weights(directory: Path, hf_config: dict[str, Any], tokenizer: Path | None) -> None:
    """Write config.json and the tokenizer, with the files that transformers reads beside it."""
    (directory / CONFIG_NAME).write_text(json.dumps(hf_config, indent=2) + "\n")
    if tokenizer is not None:
        beside = [tokenizer.with_name(name) for name in TOKENIZER_COMPANIONS]
        for path in (tokenizer, *filter(Path.is_file, beside)):
            shutil.copyfile(path, directory / path.name)
