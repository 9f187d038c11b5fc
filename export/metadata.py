"""What travels with a program: constant methods for the stock runners, and the manifest's figures."""

from __future__ import annotations

import importlib.metadata
from dataclasses import asdict
from typing import Any

from edge.formats import WeightFormat
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, is_quantized_linear
from edge.ops.packing import read_header
from edge.quantizers.plan import MIXED, mean_bits
from edge.runtime.manifest import FileRecord
from export.modules import OpAttention, PackedEmbedding, PackedHead, PackedTable, tables
from export.recipes import Options

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


def package_versions() -> dict[str, str]:
    versions = {}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def option_figures(options: Options) -> dict[str, Any]:
    """What the manifest says of the user's choices."""
    return {
        "recipe": options.recipe.name,
        "embedding_bits": options.embedding_bits,
        "max_seq_len": options.max_seq_len,
        "kv_cache": options.kv_cache,
    }


def format_figures(lowered: Decoder, fmt: WeightFormat) -> dict[str, Any]:
    """What the manifest says of the linears' formats: ``fmt`` unless their packed tables differ."""
    formats: dict[str, str] = {}
    weights = []
    for _, table in tables(lowered):
        linears = {name: rows for name, rows in table.rows.items() if is_quantized_linear(name)}
        if linears and isinstance(table, PackedTable):
            header = read_header(table.packed)
            formats |= dict.fromkeys(linears, header.format.name)
            weights.append((header.format, header.n * header.k))
    if len(set(formats.values())) < 2:
        return {"format": fmt.name, "bits": fmt.bits, "formats": {}}
    return {"format": MIXED, "bits": mean_bits(weights), "formats": formats}


def program_figures(lowered: Decoder, program: FileRecord) -> dict[str, Any]:
    """What the manifest says of a written program: its shape, tables and sizes."""
    config, parts = lowered.config, part_bytes(lowered, program.bytes)
    record = asdict(config)
    return {
        "config": {k: list(value) if isinstance(value, tuple) else value for k, value in record.items()},
        "parameters": config.parameters,
        "program": program,
        "tables": {name: list(t.rows) for name, t in tables(lowered) if isinstance(t, PackedTable)},
        "kv_cache_bytes": sum(
            cache.nbytes
            for module in lowered.modules()
            if isinstance(module, OpAttention)
            for cache in module.caches()
        ),
        "part_bytes": parts,
        "linear_bits_per_weight": 8 * parts["linears"] / config.linear_parameters or None,
        "effective_bits_per_weight": 8 * program.bytes / config.parameters,
    }


def part_bytes(lowered: Decoder, program_bytes: int) -> dict[str, int]:
    """Bytes of a lowered model's packed tables by part; what is left of the file is ``rest``."""
    parts = {"linears": 0, "embedding": 0, "head": 0}
    for _, table in tables(lowered):
        if isinstance(table, PackedTable):
            part = {PackedEmbedding: "embedding", PackedHead: "head"}.get(type(table), "linears")
            parts[part] += table.packed.numel()
    parts["rope_tables"] = (lowered.cos.numel() + lowered.sin.numel()) * 4
    parts["rest"] = program_bytes - sum(parts.values())
    return parts
