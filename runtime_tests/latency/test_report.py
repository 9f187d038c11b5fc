"""``python -m edge.latency`` from the command line to the three files, on this computer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli import main_guard
from edge.data import DOCUMENT_SEPARATOR
from edge.latency import __main__ as command
from edge.latency import exported as exporting
from edge.latency.devices import host
from edge.latency.schema import Report, read_report, write_report
from edge.ops import runner_path
from edge.runtime.manifest import read_manifest
from runtime_tests.latency.reports import made_up_report
from runtime_tests.signals import as_in_a_terminal
from runtime_tests.tiny import TEXT

ROOT = Path(__file__).resolve().parents[2]
FILES = ["bytes.svg", "picture.svg", "report.html", "report.json", "report.md", "time.svg"]
SHORT = (
    "--prompts",
    "8,4",
    "--contexts",
    "16,40",
    "--generated",
    "4",
    "--rounds",
    "2",
    "--opponents",
    "none",
)


def run(*argv: object) -> int:
    """The exit code of the command line, as a shell would see it."""
    with pytest.raises(SystemExit) as exit_info:
        main_guard(lambda: command.main([str(a) for a in argv]))
    return exit_info.value.code


def refused(capsys, *argv: object) -> str:
    """The one sentence that a user gets for ``argv``."""
    assert run(*argv) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    sentences = [line for line in lines if line.startswith("error: ")]
    assert len(sentences) == 1
    assert lines[-1] == sentences[0]
    return sentences[0]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "heldout.txt"
    path.write_text(TEXT + DOCUMENT_SEPARATOR + TEXT)
    return path


@pytest.fixture(scope="module")
def finished(exported, text, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report's directory."""
    output = tmp_path_factory.mktemp("reports") / "deep" / "report"
    assert run(*exported.values(), *SHORT, "--threads", "1,2", "--eval-data", text, "--output", output) == 0
    return output


def test_every_program_is_measured_at_everything(finished, exported):
    report = read_report(finished / "report.json")
    assert report.finished
    assert [p.name for p in report.programs] == ["tiny 2 bits", "tiny 4 bits", "tiny fp32"]
    for program in report.programs:
        assert program.failure is None
        assert sorted((r.round, r.threads) for r in program.runs) == [(0, 1), (0, 2), (1, 1), (1, 2)]
        assert all(set(r.prefill) == {8, 4} and set(r.decode) == {16, 40} for r in program.runs)
        assert all(r.load_ms < r.first_token_ms and r.read_seconds > 0 for r in program.runs)
        assert all(s.ms_p50 <= s.ms_p90 for r in program.runs for s in r.decode.values())
        assert all(r.peak_resident_bytes > program.file_bytes for r in program.runs)
        assert [t.threads for t in program.traces] == [1, 2]
        assert all(sum(t.group_ms.values()) == pytest.approx(t.token_ms) for t in program.traces)
        assert program.verified
    for program, name in zip(report.programs, ("two", "four", "full"), strict=True):
        manifest = read_manifest(exported[name])
        assert program.config == manifest.config
        assert program.head_bytes == manifest.part_bytes["embedding"]  # tied: one table serves both
    sizes = [(exported[name] / "model.pte").stat().st_size for name in ("two", "four", "full")]
    assert [p.file_bytes for p in report.programs] == sizes
    assert report.device.cpu
    assert report.device.cores == sorted(os.sched_getaffinity(0))


def test_perplexity_is_the_programs_own(finished):
    two, four, full = read_report(finished / "report.json").programs
    assert two.quality.text.endswith("heldout.txt")
    assert two.quality.block == 64
    assert full.quality.perplexity != four.quality.perplexity != two.quality.perplexity
    assert four.quality.perplexity == pytest.approx(full.quality.perplexity, rel=0.2)


def test_without_a_text_it_is_what_the_exporter_measured(exported, tmp_path):
    assert run(exported["two"], *SHORT, "--output", tmp_path / "report") == 0
    proof = read_manifest(exported["two"]).verification
    quality = read_report(tmp_path / "report" / "report.json").programs[0].quality
    assert (quality.text, quality.perplexity) == (proof.text, proof.perplexity_program)
    assert quality.tokens == proof.tokens - 1


def test_the_page_and_the_table_name_every_program(finished):
    assert sorted(path.name for path in finished.iterdir()) == FILES
    for name in ("report.html", "report.md"):
        content = (finished / name).read_text()
        assert all(label in content for label in ("2 bits", "4 bits", "fp32"))


