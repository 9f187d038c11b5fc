"""Write checkpoints as ParetoQ's are published: weights on the grid in the stored dtype, and no scales.

From the formulas of arXiv 2502.02631 and its reference code, with nothing of this project's quantisers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime_tests.checkpoints.hf_models import random_llama

#: Levels in units of a row's alpha, by width.
LEVELS: dict[float, list[float]] = {
    1: [-1, 1],
    1.58: [-2 / 3, 0, 2 / 3],
    2: [-0.75, -0.25, 0.25, 0.75],
    3: [-4, -3, -2, -1, 0, 1, 2, 3],
    4: [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
}
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def on_levels(shape: tuple[int, int], bits: float, dtype: torch.dtype, seed: int) -> Tensor:
    """Random levels [n, k] of random alphas, each product rounded once to the dtype."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.tensor(LEVELS[bits], dtype=torch.float64)
    alpha = (0.05 + torch.rand(shape[0], 1, generator=generator)).double()
    chosen = levels[torch.randint(len(levels), shape, generator=generator)]
    return (chosen * alpha).to(torch.float32).to(dtype)


def published(bits: float, dtype: torch.dtype = torch.bfloat16, **changes: Any) -> dict[str, Tensor]:
    """Tensors of a whole model, by Hugging Face's names; the head repeats the embedding."""
    tensors = {n: t.to(dtype) for n, t in random_llama(**changes).state_dict().items()}
    for seed, (name, tensor) in enumerate(tensors.items()):
        if name.split(".")[-2] in LINEARS:
            tensors[name] = on_levels(tuple(tensor.shape), bits, dtype, seed)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    return tensors


def write(directory: Path, tensors: dict[str, Tensor], w_bits: int | None, form: str = "bin") -> Path:
    """Write them as pytorch_model.bin, in two shards of it, or as model.safetensors."""
    config = random_llama().config.to_dict() | {"tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    config |= {} if w_bits is None else {"w_bits": w_bits}
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    if form == "safetensors":
        save_file(tensors, directory / "model.safetensors")
    elif form == "bin":
        torch.save(tensors, directory / "pytorch_model.bin")
    else:
        names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
        of_name = {name: names[index % 2] for index, name in enumerate(tensors)}
        for file in names:
            torch.save({n: t for n, t in tensors.items() if of_name[n] == file}, directory / file)
        (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": of_name}))
    return directory
