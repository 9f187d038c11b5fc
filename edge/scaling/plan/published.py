"""Losses by published constants: 2411.04330's laws, and 2505.14302's of 4 bits."""

from __future__ import annotations

from dataclasses import dataclass

from edge.formats import FULL_PRECISION
from edge.model.config import ModelConfig
from edge.quantize.flags import BITS as POST_BITS
from edge.scaling.laws import Inputs
from edge.scaling.laws.groups import GROUPS
from edge.scaling.laws.post import POST
from edge.scaling.laws.precision import PRECISION
from edge.scaling.plan.law import AFTERWARDS, FROM_SCRATCH, FULL, Case, Loss, TrainingPlan, range_words

_NO_INTERVAL = "The paper gives no intervals."
_OTHER_BITS = (
    "Activations and KV cache count as full precision, though programs have int8 ones; the exporter checks "
    "what these cost."
)
#: The damage's reading that goes with one of the training law.
_POST_READING = {"with biases": "with bias", "without biases": "without bias"}


@dataclass(frozen=True)
class Precision:
    """Low bits from scratch, or full precision that GPTQ quantises (arXiv 2411.04330)."""

    reading: str
    name = "precision"
    readings = tuple(_POST_READING)

    @property
    def source(self) -> str:
        return f"{PRECISION.source}, and {POST.source} after training, {self.reading}"

    @property
    def range(self) -> str:
        return range_words(PRECISION.measured)

    @property
    def notes(self) -> tuple[str, ...]:
        return ("Fitted on Dolma, with that paper's tokenizer.", _NO_INTERVAL, _OTHER_BITS)

    def plans(self, config: ModelConfig, bits: float, tokens: float) -> list[TrainingPlan]:
        if bits == FULL_PRECISION.bits:
            return [FULL]
        return [FROM_SCRATCH, *([AFTERWARDS] if bits in POST_BITS else [])]

    def predict(self, case: Case) -> Loss:
        trained = FULL_PRECISION.bits if case.training.low_bit_share == 0 else case.bits
        inputs = Inputs.at(case.parameters, case.tokens, weight_bits=trained)
        nats = PRECISION.predict(PRECISION.published[self.reading], inputs)[0]
        outside = PRECISION.beyond(inputs)
        if case.training == AFTERWARDS:
            inputs = Inputs.at(case.parameters, case.tokens, post_bits=case.bits)
            nats += POST.predict(POST.published[_POST_READING[self.reading]], inputs)[0]
            outside = POST.beyond(inputs)
        return Loss(float(nats), outside=tuple(outside))


@dataclass(frozen=True)
class Groups:
    """4 bits from scratch (arXiv 2505.14302)."""

    reading: str
    name = GROUPS.name
    readings = ("W4A16", "W4A4")

    @property
    def source(self) -> str:
        return f"{GROUPS.source}, {self.reading}"

    @property
    def range(self) -> str:
        return range_words(GROUPS.measured)

    @property
    def notes(self) -> tuple[str, ...]:
        rows = "A row counts as a group of the model's width; the paper does not say what it counted."
        return (
            f"{GROUPS.note.capitalize()}. Its losses are smoothed losses of training.",
            rows,
            _NO_INTERVAL,
        )

    def plans(self, config: ModelConfig, bits: float, tokens: float) -> list[TrainingPlan]:
        return [FROM_SCRATCH] if bits == 4 else []

    def predict(self, case: Case) -> Loss:
        inputs = Inputs.at(case.parameters, case.tokens, weight_bits=case.bits, group=case.config.dim)
        nats = GROUPS.predict(GROUPS.published[self.reading], inputs)[0]
        return Loss(float(nats), outside=tuple(GROUPS.beyond(inputs)))
