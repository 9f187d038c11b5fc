"""Predict what programs that were not measured cost on a device, from a latency report of others.

A decoded token reads the linears and the head, each width at its own rate, because kernels unpack each in
another way; bytes beyond a cache cost more. Each layer costs something however small it is, and attention
costs by the positions that it sees. A prompt costs by its multiplications. Costs are fitted to the medians of
the report's rounds, and each program is predicted from the others to learn the error.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    memory_amounts,
    memory_rows,
    prefill_amounts,
    prefill_rows,
    start_amounts,
)
from edge.scaling.plan.fit import Amounts, Costs, LeftOut, Row, fit_costs, leave_one_out, misfit, without
from edge.scaling.plan.law import amount
from edge.scaling.plan.programs import measured_programs, refuse_one_shape
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
        linear_parameters: least and most that were measured; beyond them costs are extrapolated.
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
    linear_parameters: tuple[int, int]
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]

    def outside(self, config: ModelConfig) -> tuple[str, ...]:
        """Say in what a shape is beyond those that were measured."""
        least, most = self.linear_parameters
        count = config.linear_parameters
        if least <= count <= most:
            return ()
        return (f"weights of linears {amount(count)} (measured {amount(least)} to {amount(most)})",)

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
        return known + _known(self.memory.predict(memory_amounts(grid, size.linears)))


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
    sizes = [program.config.linear_parameters for program in programs]
    errors = {
        "decode": leave_one_out(decode, lambda name: fit_decode(without(decode, name))),
        "first token": leave_one_out(
            first_token or prefill,
            lambda name: fit_first_token(without(prefill, name), without(first_token, name)),
        ),
        "memory": leave_one_out(memory, lambda name: fit_costs(without(memory, name))),
    }
    return DeviceModel(
        threads, programs[0].kv_cache,
        grids=tuple(dict.fromkeys(grids)),
        decode=fit_decode(decode), first_token=fit_first_token(prefill, first_token),
        has_start=bool(first_token), memory=fit_costs(memory) if memory else None, errors=errors,
        linear_parameters=(min(sizes), max(sizes)),
        contexts=tuple(settings.contexts), prompts=tuple(settings.prompts),
    )  # fmt: skip
