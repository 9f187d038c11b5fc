"""Random Llama models, saved and run by transformers: the reference for the tests of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

#: Sizes that have few common divisors: widths, heads and head_dim are unrelated.
ODD_SHAPE: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def random_llama(**changes: Any) -> LlamaForCausalLM:
    """A model whose logits are a few units large, and whose norms are not all ones."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**ODD_SHAPE, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.25)
            else:
                parameter.uniform_(0.5, 1.5)
    return model.eval()


def save_llama(directory: Path, **changes: Any) -> LlamaForCausalLM:
    """Save a random model with transformers, and return it."""
    model = random_llama(**changes)
    model.save_pretrained(directory)
    return model


def reload(directory: Path) -> LlamaForCausalLM:
    """Load a directory with transformers; no tensor may be missing or unexpected."""
    model, info = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    faults = {key: found for key, found in info.items() if found}
    assert not faults, faults
    return model.eval()


def logits(model: LlamaForCausalLM, tokens: Tensor) -> Tensor:
    """[B, T, vocab] float32."""
    with torch.no_grad():
        return model(tokens).logits


def edit_config(directory: Path, remove: tuple[str, ...] = (), **changes: Any) -> Path:
    """Change and remove keys of a directory's config.json."""
    path = directory / "config.json"
    hf = {key: value for key, value in json.loads(path.read_text()).items() if key not in remove}
    path.write_text(json.dumps(hf | changes))
    return directory
