"""Predict what programs that were not measured cost on a device, from a latency report of others.

A decoded token reads the linears and the head, each width at its own rate, because kernels unpack each in
another way; bytes beyond a cache cost more. Each layer costs something however small it is, and attention
costs by the positions that it sees. A prompt costs by its multiplications. Costs are fitted to the medians of
the report's rounds. To learn the error, each program is predicted from the others, and each shape between
the smallest and the largest from the other shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edge.formats import Grid
from edge.latency.schema import Report
from edge.model.config import ModelConfig
from edge.runtime.manifest import KVCacheFormat
from edge.scaling.plan.amounts import (
    READ,
    decode_amounts,
    decode_rows,
    first_token_rows,
    known_bytes,
    memory_rows,
    prefill_amounts,
    prefill_rows,
    start_amounts,
)
from edge.scaling.plan.fit import Amounts, Costs, LeftOut, Part, Row, fit_costs, leave_out, misfit
from edge.scaling.plan.law import amount
from edge.scaling.plan.programs import Measured, measured_programs, refuse_one_shape
from edge.scaling.plan.sizes import ProgramSize

#: Sizes of a cache that are tried, bytes.
_CACHES = tuple(2**exponent * 1e6 for exponent in range(8))


@dataclass(frozen=True)
class DecodeCosts:
    """Costs of a token, where bytes beyond ``cache_bytes`` cost more."""

    costs: Costs
    cache_bytes: float

    def predict(self, amounts: Amounts) -> float | None:
        return self.costs.predict(_beyond(amounts, self.cache_bytes))


def _beyond(amounts: Amounts, cache_bytes: float) -> Amounts:
    others = {name: amount for name, amount in amounts.items() if name != READ}
    return {**others, "bytes beyond the cache": max(0.0, amounts[READ] - cache_bytes)}


def fit_decode(rows: Sequence[Row]) -> DecodeCosts:
    """Fit costs with the size of cache that leaves the least squares."""
    fits = []
    for cache in _CACHES:
        split = [replace(row, amounts=_beyond(row.amounts, cache)) for row in rows]
        costs = fit_costs(split)
        fits.append((misfit(costs, split), DecodeCosts(costs, cache)))
    return min(fits, key=lambda each: each[0])[1]


def fit_first_token(prefill: Sequence[Row], first_token: Sequence[Row]) -> Costs:
    """Fit the costs of a prompt, then those of a process's start to what its first token takes beyond."""
    prompt = fit_costs(prefill)
    rest = []
    for row in first_token:
        own = {name: amount for name, amount in row.amounts.items() if name not in prompt.of}
        of_prompt = prompt.predict({name: row.amounts[name] for name in row.amounts if name in prompt.of})
        assert of_prompt is not None
        rest.append(replace(row, amounts=own, value=row.value - of_prompt))
    return Costs(prompt.of | fit_costs(rest).of) if rest else prompt


@dataclass(frozen=True)
class DeviceModel:
    """Costs of a device at one number of threads.

    Attributes:
        grids: of the widths that were measured; no other can be predicted.
        has_start: the report has times to the first token; without them it is the prompt's time alone.
        memory: None where the report has no peaks; then the process itself is not counted.
        errors: of programs that were left out, by figure; None where too few are left.
        shape_errors: of shapes that were left out with all of their programs.
        shapes: that were measured.
        linears, heads: least and most weights that were measured, of linears at each width and of heads;
            beyond them costs are extrapolated.
        contexts, prompts: that were measured.
    """

    threads: int
    kv_cache: KVCacheFormat
    grids: tuple[Grid, ...]
    decode: DecodeCosts
    first_token: Costs
    has_start: bool
    memory: Costs | None
    errors: dict[str, LeftOut | None]
    shape_errors: dict[str, LeftOut | None]
    shapes: frozenset[ModelConfig]
    linears: dict[Grid, tuple[int, int]]
    heads: tuple[int, int]
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]

    def outside(self, config: ModelConfig, grid: Grid) -> tuple[str, ...]:
        """Say in what a shape at a width is beyond those that were measured."""
        return tuple(
            f"weights of {what} {amount(weights)} (measured {amount(least)} to {amount(most)})"
            for what, weights, (least, most) in (
                ("linears", config.linear_parameters, self.linears[grid]),
                ("the head", _head(config), self.heads),
            )
            if not least <= weights <= most
        )

    def decode_seconds(self, config: ModelConfig, grid: Grid, size: ProgramSize, position: float) -> float:
        return _known(self.decode.predict(decode_amounts(config, grid, size.linears, size.head, position)))

    def first_token_seconds(self, config: ModelConfig, grid: Grid, size: ProgramSize, prompt: int) -> float:
        start = start_amounts(grid, size.linears) if self.has_start else {}
        return _known(self.first_token.predict({**prefill_amounts(config, grid, prompt), **start}))

    def memory_bytes(
        self, config: ModelConfig, grid: Grid, size: ProgramSize, prompt: int, positions: int
    ) -> float:
        known = known_bytes(config, size.total, self.kv_cache, prompt, positions)
        if self.memory is None:
            return known
        return known + _known(self.memory.predict(start_amounts(grid, size.linears)))


