"""Schema of plan.json: what was asked for, what the device's costs come from, and every choice that fits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field

from edge.latency.devices.device import DeviceRecord
from edge.model.config import ModelConfig
from edge.model.shapes import shape_text
from edge.scaling.plan.device import DeviceModel
from edge.scaling.plan.fit import LeftOut
from edge.scaling.plan.law import LossModel
from edge.scaling.plan.search import Choice
from edge.schema import Strict

Finite = Annotated[float, Field(allow_inf_nan=False)]


class LawRecord(Strict):
    """The law of all losses; see ``edge.scaling.plan.law.LossModel``."""

    name: str
    source: str
    range: str
    notes: list[str]


class Costs(Strict):
    """What costs were fitted to, and their errors; see ``DeviceModel``."""

    report: str
    threads: int
    kv_cache: str
    contexts: list[int]
    prompts: list[int]
    has_start: bool
    has_memory: bool
    errors: dict[str, LeftOut | None]
    shape_errors: dict[str, LeftOut | None]


class ChoiceRecord(Strict):
    """One shape, width and way to train, the least predicted loss first.

    Attributes:
        shape: as ``edge.training --shape`` takes it.
        parameters: N, without embedding and head.
        low_bit_share: of the training tokens; see ``TrainingPlan``.
        loss: held out, nats per token; loss_low and loss_high as the law gives them, else None.
        training, training_source: words of a ``TrainingPlan``.
        loss_outside, cost_outside: what the loss, or times and memory, are extrapolated in.
        on_front: no other choice has both fewer bytes and less loss.
    """

    shape: str
    config: ModelConfig
    parameters: int
    bits: float
    training: str
    training_source: str
    low_bit_share: float
    loss: Finite
    loss_low: Finite | None
    loss_high: Finite | None
    loss_outside: list[str]
    cost_outside: list[str]
    file_bytes: int
    memory_bytes: Finite
    decode_tokens_per_second: Finite
    first_token_seconds: Finite
    on_front: bool


class Plan(Strict):
    """A plan; losses compare within it and with no other law's."""

    schema_version: Literal[1] = 1
    device: DeviceRecord
    costs: Costs
    limits: dict[str, float | None]
    prompt: int
    context: int
    train_tokens: Finite
    law: LawRecord
    warnings: list[str]
    choices: list[ChoiceRecord]
    commands: list[str]


def choice_record(choice: Choice) -> ChoiceRecord:
    case, loss = choice.case, choice.loss
    low, high = loss.interval or (None, None)
    return ChoiceRecord(
        shape=shape_text(case.config),
        config=case.config,
        parameters=case.parameters,
        bits=case.bits,
        training=case.training.words,
        training_source=case.training.source,
        low_bit_share=case.training.low_bit_share,
        loss=loss.nats,
        loss_low=low,
        loss_high=high,
        loss_outside=list(loss.outside),
        cost_outside=list(choice.cost_outside),
        on_front=choice.on_front,
        **asdict(choice.need),
    )


def costs_record(device: DeviceModel, report: str) -> Costs:
    return Costs(
        report=report, threads=device.threads, kv_cache=device.kv_cache, contexts=list(device.contexts),
        prompts=list(device.prompts), has_start=device.has_start, has_memory=device.memory is not None,
        errors=device.errors, shape_errors=device.shape_errors,
    )  # fmt: skip


def law_record(law: LossModel) -> LawRecord:
    return LawRecord(name=law.name, source=law.source, range=law.range, notes=list(law.notes))