def test_a_finished_report_is_not_overwritten_but_rendered_anew(finished, exported, capsys, tmp_path):
    before = (finished / "report.json").read_bytes()
    assert "is a finished report" in refused(capsys, exported["two"], *SHORT, "--output", finished)
    copy = Path(shutil.copytree(finished, tmp_path / "copy"))
    (copy / "report.html").unlink()
    (copy / "report.md").unlink()
    assert run("--render", copy / "report.json") == 0
    assert sorted(p.name for p in copy.iterdir()) == FILES
    assert (finished / "report.json").read_bytes() == before


@pytest.mark.parametrize("written", range(3))
def test_a_report_whose_pages_were_not_written_is_rendered_by_the_same_command(
    exported, tmp_path, monkeypatch, capsys, written
):
    """The command is killed before page number ``written``, where a page was rendered too early by hand."""
    argv = (exported["two"], exported["four"], *SHORT, "--output", tmp_path / "r")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "report.html").write_text("rendered too early")
    kept, original = [], command.write_text

    def killed(path, text):
        if len(kept) == written:
            raise KeyboardInterrupt
        original(path, text)
        kept.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(command, "write_text", killed)
        assert run(*argv) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == sorted([*kept, "report.json"])
    before = (tmp_path / "r" / "report.json").read_bytes()

    monkeypatch.setattr(command, "open_device", lambda *_: pytest.fail("nothing is left to measure"))
    assert run(*argv) == 0
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == FILES
    assert (tmp_path / "r" / "report.json").read_bytes() == before
    assert "is a finished report" in refused(capsys, *argv)


def test_an_interrupted_report_goes_on(finished, exported, capsys, tmp_path, monkeypatch):
    argv = (exported["two"], exported["four"], *SHORT, "--output", tmp_path / "report")
    measured = []
    original = exporting.ExportedCandidate.run

    def interrupted(self, *arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(original(self, *arguments))
        return measured[-1]

    with monkeypatch.context() as patch:
        patch.setattr(exporting.ExportedCandidate, "run", interrupted)
        assert run(*argv) == 130
    assert "the same command continues" in capsys.readouterr().err
    path = tmp_path / "report" / "report.json"
    kept = read_report(path)
    assert not kept.finished
    assert sum(len(p.runs) for p in kept.programs) == 3

    assert "begun with other settings" in refused(capsys, *argv, "--rounds", 3)
    assert "begun with other programs" in refused(capsys, exported["two"], *SHORT, "--output", path.parent)
    assert run(*argv) == 0
    report = read_report(path)
    assert report.finished
    assert [p.runs[0] for p in report.programs] == [p.runs[0] for p in kept.programs]
    assert [len(p.runs) for p in report.programs] == [2, 2]


def test_ctrl_c_in_a_shell_leaves_a_whole_report(exported, tmp_path):
    argv = [sys.executable, "-m", "edge.latency", str(exported["two"]), *SHORT, "--rounds", "10000"]
    process = subprocess.Popen(
        [*argv, "--output", str(tmp_path / "r")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    )
    for line in process.stderr:
        if "round 2" in line:
            break
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "the same command continues" in rest
    assert "Traceback" not in rest
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["report.json"]
    assert len(read_report(tmp_path / "r" / "report.json").programs[0].runs) >= 1


def test_a_program_that_runs_out_of_memory_is_a_row_and_the_rest_goes_on(
    exported, tmp_path, monkeypatch, capsys
):
    """The fp32 program's runner is killed, as the kernel kills a process when memory runs out."""
    runner = tmp_path / "runner"
    killed = f'case "$*" in *{exported["full"]}*) kill -9 $$;; esac'
    runner.write_text(f'#!/bin/bash\n{killed}\nexec {runner_path()} "$@"\n')
    runner.chmod(0o755)
    monkeypatch.setitem(host._PATHS, "lowbit_runner", lambda: runner)
    output = tmp_path / "report"
    assert run(exported["full"], exported["two"], *SHORT, "--output", output) == 0
    two, full = read_report(output / "report.json").programs
    assert "memory" in full.failure
    assert (full.runs, full.traces) == ([], [])
    assert (two.failure, len(two.runs)) == (None, 2)
    assert full.failure in (output / "report.md").read_text()
    assert f"tiny fp32 was not measured to the end: {full.failure}" in capsys.readouterr().err


def test_a_cache_too_short_for_a_context_leaves_that_one_out(exported, tmp_path):
    output = tmp_path / "report"
    assert run(exported["two"], *SHORT, "--contexts", "16,4096", "--output", output) == 0
    (program,) = read_report(output / "report.json").programs
    assert {context for r in program.runs for context in r.decode} == {16}
    assert program.note == "its KV cache holds 64 positions; what needs more was not measured"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda d: (d / "manifest.json").unlink(), "is not an exported program: it has no manifest.json"),
        (lambda d: _edit(d, schema_version=1), "is not a manifest of version 5"),
        (lambda d: _edit(d, bits=3.0), "was altered after its export (its checksum differs)"),
        (lambda d: _flip(d / "model.pte"), "was altered after its export (its hash differs)"),
        (lambda d: (d / "model.pte").write_bytes(b"short"), "has 5 bytes where its manifest says"),
    ],
)
def test_programs_that_are_not_what_their_manifest_says_are_refused_by_name(
    exported, tmp_path, capsys, damage, sentence
):
    bad = Path(shutil.copytree(exported["two"], tmp_path / "bad"))
    damage(bad)
    message = refused(capsys, exported["four"], bad, *SHORT, "--output", tmp_path / "report")
    assert sentence in message
    assert str(bad) in message
    assert not (tmp_path / "report").exists()