def _known(value: float | None) -> float:
    assert value is not None, "only widths that were measured are planned"
    return value


def fit_device(report: Report, source: str, threads: int | None) -> DeviceModel:
    """Fit a device's costs at a number of threads; None is the report's first.

    Args:
        source: the report's path, for messages.

    Raises:
        ValueError: the report lacks what is needed; see ``measured_programs``.
    """
    settings = report.settings
    threads = settings.threads[0] if threads is None else threads
    if threads not in settings.threads:
        measured = ", ".join(map(str, settings.threads))
        raise ValueError(f"--threads {threads} was not measured in {source}; it has {measured}")
    programs = measured_programs(report, source)
    decode, prefill, first_token, memory = (
        rows(programs, settings, threads)
        for rows in (decode_rows, prefill_rows, first_token_rows, memory_rows)
    )
    for what, rows in {"decode": decode, "prefill": prefill}.items():
        if not rows:
            raise ValueError(f"{source} has no times of {what} with {threads} threads; measure it again")
        of = {row.program for row in rows}
        refuse_one_shape([p for p in programs if p.record.name in of], source, f" with {threads} threads")
    timed = [{row.program for row in rows} for rows in (decode, prefill, first_token, memory) if rows]
    grids = [p.grid for p in programs if all(p.record.name in names for names in timed)]
    names, shapes = _by_itself(programs), _by_shape(programs)
    errors, shape_errors = (
        {
            "decode": leave_out(decode, parts, fit_decode),
            "first token": _first_token_errors(prefill, first_token, parts),
            "memory": leave_out(memory, parts, fit_costs),
        }
        for parts in (names, shapes)
    )
    return DeviceModel(
        threads, programs[0].kv_cache,
        grids=tuple(dict.fromkeys(grids)),
        decode=fit_decode(decode), first_token=fit_first_token(prefill, first_token),
        has_start=bool(first_token), memory=fit_costs(memory) if memory else None,
        errors=errors, shape_errors=shape_errors, shapes=frozenset(p.config for p in programs),
        linears={
            grid: _ends(p.config.linear_parameters for p in programs if p.grid == grid) for grid in grids
        },
        heads=_ends(_head(p.config) for p in programs),
        contexts=tuple(settings.contexts), prompts=tuple(settings.prompts),
    )  # fmt: skip


def _first_token_errors(
    prefill: Sequence[Row], first_token: Sequence[Row], parts: Sequence[Part]
) -> LeftOut | None:
    """Leave prompts and first tokens out together; a report without first tokens has prompts alone."""
    both = [*prefill, *first_token]

    def fit(kept: Sequence[Row]) -> Costs:
        return fit_first_token([r for r in kept if r in prefill], [r for r in kept if r in first_token])

    return leave_out(both, parts, fit, judged=first_token or prefill)


def _by_itself(programs: Sequence[Measured]) -> list[Part]:
    return [frozenset([program.record.name]) for program in programs]


def _by_shape(programs: Sequence[Measured]) -> list[Part]:
    """Programs of each shape between the smallest and the largest."""
    sizes = sorted({program.config.linear_parameters for program in programs})
    between = {p.config: None for p in programs if p.config.linear_parameters in sizes[1:-1]}
    return [frozenset(p.record.name for p in programs if p.config == config) for config in between]


def _head(config: ModelConfig) -> int:
    return config.vocab_size * config.dim


def _ends(values: Iterable[int]) -> tuple[int, int]:
    known = list(values)
    return min(known), max(known)
