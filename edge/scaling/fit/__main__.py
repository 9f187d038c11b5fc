"""Fit laws to records of runs: constants with intervals, and the errors on runs that were left out.

Constants make the Huber loss of the logarithms least; intervals are those of 9 in 10 fits to resampled
models. All laws are compared by how well they predict the third of the runs that cost the most, which the fit
did not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.cli import flag, main_guard, parse_flags
from edge.scaling.fit.data import ways_of
from edge.scaling.fit.fit import fit
from edge.scaling.fit.fitted import Fitted, write_fits
from edge.scaling.laws import LAWS
from edge.scaling.records import Record, read_records


@dataclass(frozen=True)
class FitFlags:
    """Flags of ``python -m edge.scaling.fit``."""

    records: str = flag("files of records, with commas")
    law: str = flag(
        f"laws, with commas: {', '.join(LAWS)} (default: all that the records suffice for)", default=""
    )
    starts: int = flag("random starts of each search", default=32)
    bootstrap: int = flag("resamplings for intervals", default=200)
    output: Path | None = flag("JSON file for the fits, which edge.scaling.plan reads", default=None)

    def __post_init__(self) -> None:
        for name in ("starts", "bootstrap"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, not {getattr(self, name)}")
        if unknown := [name for name in self.laws if name not in LAWS]:
            raise ValueError(f"unknown --law {unknown[0]}; known are {', '.join(LAWS)}")

    @property
    def laws(self) -> list[str]:
        return [name.strip() for name in self.law.split(",")] if self.law else list(LAWS)


def constants_table(fitted: Fitted) -> Table:
    """Constants with their intervals, beside those that were published."""
    law = LAWS[fitted.law]
    left = (
        f", {fitted.left_out} left out because their damage is too small to be seen"
        if fitted.left_out
        else ""
    )
    table = Table(
        title=f"{fitted.name}: {law.title} ({law.source}); {fitted.records} records, {fitted.schedule}{left}",
        title_justify="left",
    )
    for head in ("", "fitted", "9 of 10 lie in", *(f"published, {name}" for name in law.published)):
        table.add_column(head)
    for name, constant in fitted.constants.items():
        published = [f"{values[name]:.4g}" if name in values else "" for values in law.published.values()]
        table.add_row(name, f"{constant.value:.4g}", f"{constant.low:.4g} to {constant.high:.4g}", *published)
    return table


def errors_table(fits: list[Fitted]) -> Table:
    """The laws by their errors on records that were left out."""
    table = Table(title="errors on the third left out: median relative error, R2", title_justify="left")
    names = ("largest", "most tokens", "random")
    for head in ("law", "predicts", "records", *names):
        table.add_column(head)
    for fitted in fits:
        held = [fitted.held_out.get(name) for name in names]
        cells = [f"{one.relative_error:.2%}, {one.r2:.2f}" if one else "" for one in held]
        table.add_row(fitted.name, LAWS[fitted.law].target, str(fitted.records), *cells)
    return table


def fit_all(flags: FitFlags, records: list[Record], console: Console) -> list[Fitted]:
    """Fit each law; one for which records do not suffice is left out with a reason, unless it was named."""
    fits = []
    for name in track(flags.laws, "fitting", console=console, transient=True):
        ways = ways_of(LAWS[name], records)
        if flags.law and not ways:
            raise ValueError(f"the law {name} needs records of models that were quantised after training")
        for way in ways:
            try:
                fits.append(fit(LAWS[name], records, flags.starts, flags.bootstrap, way))
            except ValueError as error:
                if flags.law and len(ways) == 1:
                    raise
                console.print(f"left out{f' ({way})' if way else ''}: {error}", markup=False)
    return fits


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(FitFlags, argv, "edge.scaling.fit", str(__doc__))
    console = Console(highlight=False, soft_wrap=True)
    fits = fit_all(flags, read_records([Path(name) for name in flags.records.split(",")]), console)
    for fitted in fits:
        console.print(constants_table(fitted))
        for sentence in fitted.at_bounds:
            console.print(f"warning: {sentence}", markup=False)
    if not fits:
        raise ValueError("no law was fitted: the records suffice for none, as said above")
    console.print(errors_table(fits))
    if flags.output:
        write_fits(flags.output, fits)
        console.print(f"{flags.output}: {len(fits)} laws", markup=False)
    return 0


if __name__ == "__main__":
    main_guard(main)
