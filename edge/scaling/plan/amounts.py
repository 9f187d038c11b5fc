"""Count what a token, a prompt, a start and memory cost by, and collect a report's figures of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge.formats import Grid
from edge.latency.report import figures
from edge.latency.report.figures import Metric
from edge.latency.schema import Settings
from edge.model.config import ModelConfig
from edge.runtime.manifest import KVCacheFormat
from edge.scaling.plan.fit import Amounts, Row
from edge.scaling.plan.programs import Measured
from edge.scaling.plan.sizes import kv_bytes_per_position

#: Bytes that a decoded token reads, which cost more beyond a cache.
READ = "bytes read"


def decode_amounts(
    config: ModelConfig, grid: Grid, linear_bytes: int, head_bytes: int, position: float
) -> Amounts:
    """Count what a token costs by, at a position."""
    layers = config.n_layers * config.passes_per_layer
    return {
        f"bytes of linears, {grid.name}": linear_bytes * config.passes_per_layer,
        "bytes of the head": head_bytes,
        "layers": layers,
        "multiplications of attention": layers * config.n_heads * config.head_dim * position,
        READ: linear_bytes + head_bytes,
    }


def prefill_amounts(config: ModelConfig, grid: Grid, prompt: int) -> Amounts:
    """Count what a prompt from an empty cache costs by; the head computes one token's logits."""
    layers = config.n_layers * config.passes_per_layer
    return {
        f"multiplications, {grid.name}": prompt * config.linear_parameters * config.passes_per_layer,
        "multiplications of attention": layers * config.n_heads * config.head_dim * prompt**2 / 2,
        "layers": layers,
    }


def start_amounts(grid: Grid, linear_bytes: int) -> Amounts:
    """Count what a process's start costs by: itself, and weights that are read, and maybe unpacked.

    Its time is what the first token takes beside the prompt, its memory what it has beside ``known_bytes``.
    """
    return {"process": 1.0, f"bytes of linears, {grid.name}": linear_bytes}


def known_bytes(
    config: ModelConfig, file_bytes: int, kv_cache: KVCacheFormat, prompt: int, positions: int
) -> int:
    """Count the bytes that a program touches: its file, the KV cache as far as it is filled, activations.

    Activations are float32 [prompt, ...]: the residual stream, its successor, and the widest value between.
    """
    heads = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
    activations = 4 * prompt * (2 * config.dim + max(config.ffn_dim, heads))
    return file_bytes + kv_bytes_per_position(config, kv_cache) * positions + activations


def decode_rows(programs: Sequence[Measured], settings: Settings, threads: int) -> list[Row]:
    """Seconds of a token at each context, the median of the rounds."""
    rows = []
    for context in settings.contexts:
        position = context + settings.generated / 2  # the mean of the tokens that were timed
        for program, rate in _medians(programs, threads, figures.decode(context)):
            amounts = decode_amounts(
                program.config, program.grid, program.linear_bytes, program.head_bytes, position
            )
            rows.append(Row(program.record.name, amounts, 1 / rate, 1 / rate))
    return rows


def prefill_rows(programs: Sequence[Measured], settings: Settings, threads: int) -> list[Row]:
    """Seconds of each prompt."""
    return [
        Row(p.record.name, prefill_amounts(p.config, p.grid, prompt), prompt / rate, prompt / rate)
        for prompt in settings.prompts
        for p, rate in _medians(programs, threads, figures.prefill(prompt))
    ]


def first_token_rows(programs: Sequence[Measured], settings: Settings, threads: int) -> list[Row]:
    """Seconds from a process's start to the first prompt's next token."""
    prompt, rows = settings.prompts[0], []
    for p, milliseconds in _medians(programs, threads, figures.FIRST_TOKEN):
        amounts = {**prefill_amounts(p.config, p.grid, prompt), **start_amounts(p.grid, p.linear_bytes)}
        rows.append(Row(p.record.name, amounts, milliseconds / 1e3, milliseconds / 1e3))
    return rows


def memory_rows(programs: Sequence[Measured], settings: Settings, threads: int) -> list[Row]:
    """Peak bytes beyond the known ones."""
    prompt = max(settings.prompts)
    positions = max(prompt, max(settings.contexts) + settings.generated)
    rows = []
    for p, peak in _medians(programs, threads, figures.PEAK_MEMORY):
        known = known_bytes(p.config, p.record.file_bytes, p.kv_cache, prompt, positions)
        rows.append(Row(p.record.name, start_amounts(p.grid, p.linear_bytes), peak - known, peak))
    return rows


def _medians(programs: Sequence[Measured], threads: int, metric: Metric) -> Iterator[tuple[Measured, float]]:
    for program in programs:
        spread = figures.figure(program.record, threads, metric)
        if spread is not None:
            yield program, spread.median
