"""Command ``python -m edge.latency``: measure, render and compare latency reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from edge.cli import main_guard, refuse_unwritable
from edge.files import only_writer, write_text
from edge.latency import measure as measuring
from edge.latency.arguments import Request, checked, parser
from edge.latency.candidate import Candidate
from edge.latency.devices.open import open_device
from edge.latency.exported import ExportedCandidate, exporters_quality
from edge.latency.gather import gather
from edge.latency.report.compare_markdown import main_compare
from edge.latency.report.markdown import FRONT_NAMES, PICTURE_NAME, front_pictures, markdown
from edge.latency.report.page import page
from edge.latency.report.plots import headline
from edge.latency.report.svg import as_file
from edge.latency.schema import Report, read_report, write_report
from edge.latency.versions import versions

REPORT_NAME = "report.json"
PAGES = (PICTURE_NAME, *FRONT_NAMES, "report.md", "report.html")


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    if args.compare:
        old, new = args.compare
        return main_compare(old, new, args.bound)
    if args.render:
        render(read_report(args.render), args.render.parent)
        return 0
    request = checked(args)
    refuse_unwritable(request.output)
    with only_writer(request.output):
        return make_report(request)


def make_report(request: Request) -> int:
    """Measure, or go on measuring, and write the report's three files."""
    path = request.output / REPORT_NAME
    earlier = read_report(path) if path.exists() else None
    if earlier is not None and earlier.finished:
        finish_pages(earlier, path)
        return 0
    if earlier is not None and earlier.all_failed:
        earlier = None  # nothing is lost, and the cause may have gone away
    console = Console(stderr=True)
    with open_device(request.device, request.cores) as device:  # first: a missing phone is known at once
        candidates = gather(
            request.programs,
            request.sizes,
            request.bits,
            request.opponents,
            request.cache,
            announce=lambda what: console.print(what, style="dim", markup=False, soft_wrap=True),
            build=request.build,
        )
        report = Report(
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            versions=versions(),
            device=device.record,
            settings=request.settings,
            programs=[candidate.record for candidate in candidates],
        )
        if earlier is not None:
            report = resumed(earlier, report, path, candidates)
        if request.eval_data:
            evaluate(candidates, request.eval_data)
        request.output.mkdir(parents=True, exist_ok=True)
        with _progress(console) as progress, _hint_on_interrupt(console, path):
            for name in PAGES:  # old ones, of an unfinished report that was rendered by hand
                (request.output / name).unlink(missing_ok=True)
            measuring.measure(report, candidates, device, lambda: write_report(report, path), progress)
            render(report, request.output)
    for record in report.programs:
        if record.failure is not None:
            console.print(
                f"{record.name} was not measured to the end: {record.failure}", markup=False, soft_wrap=True
            )
    if report.all_failed:
        raise ValueError(f"no program could be measured; the first, because {report.programs[0].failure}")
    _say_where(request.output)
    return 0


def finish_pages(report: Report, path: Path) -> None:
    """Write the pages of a report whose command was killed after the last sample.

    Raises:
        ValueError: no page is missing: a new measurement must not replace this report.
    """
    if all((path.parent / name).exists() for name in pages(report)):
        raise ValueError(f"{path} is a finished report: choose another --output, or --render it anew")
    render(report, path.parent)
    _say_where(path.parent)


def _say_where(directory: Path) -> None:
    print(f"{directory / 'report.html'}, with report.md and {REPORT_NAME} beside it")


def resumed(earlier: Report, fresh: Report, path: Path, candidates: Sequence[Candidate]) -> Report:
    """Check that an earlier report is of the same measurement, and hand its records to the candidates.

    Raises:
        ValueError: it is not the same; names the first difference.
    """
    differences = {
        "settings": (earlier.settings, fresh.settings),
        "device": (_lasting(earlier), _lasting(fresh)),
        "libraries": (earlier.device.libraries, fresh.device.libraries),
        "programs": tuple([(p.name, p.sha256) for p in r.programs] for r in (earlier, fresh)),
        "versions": tuple({k: v for k, v in r.versions.items() if k != "commit"} for r in (earlier, fresh)),
    }
    for what, (before, now) in differences.items():
        if before != now:
            raise ValueError(
                f"{path} was begun with other {what}: give the command it was begun with, or another --output"
            )
    for candidate, record in zip(candidates, earlier.programs, strict=True):
        candidate.record = record
    return earlier


def _lasting(report: Report) -> tuple:
    """Facts that stay the same on one device from day to day."""
    device = report.device
    return (device.kind, device.name, device.cpu, device.cores)


def evaluate(candidates: Sequence[Candidate], text: str) -> None:
    """Measure the perplexity of every trained program on the user's text, in place of the exporter's."""
    from edge.latency.quality import measure_quality  # imports models, which takes seconds

    for candidate in candidates:
        if isinstance(candidate, ExportedCandidate):
            exporters = exporters_quality(candidate.program.manifest)
            if exporters is not None and candidate.record.quality == exporters:
                candidate.record.quality = measure_quality(candidate.program, text)


def render(report: Report, directory: Path) -> None:
    """Write the Markdown, its pictures if there are any, and the page of a report beside it."""
    for name, content in pages(report).items():
        write_text(directory / name, content)


def pages(report: Report) -> dict[str, str]:
    """Render the files that stand beside a report: content by name, of PAGES."""
    picture = headline(report) if report.device_kind.has_speed else None
    pictures = (
        front_pictures(report) if picture is None else {PICTURE_NAME: picture, **front_pictures(report)}
    )
    drawn = {name: as_file(drawing) for name, drawing in pictures.items()}
    return {**drawn, "report.md": markdown(report), "report.html": page(report)}


@contextmanager
def _progress(console: Console) -> Iterator[measuring.Progress]:
    """Show progress: a bar in a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield lambda what, done, total: console.print(f"{done}/{total} {what}", markup=False, highlight=False)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextmanager
def _hint_on_interrupt(console: Console, path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, OSError):
        console.print(
            f"what was measured is in {path}; the same command continues", markup=False, soft_wrap=True
        )
        raise


if __name__ == "__main__":
    main_guard(main)
