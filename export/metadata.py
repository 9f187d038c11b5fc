"""Collect what a program says about itself: constant methods for runners, and figures for the manifest."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from edge.formats import Grid
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, named_linears
from edge.quantizers.plan import MIXED, Plan, mean_bits
from edge.runtime.manifest import ELASTIC, FileRecord
from export.lower import Options
from export.modules import OpAttention, PackedEmbedding, PackedHead
from export.recipes import Recipe
from export.tables import RestTable, packed_tables

VERSIONED_PACKAGES = ("edge-lowbit", "torch", "executorch", "torchao", "transformers")


def constant_methods(config: ModelConfig, max_seq_len: int) -> dict[str, Any]:
    """The constants that TextLLMRunner and Android's LlmModule read; without some they run, but slowly."""
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
    """Versions of the packages that a program depends on; "unknown" if one is not installed."""
    versions = {}
    for package in VERSIONED_PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def option_figures(recipe: Recipe, options: Options) -> dict[str, Any]:
    """The user's choices, for the manifest."""
    return {
        "recipe": recipe.name,
        "embedding_bits": options.embedding_bits,
        "head_bits": options.head_bits or options.embedding_bits,
        "max_seq_len": options.max_seq_len,
        "kv_cache": options.kv_cache,
    }


def format_figures(model: Decoder, plan: Plan, grid: Grid, is_elastic: bool) -> dict[str, Any]:
    """The linears' grids, for the manifest: one name, or each linear's if they differ.

    Args:
        grid: the program's grid, reported if no linear of the model is on a grid.
    """
    if is_elastic:
        return {"format": ELASTIC, "bits": plan.default.bits, "formats": {}}
    if not plan.is_quantized:
        return {"format": grid.name, "bits": grid.bits, "formats": {}}
    if not plan.others:
        return {"format": plan.default.name, "bits": plan.default.bits, "formats": {}}
    linears = named_linears(model)
    formats = {name: plan.of(name).name for name in linears}
    bits = mean_bits((plan.of(name), linear.weight.numel()) for name, linear in linears.items())
    return {"format": MIXED, "bits": bits, "formats": formats}


def program_figures(lowered: Decoder, program: FileRecord) -> dict[str, Any]:
    """The shape, tables and sizes of a written program, for the manifest."""
    config, parts = lowered.config, part_bytes(lowered, program.bytes)
    return {
        "config": config,
        "parameters": config.parameters,
        "program": program,
        "tables": {
            name: list(table.rows)
            for name, table in packed_tables(lowered).items()
            if not isinstance(table, RestTable)
        },
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
    """Bytes of a program by part of the model; ``rest`` is all that is not in a table."""
    parts = {"linears": 0, "embedding": 0, "head": 0}
    for table in packed_tables(lowered).values():
        part = {PackedEmbedding: "embedding", PackedHead: "head"}.get(type(table), "linears")
        parts[part] += table.packed.numel()
    parts["rope_tables"] = sum(table.nbytes for table in lowered.ropes.buffers())
    parts["rest"] = program_bytes - sum(parts.values())
    return parts
