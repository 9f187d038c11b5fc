"""Say plainly where a plan's figures are extrapolated, or decided by less than their error."""

from __future__ import annotations

from collections.abc import Sequence

from edge.latency.report.words import percent
from edge.scaling.plan.device import DeviceModel
from edge.scaling.plan.limits import Limits
from edge.scaling.plan.search import Choice, Work

#: The errors that a limit is met within.
_ERROR_OF = {"--min-decode": "decode", "--max-first-token": "first token", "--max-memory": "memory"}


def warnings(choices: Sequence[Choice], device: DeviceModel, limits: Limits, work: Work) -> list[str]:
    """Sentences on the whole plan first, then on its first choice."""
    return [*_of_costs(choices, device, work), *_of_losses(choices), *_of_limits(choices[0], device, limits)]


def _of_costs(choices: Sequence[Choice], device: DeviceModel, work: Work) -> list[str]:
    sentences = []
    beyond = [each for each in choices if each.cost_outside]
    if beyond:
        sentences.append(
            f"times and memory are extrapolated for {len(beyond)} of {len(choices)} choices; for the first "
            f"of them, in {'; '.join(beyond[0].cost_outside)}."
        )
    for name, value, known in (
        ("--context", work.context, device.contexts),
        ("--prompt", work.prompt, device.prompts),
    ):
        if not min(known) <= value <= max(known):
            sentences.append(f"{name} {value} is extrapolated from {', '.join(map(str, known))}.")
    if not device.has_start:
        sentences.append("first token: the prompt alone; the report has no times from a process's start.")
    if device.memory is None:
        sentences.append("memory: without the process itself; the report has no peaks.")
    return sentences


def _of_losses(choices: Sequence[Choice]) -> list[str]:
    """Say how many are extrapolated, which the best is that is not, and how many may be as good."""
    sentences = []
    outside = [choice for choice in choices if choice.loss.outside]
    if outside:
        counted = f"{len(outside)} of {len(choices)} losses are extrapolated beyond the law's runs"
        first, inside = choices[0].loss.outside, next((c for c in choices if not c.loss.outside), None)
        sentence = (
            f"{counted}; the first, in {'; '.join(first)}." if first else f"{counted}; the first is not."
        )
        if first and inside is not None:
            case = inside.case
            sentence += (
                f" The best within them has {case.config.n_layers} layers, {case.config.dim} wide, at "
                f"{case.bits:g} bits, {case.training.words}: {inside.loss.nats:.3f}."
            )
        sentences.append(sentence)
    if interval := choices[0].loss.interval:
        alike = sum(choice.loss.nats <= interval[1] for choice in choices[1:])
        sentences.append(f"the losses of {alike} other choices lie within the interval of the first.")
    return sentences


def _of_limits(first: Choice, device: DeviceModel, limits: Limits) -> list[str]:
    sentences = []
    errors = device.errors if first.case.config in device.shapes else device.shape_errors
    for flag, ratio in limits.excess(first.need).items():
        error = errors.get(_ERROR_OF.get(flag, ""))
        if error is not None and ratio * (1 + error.wide) > 1:
            sentences.append(
                f"the first choice meets {flag} by {percent(1 - ratio)}, and its figure may be off by "
                f"{percent(error.wide)}; measure it."
            )
    return sentences
