"""What counts as a change, what as noise, and what a lab's CI is told."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from edge.latency import compare as comparing
from edge.latency.compare import changes, main_compare, markdown, refuse_unlike, regressed
from edge.latency.schema import Report, write_report
from edge.latency.significance import p_value
from runtime_tests.latency.reports import made_up_report

BOUND = 0.05


def noisy(seed: int, noise: float = 0.02) -> Report:
    """The made-up report with every decode rate drawn anew around its median."""
    draw, report = random.Random(seed), made_up_report()
    for program in report.programs:
        for context in report.settings.contexts:
            for run in program.runs:
                base = 1e8 / program.file_bytes / run.threads
                run.decode[context].tokens_per_second = base * draw.gauss(1, noise)
    return report


def slowed(report: Report, name: str, by: float, threads: int = 1) -> Report:
    changed = report.model_copy(deep=True)
    (program,) = (p for p in changed.programs if p.name == name)
    for run in program.runs:
        if run.threads == threads:
            for sample in run.decode.values():
                sample.tokens_per_second *= by
    return changed


def edited(change: Callable[[Report], None]) -> Report:
    report = made_up_report()
    change(report)
    return report


def worse(old: Report, new: Report) -> list[tuple[str, str]]:
    return [(c.program, c.what) for c in changes(old, new) if c.verdict(BOUND) == "worse"]


def test_a_report_beside_itself_has_no_changes():
    report = made_up_report()
    assert all(change.ratio == 1 for change in changes(report, report))
    assert not regressed(report, report, BOUND)
    assert markdown(report, report, BOUND).startswith("# 0 regressions beyond 5%")


def test_a_slowdown_is_found_and_named_and_nothing_else_is():
    old, first = noisy(1), noisy(2)
    new = slowed(first, "125M 2 bits", by=0.8)
    assert worse(old, first) == []
    contexts = old.settings.contexts
    assert worse(old, new) == [("125M 2 bits", f"decode at {c}, 1 thread") for c in contexts]
    assert regressed(old, new, BOUND)
    text = markdown(old, new, BOUND)
    assert text.startswith(f"# {len(contexts)} regressions beyond 5%")
    assert "| 125M 2 bits | decode at 256, 1 thread |" in text
    assert "p = 0.0079" in text  # 2 of the 252 splits of 5 and 5


def test_a_gain_is_no_regression():
    old, new = noisy(1), slowed(noisy(2), "125M 2 bits", by=1.3)
    assert not regressed(old, new, BOUND)
    assert "## Better" in markdown(old, new, BOUND)


def test_a_slowdown_within_the_bound_is_none():
    old = noisy(1, noise=0.001)
    assert not regressed(old, slowed(noisy(2, noise=0.001), "125M 2 bits", by=0.97), BOUND)
    assert regressed(old, slowed(noisy(2, noise=0.001), "125M 2 bits", by=0.97), 0.02)


def test_noise_beyond_the_bound_is_none_either():
    """Two draws of 30 % noise: medians differ by more than 5 % almost everywhere, and it means nothing."""
    old, new = noisy(1, noise=0.3), noisy(4, noise=0.3)
    far = [c for c in changes(old, new) if c.what.startswith("decode at") and abs(c.ratio - 1) > BOUND]
    assert len(far) > 20
    assert len(worse(old, new)) < 0.1 * len(far)


def test_the_rate_of_false_alarms_is_the_tests_level():
    draw = random.Random(0)
    alarms = [
        p_value(
            [draw.lognormvariate(0, 0.3) for _ in range(5)], [draw.lognormvariate(0, 0.3) for _ in range(5)]
        )
        for _ in range(2000)
    ]
    rate = sum(p < 0.05 for p in alarms) / len(alarms)
    assert 0.03 < rate < 0.06  # 12 of 252 splits are below 0.05: 4.8 %, and 2000 draws are off by 1 %


def test_p_values_by_hand():
    assert p_value([1, 2, 3, 4], [10, 20, 30, 40]) == 2 / 70
    assert p_value([5, 5, 5, 5], [5, 5, 5, 5]) == 1
    assert p_value([1, 2, 3], [10, 20, 30]) is None  # 2 of 20 splits: never below 0.05
    assert p_value([1], [2] * 30) == 1 / 31
    many = p_value([1 + i / 100 for i in range(12)], [2 + i / 100 for i in range(12)])
    assert 0 < many < 0.001


def test_with_too_few_rounds_the_bound_decides_and_that_is_said():
    def cut(report: Report) -> Report:
        for program in report.programs:
            program.runs = [run for run in program.runs if run.round < 3]
        return report

    old, new = cut(noisy(1, 0.001)), cut(slowed(noisy(2, 0.001), "125M 2 bits", by=0.8))
    assert ("125M 2 bits", "decode at 256, 1 thread") in worse(old, new)
    assert not regressed(old, cut(noisy(2, 0.001)), BOUND)
    assert "too few rounds" in markdown(old, new, BOUND)


def _story(report: Report):
    return next(p for p in report.programs if p.quality is not None)


def test_size_and_perplexity_have_no_noise():
    def larger(report):
        report.programs[0].file_bytes = int(report.programs[0].file_bytes * 1.1)

    def dumber(report):
        _story(report).quality.perplexity *= 1.2

    def other_text(report):
        _story(report).quality.perplexity *= 1.2
        _story(report).quality.text = "another.txt"

    old = made_up_report()
    assert [what for _, what in worse(old, edited(larger))] == ["file"]
    assert [what for _, what in worse(old, edited(dumber))] == ["perplexity, heldout.txt"]
    assert worse(old, edited(other_text)) == []


def test_a_program_that_fails_now_is_a_regression_and_one_that_is_gone_is_named():
    def fail(report):
        report.programs[0].failure = "was killed"

    def drop(report):
        report.programs = report.programs[1:]

    old = made_up_report()
    name = old.programs[0].name
    assert regressed(old, edited(fail), BOUND)
    assert f"{name} fails now: was killed" in markdown(old, edited(fail), BOUND)
    assert not regressed(edited(fail), edited(fail), BOUND)
    assert not regressed(old, edited(drop), BOUND)
    assert f"only in the old report: {name}" in markdown(old, edited(drop), BOUND)


def test_a_machine_that_became_slower_as_a_whole_is_seen_as_such():
    def slow(report):
        for run in (run for program in report.programs for run in program.runs):
            run.read_seconds = run.read_seconds and run.read_seconds * 2
            for sample in run.decode.values():
                sample.tokens_per_second /= 2

    text = markdown(made_up_report(), edited(slow), BOUND)
    assert "pure reads of the programs, 1 thread: 0.50x as fast (0.50 to 0.50x)" in text
    assert "decode at 256 of the other runtimes, 2 threads: 0.50x as fast" in text


def test_other_circumstances_are_told():
    def elsewhere(report):
        report.device.cpu = "Another CPU"
        report.versions["commit"] = "feedbeef"
        report.settings.rounds = 9

    text = markdown(made_up_report(), edited(elsewhere), BOUND)
    for line in ("device cpu: Imaginary CPU, now Another CPU", "now feedbeef", "rounds: 5, now 9"):
        assert line in text
    assert "device cpu" not in markdown(made_up_report(), made_up_report(), BOUND)


def _rename_all(report: Report) -> None:
    for program in report.programs:
        program.name += " again"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: setattr(r.programs[0], "parameters", 5), "its parameters was .* and is 5"),
        (lambda r: setattr(r.programs[0], "weights", "rounded after training"), "its weights was"),
        (_rename_all, "no program of the same name"),
    ],
)
def test_what_cannot_be_compared(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        refuse_unlike(made_up_report(), edited(change))


def test_an_emulators_report_is_refused():
    def emulated(report):
        for program in report.programs:
            program.runs, program.traces = [], []
        report.device.kind = "emulator"

    with pytest.raises(ValueError, match="no speeds to compare"):
        refuse_unlike(made_up_report(), edited(emulated))


def test_exit_codes(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write_report(noisy(1), old)
    write_report(slowed(noisy(2), "125M 2 bits", by=0.5), new)
    assert main_compare(old, old, BOUND) == 0
    assert main_compare(old, new, BOUND) == 1
    assert capsys.readouterr().out.count("regressions beyond") == 2
    for bound in (0, 1, -1, float("nan")):
        with pytest.raises(ValueError, match="--bound must lie between 0 and 1"):
            main_compare(old, new, bound)


def test_names_cannot_break_the_table():
    change = comparing.Change("a|b", "decode", "tok/s", 1.0, 0.5, 0.5, 0.0)
    assert comparing._table([change])[-1].count("|") - comparing._table([change])[-1].count("\\|") == 7