def _edit(directory: Path, **changes) -> None:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | changes))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "nothing to measure"),
        (["--sizes", "125M"], "add --random-weights"),
        (["--sizes", "7B"], "--sizes 7B is unknown; choose from default, 125M"),
        (["--sizes", "default", "--bits", "5"], "1.58"),
        (["x", "--opponents", "gpt"], "--opponents gpt is unknown; choose from xnnpack-8da4w"),
        (["x", "--opponents", "bench:IQ2_BN"], "a type of your own build: give its --llama-bench"),
        (["x", "--llama-bench", "/none"], "/ has no llama-bench: build both"),
        (["x", "--llama-bench", "/none", "--device", "adb"], "runs on this computer only"),
        (["x", "--threads", "0"], "--threads takes positive integers"),
        (["x", "--threads", "999"], "--threads must lie in 1..256, not 999"),
        (["x", "--contexts", "16,16"], "each once"),
        (["x", "--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["x", "--device", "toaster"], "toaster"),
        (["x", "--cores", "a-b"], "a-b"),
        (["nowhere"], "nowhere is not an exported program"),
        (["--render", "none.json"], "there is no latency report of version 1 none.json"),
        (["--compare", "none.json", "none.json"], "there is no latency report of version 1 none.json"),
    ],
)
def test_mistakes_are_one_sentence(argv, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_cannot_be_used_leaves_nothing(exported, capsys, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    argv = (exported["two"], *SHORT, "--eval-data", tmp_path / "empty.txt", "--output", tmp_path / "report")
    assert "holds no text" in refused(capsys, *argv)
    assert not (tmp_path / "report").exists()


def test_a_report_without_any_figure_is_an_error(exported, capsys, tmp_path):
    argv = (exported["two"], *SHORT, "--contexts", "100000", "--output", tmp_path / "report")
    assert "no program could be measured; the first, because its KV cache holds 64" in refused(capsys, *argv)
    assert not read_report(tmp_path / "report" / "report.json").finished
    assert run(exported["four"], *SHORT, "--output", tmp_path / "report") == 0
    (program,) = read_report(tmp_path / "report" / "report.json").programs
    assert program.name == "tiny 4 bits"


def test_the_same_program_twice(exported, capsys, tmp_path):
    message = refused(capsys, exported["two"], exported["two"], *SHORT, "--output", tmp_path / "r")
    assert "two programs would be called '2 bits (two)'" in message


def test_an_output_that_cannot_be_written(exported, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, exported["two"], *SHORT, "--output", tmp_path / "file")


def test_comparing_from_the_command_line(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    report = made_up_report()
    write_report(report, old)
    assert run("--compare", old, old) == 0
    slowed = report.model_copy(deep=True)
    for sample in (s for r in slowed.programs[0].runs for s in r.decode.values()):
        sample.tokens_per_second *= 0.5
    write_report(slowed, new)
    assert run("--compare", old, new) == 1
    assert slowed.programs[0].name in capsys.readouterr().out


def test_the_help_teaches(capsys):
    assert run("--help") == 0
    help_text = capsys.readouterr().out
    for word in ("--random-weights", "--device adb", "--compare", "report.html"):
        assert word in help_text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r | {"schema_version": 9}, "is not a latency report of version 1: schema_version"),
        (lambda r: r | {"programs": r["programs"] * 2}, "two programs are called"),
        (lambda r: r | {"device": r["device"] | {"kind": "emulator"}}, "an emulated device has no speeds"),
        (lambda r: {k: v for k, v in r.items() if k != "settings"}, "settings"),
        (lambda r: 3, "is not a latency report"),
    ],
)
def test_reports_that_are_not_valid(change, sentence, tmp_path, capsys):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(change(made_up_report().model_dump(mode="json"))))
    assert sentence in refused(capsys, "--render", path)


def test_a_report_reads_back_as_it_was_written(tmp_path):
    report: Report = made_up_report()
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
