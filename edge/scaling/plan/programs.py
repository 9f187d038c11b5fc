"""Take from a latency report the programs that a device's costs are fitted to, with their shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from edge.formats import BY_NAME, Grid
from edge.latency.report.figures import measured
from edge.latency.schema import ProgramRecord, Report
from edge.model.config import NAMED_MODELS, ModelConfig
from edge.ops.kv_layout import CACHE_BITS
from edge.runtime.manifest import KVCacheFormat
from edge.scaling.plan.sizes import linear_bytes, program_size

#: Positions of the KV cache of an export that was not given a number.
LONGEST_DEFAULT = 2048
#: A file that is further from its predicted bytes is not of the shape that its name says.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Measured:
    """One of our own programs, with one scale a row, and its runs.

    Attributes:
        linear_bytes, head_bytes: that a decoded token reads.
    """

    record: ProgramRecord
    config: ModelConfig
    grid: Grid
    kv_cache: KVCacheFormat
    linear_bytes: int
    head_bytes: int


def measured_programs(report: Report, source: str) -> list[Measured]:
    """Find the programs of a report that have runs, a known shape, and the report's commonest KV cache.

    Args:
        source: the report's path, for messages.

    Raises:
        ValueError: there are too few; says what the report lacks.
    """
    if not report.device_kind.has_speed:
        raise ValueError(f"{source} is of {report.device_kind.words}, which has no speed; measure a device")
    own = [program for program in measured(report.programs) if program.is_own]
    if not own:
        raise ValueError(
            f"{source} has no runs of our own programs; measure some with python -m edge.latency"
        )
    found = [each for program in own if (each := _as_measured(program)) is not None]
    if not found:
        raise ValueError(
            f"{source} does not tell the shapes of its programs, and their names are not published ones; "
            "measure again with this version of edge.latency, which keeps shapes"
        )
    commonest = Counter(each.kv_cache for each in found).most_common(1)[0][0]
    alike = [each for each in found if each.kv_cache == commonest]
    refuse_one_shape(alike, source)
    return alike


def refuse_one_shape(programs: Sequence[Measured], source: str, threads: str = "") -> None:
    """Raise ValueError unless two programs differ in depth or width.

    Args:
        threads: words for those that the programs ran with, or nothing.
    """
    if len({_layers_and_width(each.config) for each in programs}) < 2:
        raise ValueError(
            f"{source} has programs of one shape{threads}, {programs[0].record.model}, and costs of others "
            "need two at least; measure more, as in python -m edge.latency --sizes 125M,350M --random-weights"
        )


def _layers_and_width(config: ModelConfig) -> tuple[int, int]:
    return config.n_layers, config.dim


def _as_measured(program: ProgramRecord) -> Measured | None:
    """Add shape and bytes; None where the shape is not known, or the tables are not those of a plain grid."""
    grid, config = BY_NAME.get(program.format), program.config or NAMED_MODELS.get(program.model)
    if grid is None or grid.zero is None or config is None or program.kv_cache not in CACHE_BITS:
        return None
    kv_cache = cast(KVCacheFormat, program.kv_cache)
    size = program_size(
        config, grid, min(config.max_seq_len, LONGEST_DEFAULT), kv_cache,
        has_equal_norms=program.weights == "random",
    )  # fmt: skip
    if program.config is None and abs(program.file_bytes / size.total - 1) > _TOLERANCE:
        return None
    stored = program.linear_bits_per_weight
    if stored is None or round(stored * config.linear_parameters / 8) != linear_bytes(config, grid):
        return None
    return Measured(program, config, grid, kv_cache, size.linears, program.head_bytes or size.head)
