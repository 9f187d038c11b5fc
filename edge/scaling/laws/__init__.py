"""Laws of loss and precision, one row each."""

from edge.scaling.laws.chinchilla import CHINCHILLA
from edge.scaling.laws.fraction import FRACTION
from edge.scaling.laws.groups import GROUPS
from edge.scaling.laws.law import Inputs, Law
from edge.scaling.laws.ours import OURS
from edge.scaling.laws.post import ONSET, PER_PARAMETER, POST, UNIFIED
from edge.scaling.laws.precision import ALTERNATIVES, PRECISION

LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        CHINCHILLA,
        PRECISION,
        *ALTERNATIVES,
        POST,
        ONSET,
        PER_PARAMETER,
        UNIFIED,
        GROUPS,
        FRACTION,
        OURS,
    )
}

__all__ = ["LAWS", "Inputs", "Law"]
