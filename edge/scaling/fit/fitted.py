"""A law with fitted constants, their intervals, and the errors of its predictions; kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import ConfigDict, PlainSerializer, field_validator

from edge.files import write_text
from edge.scaling.laws import LAWS, Inputs, Law
from edge.scaling.laws.law import Array
from edge.schema import Strict, read_json

#: Ends of an interval, as quantiles: 9 of 10 lie within.
ENDS = (0.05, 0.95)


#: Kept in seven digits: a file of fits has thousands of them.
Figure = Annotated[float, PlainSerializer(lambda value: float(f"{value:.7g}"))]


class Interval(Strict):
    """A fitted constant; ``low`` to ``high`` hold 9 of 10 constants that resampled records gave."""

    value: Figure
    low: Figure
    high: Figure


class HeldOut(Strict):
    """Errors on records that were left out of the fit.

    Attributes:
        records: how many.
        relative_error: median of |predicted - measured| / measured; ``low`` to ``high`` hold 9 of 10 of its
            values for resampled models.
        r2: share of the variance that was predicted; below 0 the mean would be better.
    """

    records: int
    relative_error: Figure
    low: Figure
    high: Figure
    r2: Figure


class Fitted(Strict):
    """A fitted law.

    Attributes:
        law: name of its row.
        way: to quantise after training, as "GPTQ per channel"; empty for a law of loss.
        text: of the records; predictions compare with losses of this text alone.
        schedule: of the learning rate, in all of them.
        records: how many were fitted, and ``left_out`` for damage too small to be seen.
        constants: by name.
        samples: constants of the resampled records, each in the order of ``constants``.
        at_bounds: sentences about constants that ended at the end of their search.
        residuals: quantiles of log measured - log predicted, in even steps from 0 to 1.
        held_out: errors by what was left out.
        ranges: least and greatest value of each input, and of the tokens per parameter.
    """

    law: str
    way: str = ""
    text: str
    schedule: str
    records: int
    left_out: int = 0
    constants: dict[str, Interval]
    samples: list[list[Figure]]
    at_bounds: list[str]
    residuals: list[Figure]
    held_out: dict[str, HeldOut]
    ranges: dict[str, tuple[float, float]]

    @field_validator("law")
    @classmethod
    def _check_law(cls, name: str) -> str:
        if name not in LAWS:
            raise ValueError(f"unknown law {name}; known are {', '.join(LAWS)}")
        return name

    @property
    def name(self) -> str:
        """The law and the way: "post, GPTQ per channel"."""
        return f"{self.law}, {self.way}" if self.way else self.law

    @property
    def row(self) -> Law:
        """The law, with the ranges of these records."""
        return replace(LAWS[self.law], measured=self.ranges)

    @property
    def values(self) -> dict[str, float]:
        return {name: constant.value for name, constant in self.constants.items()}

    def predict(self, inputs: Inputs) -> Array:
        """Predict loss or damage [n]."""
        return LAWS[self.law].predict(self.values, inputs)

    def draws(self, inputs: Inputs) -> Array:
        """Draw predictions [draws, n] by resampled constants, each with the law's residuals."""
        law, names = LAWS[self.law], list(self.constants)
        spread = np.exp(np.array(self.residuals))[:, None]  # [quantiles, 1]
        found = [law.predict(dict(zip(names, one, strict=True)), inputs) * spread for one in self.samples]
        return np.concatenate(found)

    def intervals(self, inputs: Inputs) -> tuple[Array, Array]:
        """Compute the ends of the interval of each prediction [n]."""
        low, high = np.nanquantile(self.draws(inputs), ENDS, axis=0)
        return low, high


class FitFile(Strict):
    """Hold the fits that ``python -m edge.scaling.fit`` writes."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    version: Literal[1] = 1
    fits: list[Fitted]

    def of(self, name: str) -> list[Fitted]:
        """Find the fits of a law, of each way to quantise if it is one of damage."""
        return [fitted for fitted in self.fits if fitted.law == name]

    def law(self, name: str, way: str = "") -> Fitted:
        """Find the fit of a law, of a way to quantise if it is one of damage.

        Raises:
            ValueError: it is not there; names those that are.
        """
        for fitted in self.fits:
            if (fitted.law, fitted.way) == (name, way):
                return fitted
        there = "; ".join(fit.name for fit in self.fits)
        raise ValueError(f"no fit of the law {f'{name}, {way}' if way else name}; there are {there}")


def read_fits(path: Path) -> FitFile:
    """Read a file of fits.

    Raises:
        ValueError: it is missing, or not one.
    """
    return read_json(FitFile, path, "file of fits")


def write_fits(path: Path, fits: Sequence[Fitted]) -> None:
    """Write fits to a file, in one step."""
    write_text(path, FitFile(fits=list(fits)).model_dump_json() + "\n")
