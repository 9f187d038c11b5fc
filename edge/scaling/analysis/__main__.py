"""Write what the records of a sweep show: questions, answers, tables and pictures, as Markdown and SVG.

Every figure is computed from the records, fits and report that are given. A question that they cannot answer
is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.files import replace_directory
from edge.latency.report.svg import as_file
from edge.latency.report.words import count
from edge.latency.schema import read_report
from edge.scaling.analysis import (
    combined,
    damage,
    exponents,
    fronts,
    held_out,
    noise,
    schedules,
    shares,
    turning,
    widths,
)
from edge.scaling.analysis.groups import each, size
from edge.scaling.analysis.section import Section
from edge.scaling.fit.data import records_of
from edge.scaling.fit.fitted import FitFile, Fitted, read_fits
from edge.scaling.laws import LAWS
from edge.scaling.records import Record, read_records

#: In the order of the text; a new question is a file and a row.
QUESTIONS: tuple[Callable[[Sequence[Record]], Section | None], ...] = (
    noise.section, widths.section, damage.section, turning.section, schedules.section, shares.section,
)  # fmt: skip
#: Questions that fitted laws answer.
FIT_QUESTIONS: tuple[Callable[[Sequence[Record], FitFile], Section | None], ...] = (
    combined.section, lambda _, fits: exponents.section(fits), lambda _, fits: held_out.section(fits),
)  # fmt: skip
RESULTS = "README.md"


@dataclass(frozen=True)
class AnalysisFlags:
    """Flags of ``python -m edge.scaling.analysis``."""

    records: str = flag("files of records, with commas")
    output: Path = flag("directory for the text and its pictures; it is replaced")
    fits: Path | None = flag("file that edge.scaling.fit wrote, for questions about laws", default=None)
    device: Path | None = flag(
        "report.json of edge.latency with programs of the records' shapes, for equal bytes and time",
        default=None,
    )


def circumstances(records: Sequence[Record], command: str) -> str:
    """Say which runs the text is about."""
    trained = [record for record in records if record.post is None]
    sizes = sorted({record.parameters for record in trained})
    ratios = [record.training.tokens / record.parameters for record in trained]
    hours = sum(record.seconds for record in records) / 3600
    machines = sorted({record.machine for record in records})
    return (
        f"# What precision costs small models\n\n{count(len(trained), 'trained model')} of "
        f"{size(sizes[0])} to {size(sizes[-1])} parameters (without the embedding), {each(min(ratios))} to "
        f"{each(max(ratios))} tokens for each, and {len(records) - len(trained)} models quantised after "
        f"training, on {trained[0].text}; "
        f"{hours:.1f} hours of a core on {'; '.join(machines)}. Losses are held out, "
        f"in nats per token.\n\nWritten by `{command}`.\n"
    )


def _refuse_other_records(fitted: Fitted, records: Sequence[Record], flags: AnalysisFlags) -> None:
    law = LAWS[fitted.law]
    if fitted.records != len(records_of(law, records, fitted.way).kept):
        raise ValueError(
            f"{flags.fits} has a fit of {fitted.name} to other records; fit again: python -m "
            f"edge.scaling.fit --records {flags.records} --output {flags.fits}"
        )


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(AnalysisFlags, argv, "edge.scaling.analysis", str(__doc__))
    refuse_unwritable(flags.output)
    if flags.output.is_dir() and any(p.suffix not in (".md", ".svg") for p in flags.output.iterdir()):
        raise ValueError(
            f"--output {flags.output} holds other files, and is replaced; choose another directory"
        )
    records = read_records([Path(name) for name in flags.records.split(",")])
    texts = {record.text for record in records}
    if not records:
        raise ValueError(f"--records {flags.records} holds no records")
    if len(texts) != 1:
        raise ValueError(f"records of {len(texts)} texts do not compare: {', '.join(sorted(texts))}")
    if not any(record.post is None for record in records):
        raise ValueError("there is no trained model among the records")
    fits = read_fits(flags.fits) if flags.fits else FitFile(fits=[])
    if others := {fitted.text for fitted in fits.fits} - texts:
        raise ValueError(f"{flags.fits} was fitted to losses of {others.pop()}, not of {texts.pop()}")
    for fitted in fits.fits:
        _refuse_other_records(fitted, records, flags)
    sections = [found for question in QUESTIONS if (found := question(records))]
    sections += [found for question in FIT_QUESTIONS if (found := question(records, fits))]
    command = f"python -m edge.scaling.analysis --records {flags.records} --output {flags.output}"
    command += f" --fits {flags.fits}" if flags.fits else ""
    if flags.device:
        front = fronts.section(records, read_report(flags.device))
        if front is None:
            raise ValueError(
                f"{flags.device} has no programs of two sizes of the records, at 4 bits and another width"
            )
        sections.append(front)
        command += f" --device {flags.device}"
    text = "\n".join([circumstances(records, command), *(section.markdown() for section in sections)])
    with replace_directory(flags.output) as staged:
        (staged / RESULTS).write_text(text, encoding="utf-8")
        for section in sections:
            for name, drawing in section.pictures().items():
                (staged / name).write_text(as_file(drawing), encoding="utf-8")
    print(f"{flags.output / RESULTS}: {len(sections)} questions, {len(records)} records")
    return 0


if __name__ == "__main__":
    main_guard(main)
