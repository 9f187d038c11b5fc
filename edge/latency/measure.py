"""Measuring loop: programs of a model take turns, round after round, and every sample is saved at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from edge.latency.candidate import Candidate, ProgramFailed
from edge.latency.devices.device import Device, DeviceError
from edge.latency.schema import Report, Run

#: Writes the report; called after every step.
Save = Callable[[], None]
#: Called with the next step, the number of steps done, and the number of all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Turn:
    """Programs of one model, run one after the other; speed-ups are taken within a turn."""

    index: int
    threads: int
    candidates: list[Candidate]


@dataclass(frozen=True)
class Step:
    """One check, run or trace of one program; ``action`` adds the result to the program's record."""

    candidate: Candidate
    what: str
    action: Callable[[Device, Report], None]


def measure(
    report: Report, candidates: Sequence[Candidate], device: Device, save: Save, progress: Progress
) -> None:
    """Fill in what the report's programs lack: checks, runs, then traces.

    A program that fails gets the reason in its record and is left out from then on. A turn that was cut off
    is measured again as a whole, so that its programs run beside each other. A report of which every program
    failed is not marked as finished.

    Raises:
        DeviceError: the device is lost, or computes wrongly; the report holds all that was measured before.
    """
    progress("checking the kernels on the device", 0, 1)
    _check_kernels(device)
    steps = list(_steps(report, candidates))
    for index, step in enumerate(steps):
        record = step.candidate.record
        if record.failure is not None:
            continue
        progress(f"{record.name}: {step.what}", index, len(steps))
        try:
            step.action(device, report)
        except ProgramFailed as failed:
            record.failure = str(failed)
        save()
    report.finished = not report.all_failed
    save()


def _steps(report: Report, candidates: Sequence[Candidate]) -> Iterator[Step]:
    for candidate in candidates:
        yield Step(candidate, "check", partial(_prepare, candidate))
    if not report.device_kind.has_speed:
        return
    for turn in _turns(report, candidates):
        if _is_done(turn):
            continue
        for candidate in turn.candidates:
            what = f"round {turn.index + 1}, {turn.threads} thread{'s' * (turn.threads > 1)}"
            yield Step(candidate, what, partial(_run, candidate, turn))
    if not report.device_kind.has_traces:
        return
    for threads in report.settings.threads:
        for candidate in candidates:
            if not any(trace.threads == threads for trace in candidate.record.traces):
                yield Step(candidate, "trace", partial(_trace, candidate, threads))


def _turns(report: Report, candidates: Sequence[Candidate]) -> Iterator[Turn]:
    """All turns, rounds outermost, so that an interrupted report covers every program."""
    models = list(dict.fromkeys(candidate.record.model for candidate in candidates))
    for index in range(report.settings.rounds):
        for threads in report.settings.threads:
            for model in models:
                group = [s for s in candidates if s.record.model == model]
                first = index % len(
                    group
                )  # the order rotates, so that no program always follows the same one
                yield Turn(index, threads, group[first:] + group[:first])


def _belongs(run: Run, turn: Turn) -> bool:
    return (run.round, run.threads) == (turn.index, turn.threads)


def _is_done(turn: Turn) -> bool:
    """Tell that all of its programs ran; if not, drop the runs of a turn that was cut off."""
    records = [candidate.record for candidate in turn.candidates if candidate.record.failure is None]
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


def _prepare(candidate: Candidate, device: Device, report: Report) -> None:
    candidate.record.verified = candidate.prepare(device, report.settings)


def _run(candidate: Candidate, turn: Turn, device: Device, report: Report) -> None:
    candidate.record.runs.append(candidate.run(device, report.settings, turn.threads, turn.index))


def _trace(candidate: Candidate, threads: int, device: Device, report: Report) -> None:
    trace = candidate.trace(device, report.settings, threads)
    if trace is not None:
        candidate.record.traces.append(trace)
