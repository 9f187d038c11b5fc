"""How training makes a low-bit model of a full-precision one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.model.decoder import Decoder
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat


def _as_it_is(model: Decoder) -> Decoder:
    return model


@dataclass(frozen=True)
class Method:
    """A way of quantisation-aware training.

    Attributes:
        prepare: puts what is trained into a full-precision model as a plan says, in place.
        finish: makes of the trained model one that a checkpoint can hold, in place.
    """

    prepare: Callable[[Decoder, Plan], Decoder]
    finish: Callable[[Decoder], Decoder] = _as_it_is


PARETOQ = Method(prepare_qat)
