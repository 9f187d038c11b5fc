"""Open the law that a plan predicts losses by; a new one is a row of ``LAWS``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.scaling.laws.ours import OURS
from edge.scaling.plan.law import LossModel
from edge.scaling.plan.ours import open_fit
from edge.scaling.plan.paretoq import ParetoQ
from edge.scaling.plan.published import Groups, Precision

#: Laws with published figures, by name; ``readings`` of a paper are listed, the default first.
PUBLISHED: dict[str, Any] = {law.name: law for law in (Precision, Groups, ParetoQ)}
LAWS = (OURS.name, *PUBLISHED)


def open_law(name: str, reading: str | None, fit: Path | None) -> LossModel:
    """Open a law.

    Args:
        reading: of a paper that has several; None is the default.
        fit: of ``edge.scaling.fit``, for our own.

    Raises:
        ValueError: no such law or reading, or there is no fit.
    """
    if name == OURS.name:
        if reading is not None:
            raise ValueError(f"--reading is for a paper's constants; --law {name} has those of its --fit")
        return open_fit(fit)
    if name not in PUBLISHED:
        raise ValueError(f"--law {name} is unknown; choose from {', '.join(LAWS)}")
    if fit is not None:
        raise ValueError(f"--fit is for --law {OURS.name}; {name} has published constants")
    readings = PUBLISHED[name].readings
    if reading is not None and reading not in readings:
        which = f"its readings are {', '.join(readings)}" if len(readings) > 1 else "it has one reading"
        raise ValueError(f"--reading {reading} is none of --law {name}: {which}; leave it out for the first")
    law: LossModel = PUBLISHED[name](readings[0] if reading is None else reading)
    return law
