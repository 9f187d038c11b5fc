"""Checkpoints: Hugging Face Llama directories, in and out, with ParetoQ's learned scales where there are any.

On disk: ``config.json``, ``model.safetensors`` (or shards behind an index), and the tokenizer. A
quantisation-aware checkpoint adds ``<linear>.weight_clip_val`` [out, 1] per quantised linear and
``w_bits`` in config.json, which is the form ParetoQ publishes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.config import ModelConfig
from edge.formats import FULL_PRECISION, WeightFormat, format_for_paretoq_w_bits
from edge.model.tokenizer import find_tokenizer

ALPHA_SUFFIX = ".weight_clip_val"


@dataclass(frozen=True)
class Checkpoint:
    """Weights and what is needed to read them; tensors are float32 under the names of ``MobileLLM``.

    Attributes:
        fmt: the format whose grid ``alphas`` are for; FULL_PRECISION when there are none.
        alphas: learned scales [out, 1] by linear name.
        tokenizer: the tokenizer file, where the directory has one.
    """

    config: ModelConfig
    weights: dict[str, Tensor]
    fmt: WeightFormat = FULL_PRECISION
    alphas: dict[str, Tensor] = field(default_factory=dict)
    tokenizer: Path | None = None


def load_checkpoint(directory: str | Path) -> Checkpoint:
    directory = Path(directory)
    hf = json.loads((directory / "config.json").read_text())
    config = config_from_hf(hf)
    tensors = {name.removeprefix("model."): t.float() for name, t in load_file(directory / "model.safetensors").items()}
    alphas = {n.removesuffix(ALPHA_SUFFIX): t for n, t in tensors.items() if n.endswith(ALPHA_SUFFIX)}
    weights = {n: t for n, t in tensors.items() if not n.endswith(ALPHA_SUFFIX)}
    fmt = format_for_paretoq_w_bits(hf["w_bits"]) if alphas else FULL_PRECISION
    return Checkpoint(config, weights, fmt, alphas, find_tokenizer(directory))


def save_checkpoint(checkpoint: Checkpoint, directory: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Writes a Hugging Face directory; it appears whole or not at all. Alphas are always float32."""
    directory = Path(directory)
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {_hf_name(n): t.detach().to(dtype).contiguous() for n, t in checkpoint.weights.items()}
    tensors |= {_hf_name(n) + ALPHA_SUFFIX: t.detach().float().contiguous() for n, t in checkpoint.alphas.items()}
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "config.json").write_text(json.dumps(config_to_hf(checkpoint.config, checkpoint.fmt), indent=2) + "\n")
    if checkpoint.tokenizer is not None:
        shutil.copyfile(checkpoint.tokenizer, partial / checkpoint.tokenizer.name)
    if directory.exists():
        shutil.rmtree(directory)
    partial.rename(directory)


def config_from_hf(hf: dict) -> ModelConfig:
    heads = hf["num_attention_heads"]
    return ModelConfig(
        vocab_size=hf["vocab_size"],
        dim=hf["hidden_size"],
        n_layers=hf["num_hidden_layers"],
        n_heads=heads,
        n_kv_heads=hf.get("num_key_value_heads") or heads,
        ffn_dim=hf["intermediate_size"],
        head_dim=hf.get("head_dim") or hf["hidden_size"] // heads,
        max_seq_len=hf["max_position_embeddings"],
        rope_theta=hf.get("rope_theta", 10000.0),
        rope_scaling=hf.get("rope_scaling"),
        norm_eps=hf["rms_norm_eps"],
        tied_embedding=hf.get("tie_word_embeddings", False),
        bos_id=hf.get("bos_token_id", 1),
        eos_id=hf.get("eos_token_id", 2),
    )


def config_to_hf(config: ModelConfig, fmt: WeightFormat) -> dict:
    hf = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "intermediate_size": config.ffn_dim,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embedding,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
    }
    if fmt.is_quantized:
        hf["w_bits"] = fmt.paretoq_w_bits
    return hf


def _hf_name(name: str) -> str:
    return name if name.startswith("lm_head.") else f"model.{name}"
