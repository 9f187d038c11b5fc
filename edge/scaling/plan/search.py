"""Combine shapes, widths and training plans, keep what fits a device, and rank it by predicted loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.formats import Grid
from edge.model.config import ModelConfig
from edge.scaling.plan.device import DeviceModel
from edge.scaling.plan.law import Case, Loss, LossModel
from edge.scaling.plan.limits import Limits, Need
from edge.scaling.plan.programs import LONGEST_DEFAULT
from edge.scaling.plan.sizes import program_size


@dataclass(frozen=True)
class Work:
    """What a model is asked to do: tokens of a prompt, and positions that are filled when it decodes."""

    prompt: int
    context: int

    def __post_init__(self) -> None:
        for name, value in (("--prompt", self.prompt), ("--context", self.context)):
            if not 1 <= value <= LONGEST_DEFAULT:
                raise ValueError(f"{name} must lie in 1..{LONGEST_DEFAULT}, not {value}")


@dataclass(frozen=True)
class Choice:
    """A shape at a width, trained in one way, with what it needs and its predicted loss."""

    case: Case
    grid: Grid
    need: Need
    cost_outside: tuple[str, ...]
    loss: Loss
    on_front: bool = False


@dataclass(frozen=True)
class Program:
    """A shape at a width, what it needs, and in what that is extrapolated."""

    config: ModelConfig
    grid: Grid
    need: Need
    cost_outside: tuple[str, ...]


def programs(device: DeviceModel, shapes: Sequence[ModelConfig], work: Work) -> list[Program]:
    """Every shape at every width that the device's report has."""
    return [
        Program(config, grid, _need(device, config, grid, work), device.outside(config, grid))
        for config in shapes
        for grid in device.grids
    ]


def _need(device: DeviceModel, config: ModelConfig, grid: Grid, work: Work) -> Need:
    size = program_size(config, grid, LONGEST_DEFAULT, device.kv_cache)
    positions = max(work.prompt, work.context)
    return Need(
        file_bytes=size.total,
        memory_bytes=device.memory_bytes(config, grid, size, work.prompt, positions),
        decode_tokens_per_second=1 / device.decode_seconds(config, grid, size, work.context),
        first_token_seconds=device.first_token_seconds(config, grid, size, work.prompt),
    )


def fitting(found: Sequence[Program], limits: Limits) -> list[Program]:
    """Keep the programs within all limits.

    Raises:
        ValueError: nothing fits; says which limit the nearest program misses most, and by how much.
    """
    kept = [each for each in found if all(ratio <= 1 for ratio in limits.excess(each.need).values())]
    if kept:
        return kept
    nearest = min(found, key=lambda each: max(limits.excess(each.need).values()))
    excess = limits.excess(nearest.need)
    flag = max(excess, key=lambda each: excess[each])
    raise ValueError(
        f"nothing fits: the nearest, {nearest.config.n_layers} layers {nearest.config.dim} wide at "
        f"{nearest.grid.bits:g} bits, misses {flag} by a factor of {excess[flag]:.3g}; relax that limit"
    )


def ranked(found: Sequence[Program], law: LossModel, tokens: float) -> list[Choice]:
    """Predict the loss of each program in each way to train it, the least first; ties by bytes.

    Raises:
        ValueError: the law tells about none of these shapes and widths.
    """
    choices = []
    for program in found:
        for training in law.plans(program.config, program.grid.bits, tokens):
            case = Case(program.config, program.grid.bits, tokens, training)
            choices.append(Choice(case, program.grid, program.need, program.cost_outside, law.predict(case)))
    if not choices:
        widths = ", ".join(sorted({f"{program.grid.bits:g}" for program in found}))
        raise ValueError(
            f"--law {law.name} tells nothing about the {len(found)} programs that fit, of {widths} bits; "
            f"it is for {law.range}"
        )
    ordered = sorted(choices, key=lambda each: (each.loss.nats, each.need.file_bytes))
    return _with_front(ordered)


def _with_front(choices: Sequence[Choice]) -> list[Choice]:
    """Mark the choices that no other beats in bytes and loss both; they come in the order of loss."""
    marked: list[Choice] = []
    fewest = float("inf")
    for choice in choices:
        marked.append(replace(choice, on_front=choice.need.file_bytes < fewest))
        fewest = min(fewest, choice.need.file_bytes)
    return marked
