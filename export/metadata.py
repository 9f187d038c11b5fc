"""What travels with a program: constant methods for the stock runners, and the manifest's figures."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from typing import Any

from edge.config import ModelConfig
from edge.model.mobilellm import MobileLLM
from export.modules import PackedEmbedding, PackedHead, PackedLinear

VERSIONED_PACKAGES = ("edge-lowbit", "torch", "executorch", "torchao", "transformers")


def constant_methods(config: ModelConfig, max_seq_len: int) -> dict[str, Any]:
    """What TextLLMRunner and the Android LlmModule ask a program; without some they run, but badly."""
    return {
        "get_max_seq_len": max_seq_len,
        "get_max_context_len": max_seq_len,
        "get_vocab_size": config.vocab_size,
        "get_bos_id": config.bos_id,
        "get_eos_ids": list(config.eos_ids),
        "get_n_layers": config.n_layers,
        "use_kv_cache": True,
        "use_sdpa_with_kv_cache": True,
        "enable_dynamic_shape": True,  # absent, the stock runner silently prefills token by token
    }


def part_bytes(model: MobileLLM, program_bytes: int) -> dict[str, int]:
    """Bytes of a lowered model's packed tables by part; what is left of the file is ``rest``."""
    parts = {"linears": 0, "embedding": 0, "head": 0}
    for module in model.modules():
        if isinstance(module, PackedLinear):
            parts["linears"] += module.packed.numel()
        elif isinstance(module, PackedEmbedding):
            parts["embedding"] += module.packed.numel()
        elif isinstance(module, PackedHead) and module.packed is not None:
            parts["head"] += module.packed.numel()
    parts["rope_tables"] = (model.cos.numel() + model.sin.numel()) * 4
    parts["rest"] = program_bytes - sum(parts.values())
    return parts


def package_versions() -> dict[str, str]:
    versions = {}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def config_record(config: ModelConfig) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
