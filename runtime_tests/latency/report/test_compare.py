"""Comparison of reports: changes, noise and exit codes."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from edge.latency.report.compare import Change, _change, _Figure, compare
from edge.latency.report.comparison import _table, main_compare
from edge.latency.report.comparison import markdown as words
from edge.latency.report.significance import p_above, p_values
from edge.latency.schema import Report, write_report
from runtime_tests.latency.reports import emulated_report, made_up_report

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


def worse(old: Report, new: Report, bound: float = BOUND) -> list[tuple[str, str]]:
    return [(c.program, c.what) for c in compare(old, new, bound).with_verdict("worse")]


def regressions(old: Report, new: Report, bound: float = BOUND) -> int:
    return compare(old, new, bound).regressions


def markdown(old: Report, new: Report, bound: float = BOUND) -> str:
    return words(compare(old, new, bound))


def test_a_report_beside_itself_has_no_changes():
    report = made_up_report()
    comparison = compare(report, report, BOUND)
    assert all(change.old == change.new for change in comparison.changes)
    assert (comparison.regressions, comparison.with_verdict("better"), comparison.left_out) == (0, [], [])
    assert words(comparison).startswith("# 0 regressions beyond 5 %")


def test_a_slowdown_is_found_and_named_and_nothing_else_is():
    old, first = noisy(1), noisy(2)
    new = slowed(first, "125M 2 bits", by=0.8)
    assert worse(old, first) == []
    contexts = old.settings.contexts
    assert worse(old, new) == [("125M 2 bits", f"decode at {c}, 1 thread") for c in contexts]
    text = markdown(old, new)
    assert text.startswith(f"# {len(contexts)} regressions beyond 5 %")
    assert "| 125M 2 bits | decode at 256, 1 thread |" in text
    assert "p = 0.004 |" in text  # 1 of the 252 splits of 5 and 5


def test_a_latency_that_grows_is_worse():
    old, new = noisy(1), noisy(1)
    program = new.programs[0]
    for run in program.runs:
        run.first_token_ms *= 1.2
    assert worse(old, new) == [(program.name, f"first token, {n}") for n in ("1 thread", "2 threads")]
    assert worse(new, old) == []
    assert len(compare(new, old, BOUND).with_verdict("better")) == 2


def test_a_gain_is_no_regression():
    old, new = noisy(1), slowed(noisy(2), "125M 2 bits", by=1.3)
    assert regressions(old, new) == 0
    assert "## Better" in markdown(old, new)


def test_a_slowdown_within_the_bound_is_none():
    old, new = noisy(1, noise=0.001), slowed(noisy(2, noise=0.001), "125M 2 bits", by=0.97)
    assert regressions(old, new) == 0
    assert regressions(old, new, bound=0.02) == 2
    assert "beyond 2.5 %" in markdown(old, new, bound=0.025)


def test_sessions_of_much_noise_raise_few_false_alarms():
    """Ten pairs of alike sessions: hundreds of figures differ by more than 5 %, and few are called worse."""
    false, far = 0, 0
    for seed in range(10):
        comparison = compare(noisy(seed, noise=0.1), noisy(100 + seed, noise=0.1), BOUND)
        decodes = [c for c in comparison.changes if c.what.startswith("decode at")]
        far += sum(abs(c.new / c.old - 1) > BOUND for c in decodes)
        false += sum(c.verdict == "worse" for c in decodes)
    assert far > 300
    assert false <= 6


def test_a_figure_worse_by_just_the_bound_is_called_so_at_the_tests_level():
    old, new = np.random.default_rng(0).normal(0, 0.3, (2, 2000, 5))
    alarms = p_values(old, (new + np.log(0.95)) - np.log(0.95)) < 0.025
    assert 0.015 < alarms.mean() < 0.033  # 6 of 252 splits are below: 2.4 %, and 2000 draws are off by 0.7 %


def test_p_values_by_hand():
    assert p_above([10, 20, 30, 40], [1, 2, 3, 4]) == 1 / 70
    assert p_above([1, 2, 3, 4], [10, 20, 30, 40]) == 1
    assert p_above([5, 5, 5, 5], [5, 5, 5, 5]) == 1
    assert p_above([10, 20, 30], [1, 2, 3]) is None  # 1 of 20 splits is not below 0.025
    assert p_above([2] * 45, [1]) == 1 / 46
    assert p_above([10, 20, 30, 40], [1, 2, 3, 4], factor=5) > 0.025  # the sets overlap then
    many = p_above([2 + i / 100 for i in range(12)], [1 + i / 100 for i in range(12)])
    assert 0 < many < 0.001


def test_with_too_few_rounds_the_bound_decides_and_that_is_said():
    def cut(report: Report) -> Report:
        for program in report.programs:
            program.runs = [run for run in program.runs if run.round < 3]
        return report

    old, new = cut(noisy(1, 0.001)), cut(slowed(noisy(2, 0.001), "125M 2 bits", by=0.8))
    assert ("125M 2 bits", "decode at 256, 1 thread") in worse(old, new)
    assert regressions(old, cut(noisy(2, 0.001))) == 0
    assert "too few rounds to tell noise in" in markdown(old, new)
    assert "| too few rounds |" in markdown(old, new)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"generated": 16}, {"decode at 256", "decode p50 at 256", "decode p90 at 256", "peak memory"}),
        ({"prompts": [32, 128]}, {"first token", "peak memory"}),
        ({"contexts": [256]}, {"decode at 1024", "decode p50 at 1024", "decode p90 at 1024", "peak memory"}),
    ],
)
def test_figures_that_other_settings_change_are_left_out_and_named(change, left_out):
    def set_up(report):
        for name, value in change.items():
            setattr(report.settings, name, value)
        for run in (run for program in report.programs for run in program.runs):
            run.first_token_ms = run.first_token_ms and run.first_token_ms * (4 if "prompts" in change else 1)

    comparison = compare(made_up_report(), edited(set_up), BOUND)
    assert left_out <= set(comparison.left_out)
    assert comparison.regressions == 0
    assert "not compared, because the settings differ: " in words(comparison)


def _story(report: Report):
    return next(p for p in report.programs if p.quality is not None)


@pytest.mark.parametrize("more_is_better", [True, False])
def test_only_what_is_beyond_the_bound_by_more_than_noise_is_called_so(more_is_better):
    """Repetitions within 3 % of 100, against the same a few per cent higher, and the other way round."""
    base = [97.0, 99.0, 100.0, 101.0, 103.0]
    for factor, verdict in ((1.04, "within bound"), (1.06, "within noise"), (1.2, "beyond")):
        other = [factor * value for value in base]
        for old, new, is_up in ((base, other, True), (other, base, False)):
            figure = _Figure("load", "ms", old, new, more_is_better, has_noise=True)
            beyond = "better" if is_up == more_is_better else "worse"
            assert _change("a", figure, BOUND).verdict == (beyond if verdict == "beyond" else verdict)


def test_what_noise_may_explain_is_counted():
    old, new = noisy(1, noise=0.1), noisy(2, noise=0.1)
    comparison = compare(old, new, BOUND)
    unsure, within = (len(comparison.with_verdict(v)) for v in ("within noise", "within bound"))
    assert unsure > 20
    assert f"{within} changed by no more than 5 %, {unsure} by more, which noise may explain" in words(
        comparison
    )


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
        report.programs[0].failure = "was killed\n# 0 regressions <b>"
        for run in report.programs[0].runs:  # what it measured before does not count
            run.load_ms *= 2

    def drop(report):
        report.programs = report.programs[1:]

    old = made_up_report()
    name = old.programs[0].name
    assert regressions(old, edited(fail)) == 1
    assert f"- {name} fails now: was killed # 0 regressions &lt;b&gt;" in markdown(old, edited(fail))
    assert regressions(edited(fail), edited(fail)) == 0
    assert f"- {name} failed before and runs now" in markdown(edited(fail), old)
    assert regressions(old, edited(drop)) == 0
    assert f"only in the old report: {name}" in markdown(old, edited(drop))


def test_a_machine_that_became_slower_as_a_whole_is_seen_as_such():
    def slow(report):
        for program in report.programs:
            for run in program.runs:
                run.read_seconds = run.read_seconds and run.read_seconds * 2
                for sample in run.decode.values():
                    sample.tokens_per_second /= 4 if program.recipe == "lowbit" else 2

    text = markdown(made_up_report(), edited(slow))
    assert "pure reads of the programs, 1 thread: 0.50x as fast (0.50 to 0.50x)" in text
    assert "decode at 256 of the other runtimes, 2 threads: 0.50x as fast (0.50 to 0.50x)" in text


def test_other_circumstances_are_told():
    def elsewhere(report):
        report.device.cpu = "Another CPU"
        report.versions["commit"] = "feedbeef"
        report.settings.rounds = 9

    text = markdown(made_up_report(), edited(elsewhere))
    for line in ("device cpu: Imaginary CPU, now Another CPU", "now feedbeef", "rounds: 5, now 9"):
        assert line in text
    assert "device cpu" not in markdown(made_up_report(), made_up_report())


def _rename_all(report: Report) -> None:
    for program in report.programs:
        program.name += " again"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: setattr(r.programs[0], "parameters", 5), "its parameters were .* and are 5"),
        (lambda r: setattr(r.programs[0], "weights", "rounded after training"), "its weights were"),
        (_rename_all, "no program of the same name"),
    ],
)
def test_what_cannot_be_compared(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(made_up_report(), edited(change), BOUND)


def test_an_emulators_report_is_refused():
    with pytest.raises(ValueError, match="no speeds to compare"):
        compare(made_up_report(), emulated_report(), BOUND)


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
    write_report(edited(lambda report: setattr(report, "finished", False)), new)
    with pytest.raises(ValueError, match=r"new\.json is unfinished"):
        main_compare(old, new, BOUND)


def test_names_cannot_break_the_table():
    change = Change("a|b", "decode", "tok/s", 1.0, 0.5, "worse", "no noise")
    assert _table([change])[-1].count("|") - _table([change])[-1].count("\\|") == 7
