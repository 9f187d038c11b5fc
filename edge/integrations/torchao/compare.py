"""Try widths on a user's model, and find the best that fits a budget."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torchao.core.config import AOBaseConfig
from torchao.quantization import quantize_

from edge.integrations.torchao.config import linears
from edge.latency.report.figures import Spread, alone, pareto_front
from edge.latency.report.planes import Point, front
from edge.latency.report.svg import Drawing

#: Runs of a model for its latency, after one that warms up.
_RUNS = 7
Filter: TypeAlias = Callable[[nn.Module, str], bool]
#: One config; or configs for some of the linears each, the first whose filter lets a linear through.
Choice: TypeAlias = AOBaseConfig | Sequence[tuple[Filter, AOBaseConfig]] | None


@dataclass(frozen=True)
class Candidate:
    """One way to quantise the model, and what it gave.

    Attributes:
        loss: what ``evaluate`` returned; lower is better.
        milliseconds: of a run on the example inputs; None without them.
    """

    name: str
    bytes: int
    loss: float
    milliseconds: Spread | None
    on_front: bool = False


@dataclass(frozen=True)
class Comparison:
    """All candidates, smallest first.

    Attributes:
        budget: bytes at most; None for no limit.
    """

    candidates: tuple[Candidate, ...]
    budget: int | None

    @property
    def best(self) -> Candidate:
        """The candidate of the lowest loss within the budget; of equal ones the smallest.

        Raises:
            ValueError: none fits; names the smallest.
        """
        fitting = [one for one in self.candidates if self.budget is None or one.bytes <= self.budget]
        if not fitting:
            least = self.candidates[0]
            raise ValueError(
                f"nothing fits {self.budget:,} bytes; the smallest is {least.name}, {least.bytes:,} bytes"
            )
        return min(fitting, key=lambda one: one.loss)

    def __str__(self) -> str:
        """A table in Markdown; * marks the Pareto front of bytes and loss."""
        lines = ["| | bytes | loss | ms, median (least to most) | front |", "| --- | --- | --- | --- | --- |"]
        for one in self.candidates:
            speed = one.milliseconds
            told = f"{speed.median:.3g} ({speed.least:.3g} to {speed.most:.3g})" if speed else ""
            lines.append(f"| {one.name} | {one.bytes:,} | {one.loss:.4g} | {told} | {'*' * one.on_front} |")
        return "\n".join(lines) + "\n"

    def picture(self) -> Drawing:
        """Loss against bytes; ``edge.latency.report.svg.as_file`` makes an SVG file of it."""
        points = [Point(one.name, alone(one.bytes / 1e6), one.loss, one.on_front) for one in self.candidates]
        names = ", ".join(one.name for one in self.candidates if one.on_front)
        axes = ("weights, MB", "loss, lower is better")
        return front("Loss and bytes", f"On the front: {names}.", axes, points, more_is_better=False)


def compare(
    model: nn.Module,
    choices: Mapping[str, Choice],
    evaluate: Callable[[nn.Module], float],
    budget: int | None = None,
    example: tuple[Tensor, ...] = (),
    filter_fn: Filter | None = None,
) -> Comparison:
    """Quantise a copy of the model by each choice, and measure bytes, loss and latency.

    Args:
        choices: by name, a config, configs for parts of the model as pairs of filter and config, or None for
            the model as it is.
        evaluate: returns the loss of a model, lower is better.
        budget: bytes that all parameters and buffers may have together.
        example: inputs of the runs that are timed, in turns.
        filter_fn: linears that a single config quantises; default: ``linears(model)``.

    Raises:
        ValueError: no choice, or a loss that is not finite.
    """
    if not choices:
        raise ValueError("there is nothing to compare; name at least one choice")
    models = {name: _quantized(model, choice, filter_fn) for name, choice in choices.items()}
    losses = {name: float(evaluate(one)) for name, one in models.items()}
    if odd := [name for name, loss in losses.items() if loss != loss or abs(loss) == float("inf")]:
        raise ValueError(f"evaluate returned {losses[odd[0]]} for {odd[0]}")
    times = _times(models, example) if example else {}
    sizes = {name: nbytes(one) for name, one in models.items()}
    names = sorted(models, key=lambda name: (sizes[name], losses[name]))
    is_on = pareto_front([(sizes[name], losses[name]) for name in names])
    found = [
        Candidate(name, sizes[name], losses[name], times.get(name), on_front)
        for name, on_front in zip(names, is_on, strict=True)
    ]
    return Comparison(tuple(found), budget)


def nbytes(model: nn.Module) -> int:
    """Count the bytes of a model's parameters and buffers, shared ones once."""
    tensors: dict[int, Tensor] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(_tensor_bytes(tensor.data) for tensor in tensors.values())


def _tensor_bytes(tensor: Tensor) -> int:
    """The bytes of a tensor, or of the tensors that it is made of."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_tensor_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return tensor.numel() * tensor.element_size()


def _quantized(model: nn.Module, choice: Choice, filter_fn: Filter | None) -> nn.Module:
    made = copy.deepcopy(model).eval()
    if choice is None:
        return made
    parts = [(filter_fn or linears(made), choice)] if isinstance(choice, AOBaseConfig) else list(choice)
    done: set[str] = set()
    for chooses, config in parts:
        chosen = {n for n, module in made.named_modules() if n not in done and chooses(module, n)}
        for step in _steps(config):
            quantize_(made, step, filter_fn=lambda module, name, own=chosen: name in own)
        done |= chosen
    return made


def _steps(config: AOBaseConfig) -> list[AOBaseConfig]:
    """A config whose step is "prepare" is followed by its conversion: nothing is trained in between."""
    if getattr(config, "step", None) != "prepare":
        return [config]
    after = copy.copy(config)
    after.step = "convert"
    return [config, after]


@torch.no_grad()
def _times(models: Mapping[str, nn.Module], example: tuple[Tensor, ...]) -> dict[str, Spread]:
    """Time the models in turns, so that what else runs here slows all of them."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(_RUNS + 1):
        for name, model in models.items():
            started = time.perf_counter()
            model(*example)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                found[name].append(1e3 * (time.perf_counter() - started))
    return {name: Spread(statistics.median(v), min(v), max(v), len(v)) for name, v in found.items()}
