"""The order of measuring: programs of a model take turns, round after round; every sample is kept at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from edge.latency.devices.device import Device, DeviceError
from edge.latency.schema import Report, Run
from edge.latency.subject import ProgramFailed, Subject

#: Called after everything that was learnt; writes the report.
Save = Callable[[], None]
#: Called with what is done next, how many steps are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Turn:
    """Programs of one model, one after the other: what a speed-up is taken within."""

    index: int
    threads: int
    subjects: list[Subject]


@dataclass(frozen=True)
class Step:
    """One process, or a few, of one program. ``action`` adds what it learns to the program's record."""

    subject: Subject
    what: str
    action: Callable[[Device, Report], None]


def measure(
    report: Report, subjects: Sequence[Subject], device: Device, save: Save, progress: Progress
) -> None:
    """Fills the report's programs with what is missing: checks, runs, then traces.

    A program that fails gets the reason in its record and is left out from then on. A turn that was cut off
    is measured again as a whole, because its programs would otherwise not have run beside each other.

    Raises:
        DeviceError: the device is lost, or computes wrongly; the report holds all that was measured before.
    """
    progress("checking the kernels on the device", 0, 1)
    _check_kernels(device)
    steps = list(_steps(report, subjects))
    for index, step in enumerate(steps):
        record = step.subject.record
        if record.failure is not None:
            continue
        progress(f"{record.name}: {step.what}", index, len(steps))
        try:
            step.action(device, report)
        except ProgramFailed as failed:
            record.failure = str(failed)
        save()
    report.finished = True
    save()


def _steps(report: Report, subjects: Sequence[Subject]) -> Iterator[Step]:
    for subject in subjects:
        yield Step(subject, "check", partial(_prepare, subject))
    if report.device.kind == "emulator":
        return
    for turn in _turns(report, subjects):
        if _is_done(turn):
            continue
        for subject in turn.subjects:
            what = f"round {turn.index + 1}, {turn.threads} thread{'s' * (turn.threads > 1)}"
            yield Step(subject, what, partial(_run, subject, turn))
    for threads in report.settings.threads:
        for subject in subjects:
            if not any(trace.threads == threads for trace in subject.record.traces):
                yield Step(subject, "trace", partial(_trace, subject, threads))


def _turns(report: Report, subjects: Sequence[Subject]) -> Iterator[Turn]:
    """Rounds outermost, so that what an interrupted report has covers every program."""
    models = list(dict.fromkeys(subject.record.model for subject in subjects))
    for index in range(report.settings.rounds):
        for threads in report.settings.threads:
            for model in models:
                group = [s for s in subjects if s.record.model == model]
                first = index % len(group)  # no program runs in the heat of the same neighbour every time
                yield Turn(index, threads, group[first:] + group[:first])


def _belongs(run: Run, turn: Turn) -> bool:
    return (run.round, run.threads) == (turn.index, turn.threads)


def _is_done(turn: Turn) -> bool:
    """Whether all of its programs ran; what a turn that was cut off has measured is dropped."""
    records = [subject.record for subject in turn.subjects if subject.record.failure is None]
    if all(any(_belongs(run, turn) for run in record.runs) for record in records):
        return True
    for record in records:
        record.runs = [run for run in record.runs if not _belongs(run, turn)]
    return False


def _check_kernels(device: Device) -> None:
    ended = device.run("lowbit_kernel_check", ["--rounds", "3"])
    if ended.failure is not None:
        last = (ended.stdout.strip().splitlines() or [ended.failure])[-1]
        raise DeviceError(f"nothing is measured on {device.record.name}: its kernels are not right ({last})")


def _prepare(subject: Subject, device: Device, report: Report) -> None:
    subject.record.verified = subject.prepare(device, report.settings)


def _run(subject: Subject, turn: Turn, device: Device, report: Report) -> None:
    subject.record.runs.append(subject.run(device, report.settings, turn.threads, turn.index))


def _trace(subject: Subject, threads: int, device: Device, report: Report) -> None:
    trace = subject.trace(device, report.settings, threads)
    if trace is not None:
        subject.record.traces.append(trace)
