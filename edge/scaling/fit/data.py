"""Choose the records that a law speaks of, and refuse those that cannot be fitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.scaling.laws.law import DAMAGE, FULL_BITS, Array, Inputs, Law
from edge.scaling.records import Record, commonest_schedule

#: Least damage that is fitted, in nats: noise is a larger part of less, and logarithms weigh all alike.
LEAST_DAMAGE = 0.003
#: Records that each constant needs, and values of each input.
RECORDS_EACH, VALUES_EACH = 2, 3


@dataclass(frozen=True)
class Data:
    """Hold the records that a law is fitted to.

    Attributes:
        measured: loss or damage [n], nats per token.
        model: a number [n] that records of one full-precision model share, those of its low-bit children too.
        left_out: records whose damage is too small to be seen.
        schedule: of the learning rate, of all of them.
    """

    inputs: Inputs
    measured: Array
    model: Array
    left_out: int = 0
    schedule: str = ""

    def __getitem__(self, where: Array | NDArray[np.bool_]) -> Data:
        return replace(
            self, inputs=self.inputs[where], measured=self.measured[where], model=self.model[where]
        )


def ways_of(law: Law, records: Sequence[Record]) -> list[str]:
    """The ways to quantise that a law of damage is fitted to; one empty name for a law of loss."""
    if law.target != DAMAGE:
        return [""]
    return list(dict.fromkeys(record.post.way for record in records if record.post))


@dataclass(frozen=True)
class Chosen:
    """Records that a law speaks of, and how many of them have too little damage to be seen."""

    kept: list[Record]
    left_out: int
    schedule: str


def records_of(law: Law, records: Sequence[Record], way: str = "") -> Chosen:
    """Choose the records that a law speaks of; see ``data_of``."""
    if law.target == DAMAGE:
        known = [r for r in records if r.post and r.post.way == way and law.takes(r)]
    else:
        known = [r for r in records if r.post is None and law.takes(r)]
    schedule = commonest_schedule(known)
    alike = [record for record in known if record.training.schedule == schedule]
    kept = [r for r in alike if law.target != DAMAGE or r.damage >= LEAST_DAMAGE]
    return Chosen(kept, len(alike) - len(kept), schedule)


def data_of(law: Law, records: Sequence[Record], way: str = "") -> Data:
    """Take the records that a law speaks of.

    A law of damage takes what was quantised after training in one way. A law of loss takes trained models,
    and of them what its formula knows: full precision alone for the law of full precision. No law knows the
    schedule of the learning rate, so that of most records is taken, and the others left out.

    Raises:
        ValueError: texts are mixed; too few records, or too few values of an input.
    """
    texts = sorted({record.text for record in records})
    if len(texts) > 1:
        raise ValueError(f"losses of other texts do not compare: {', '.join(texts)}; give records of one")
    chosen = records_of(law, records, way)
    kept = chosen.kept
    keys: dict[str, int] = {}
    models = [keys.setdefault(_parent(record), len(keys)) for record in kept]
    measured = [record.damage if law.target == DAMAGE else record.loss for record in kept]
    data = Data(
        Inputs.of(kept),
        np.array(measured, dtype=np.float64),
        np.array(models),
        chosen.left_out,
        chosen.schedule,
    )
    _refuse_too_little(law.fitted(data.inputs), data)
    return data


def _parent(record: Record) -> str:
    """Name the full-precision model that a record was made from; a run from scratch is its own."""
    training = record.training
    tokens = training.tokens - training.low_bit_tokens
    own = training if tokens == 0 else None
    return f"{record.shape} {training.seed} {training.schedule} {tokens} {own}"


def _refuse_too_little(law: Law, data: Data) -> None:
    wanted, found = RECORDS_EACH * len(law.constants), len(data.measured)
    if found < wanted:
        raise ValueError(
            f"the law {law.name} has {len(law.constants)} constants and needs {wanted} records at least; "
            f"{found} were given"
        )
    for name, constants in Counter(constant.needs for constant in law.constants).items():
        values = len(np.unique(getattr(data.inputs, name))) - 1 if name and "=" not in name else constants
        if values < constants:
            raise ValueError(
                f"the law {law.name} has {constants} constants of {name} and needs as many values below "
                f"{FULL_BITS:g}; there is {values}"
            )
    if law.fixed and not any(constant.needs for constant in law.constants):
        raise ValueError(
            f"the law {law.name} needs models that were trained at low bits; all were in full precision"
        )
    for name in law.reads:
        values = len(np.unique(getattr(data.inputs, name)))
        if values < VALUES_EACH:
            raise ValueError(
                f"the law {law.name} needs {VALUES_EACH} values of {name} at least; there are {values}"
            )
