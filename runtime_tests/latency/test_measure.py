"""Order of measuring, failures, and interrupted reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.latency.candidate import ProgramFailed
from edge.latency.devices.device import DeviceError, Ended
from edge.latency.measure import measure
from edge.latency.schema import Report, Run, Settings, Trace, read_report, write_report
from runtime_tests.latency.reports import DEVICE, KINDS, program

SETTINGS = Settings(threads=[1, 2], prompts=[8], contexts=[16], generated=4, rounds=2)


class FakeDevice:
    def __init__(self, kind: str = "host", check: Ended | None = None) -> None:
        self.record = DEVICE.model_copy(update={"kind": kind})
        self.check = check or Ended(0, "", "")

    def run(self, tool, arguments):
        assert tool == "lowbit_kernel_check"
        return self.check


class FakeCandidate:
    """Writes down what it is asked to do; ``at`` maps such a line to something that then happens."""

    def __init__(
        self, model: str, kind: tuple, diary: list[str], at: dict[str, Callable] | None = None
    ) -> None:
        self.record = program(model, kind, 1_000_000, 1)
        self.record.runs, self.record.traces, self.record.verified = [], [], ""
        self.diary, self.at = diary, at or {}

    def _note(self, what: str) -> None:
        line = f"{what} {self.record.name}"
        self.diary.append(line)
        if line in self.at:
            self.at[line]()

    def prepare(self, device, settings):
        self._note("check")
        return "checked"

    def run(self, device, settings, threads, index):
        self._note(f"{index}/{threads}")
        return Run(round=index, threads=threads, prefill={8: 10.0 + len(self.diary)}, decode={})

    def trace(self, device, settings, threads):
        self._note(f"trace/{threads}")
        return Trace(threads=threads, context=16, token_ms=1.0, group_ms={"rest": 1.0})


def report_of(candidates: list[FakeCandidate], device: FakeDevice | None = None) -> Report:
    return Report(
        started="2026-01-02T03:04:05Z",
        versions={},
        device=(device or FakeDevice()).record,
        settings=SETTINGS,
        programs=[candidate.record for candidate in candidates],
    )


def run(report, candidates, device=None, save=lambda: None, progress=lambda *_: None):
    measure(report, candidates, device or FakeDevice(), save, progress)


def raiser(error: BaseException) -> Callable:
    def action():
        raise error

    return action


def test_programs_of_a_model_take_turns_and_change_places():
    diary: list[str] = []
    candidates = [FakeCandidate(model, kind, diary) for model in ("A", "B") for kind in KINDS[:2]]
    report = report_of(candidates)
    run(report, candidates)
    names = [candidate.record.name for candidate in candidates]
    a1, a2, b1, b2 = names
    assert diary[:4] == [f"check {name}" for name in names]
    assert diary[4:12] == [f"0/{threads} {name}" for threads in (1, 2) for name in names]
    assert diary[12:20] == [f"1/{threads} {name}" for threads in (1, 2) for name in (a2, a1, b2, b1)]
    assert diary[20:] == [f"trace/{threads} {name}" for threads in (1, 2) for name in names]
    assert report.finished
    assert all(len(p.runs) == 4 and len(p.traces) == 2 and p.verified == "checked" for p in report.programs)


def test_a_program_that_fails_is_a_reason_and_the_rest_goes_on():
    diary: list[str] = []
    failing = {"0/2 A 1 bit": raiser(ProgramFailed("was killed"))}
    candidates = [FakeCandidate("A", kind, diary, failing) for kind in KINDS[:2]]
    report = report_of(candidates)
    run(report, candidates)
    first, second = report.programs
    assert (first.failure, len(first.runs), first.traces) == ("was killed", 1, [])
    assert (second.failure, len(second.runs), len(second.traces)) == (None, 4, 2)
    assert not [line for line in diary[diary.index("0/2 A 1 bit") + 1 :] if line.endswith("A 1 bit")]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DeviceError("the phone is gone")])
def test_what_was_measured_before_an_interruption_is_kept_and_the_cut_turn_is_measured_again(error, tmp_path):
    diary: list[str] = []
    path = tmp_path / "report.json"
    candidates = [FakeCandidate("A", kind, diary, {"1/1 A 1 bit": raiser(error)}) for kind in KINDS[:2]]
    report = report_of(candidates)
    with pytest.raises(type(error)):
        run(report, candidates, save=lambda: write_report(report, path))

    kept = read_report(path)
    assert not kept.finished
    assert [len(p.runs) for p in kept.programs] == [2, 3]  # round 1 had begun with the second program

    again: list[str] = []
    fresh = [FakeCandidate("A", kind, again) for kind in KINDS[:2]]
    for candidate, record in zip(fresh, kept.programs, strict=True):
        candidate.record = record
    before = [list(p.runs[:2]) for p in kept.programs]
    run(kept, fresh)
    assert [line for line in again if line[0] == "0"] == []
    assert [line for line in again if line.startswith("1/1")] == ["1/1 A 1.58 bits", "1/1 A 1 bit"]
    assert [p.runs[:2] for p in kept.programs] == before
    assert all(
        sorted((r.round, r.threads) for r in p.runs) == [(0, 1), (0, 2), (1, 1), (1, 2)]
        for p in kept.programs
    )
    assert kept.finished


def test_an_emulator_is_never_timed():
    diary: list[str] = []
    candidates = [FakeCandidate("A", KINDS[0], diary)]
    device = FakeDevice("emulator")
    report = report_of(candidates, device)
    run(report, candidates, device)
    assert diary == ["check A 1 bit"]
    assert report.finished
    assert report.programs[0].verified == "checked"


def test_nothing_is_measured_where_the_kernels_are_wrong():
    diary: list[str] = []
    candidates = [FakeCandidate("A", KINDS[0], diary)]
    wrong = FakeDevice(
        check=Ended(1, "selected: avx2\navx2: int2: value 3 is 1, the scalar kernel has 2\n", "")
    )
    with pytest.raises(DeviceError, match=r"not right .*value 3 is 1"):
        run(report_of(candidates), candidates, wrong)
    assert diary == []


def test_progress_counts_to_its_end():
    steps: list[tuple[str, int, int]] = []
    candidates = [FakeCandidate("A", kind, []) for kind in KINDS[:2]]
    run(report_of(candidates), candidates, progress=lambda *step: steps.append(step))
    assert steps[1][0] == "A 1 bit: check"
    assert [done for _, done, _ in steps[1:]] == list(range(14))
    assert {total for _, _, total in steps[1:]} == {14}
