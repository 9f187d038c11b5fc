"""Tests flags from a dataclass, and how commands end."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pytest
import torch

from edge.cli import flag, main_guard, parse_flags


@dataclass(frozen=True)
class Flags:
    model: str = flag("a model")
    max_seq_len: int | None = flag("positions", default=None)
    kv_cache: Literal["fp32", "int8"] = flag("of two (default %(default)s)", default="fp32")
    width: int = flag("of three", default=8, choices=(4, 8, 16))
    fast: bool = flag("a switch", default=False)
    output: Path = flag("a directory", default=Path("out"))


def parse(*argv: str) -> Flags:
    return parse_flags(Flags, list(argv), "tests", "A command.")


def test_defaults_are_the_dataclass_s() -> None:
    assert parse("--model", "a") == Flags("a")


def test_every_type_of_flag() -> None:
    given = [
        "--model",
        "a",
        "--max-seq-len",
        "3",
        "--kv-cache",
        "int8",
        "--width",
        "16",
        "--fast",
        "--output",
        "there",
    ]
    assert parse(*given) == Flags("a", 3, "int8", 16, True, Path("there"))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "required: --model"),
        (["--model", "a", "--max-seq-len", "x"], "--max-seq-len: invalid int value: 'x'"),
        (["--model", "a", "--kv-cache", "int4"], "--kv-cache: invalid choice: 'int4'"),
        (["--model", "a", "--width", "5"], "--width: invalid choice: 5"),
        (["--model", "a", "--fast", "yes"], "unrecognized arguments: yes"),
    ],
)
def test_bad_flags_are_named(argv: list[str], words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(*argv)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_help_has_defaults_and_choices(capsys) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    printed = capsys.readouterr().out
    assert "python -m tests" in printed
    assert "of two (default fp32)" in printed
    assert "{4,8,16}" in printed


#: Runs a command in a process of its own.
GUARDED = "import sys; from edge.cli import main_guard; main_guard(lambda: {} or 0)"


def ended(what: str, redirections: str = "") -> tuple[int, str]:
    """Exit code and stderr of ``what`` as a command, under a shell's redirections."""
    command = shlex.join([sys.executable, "-c", GUARDED.format(what)])
    done = subprocess.run(["bash", "-c", f"{command} {redirections}"], capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("flush", [True, False])
def test_a_reader_that_ends_early_ends_the_command_quietly(stream: str, flush: bool) -> None:
    """As ``| head`` does; the pipe's reading end is closed before the command writes."""
    reader, writer = os.pipe()
    os.close(reader)
    code = GUARDED.format(f"print('much', file=sys.{stream}, flush={flush})")
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    done = subprocess.run([sys.executable, "-c", code], **{stream: writer, other: subprocess.PIPE})
    os.close(writer)
    assert (done.returncode, getattr(done, other)) == (141, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_command(closed: str) -> None:
    what = "print('a') or print('b', file=sys.stderr) or sys.stdout.flush() or sys.stdin.fileno()"
    assert ended(what, closed) == (0, "" if "2>&-" in closed else "b\n")


def test_a_file_does_not_take_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Else what native code prints would go into it."""
    path = tmp_path / "file"
    what = f"(opened := open({str(path)!r}, 'w')) and (opened.write(str(opened.fileno())) and 0)"
    assert ended(what, "<&- >&- 2>&-") == (0, "")
    assert int(path.read_text()) > 2


@pytest.mark.parametrize("flush", [True, False])
def test_a_full_disk_under_stdout_is_said(flush: bool) -> None:
    code, words = ended(f"print('much', flush={flush})", "> /dev/full")
    assert (code, words) == (2, "error: [Errno 28] No space left on device\n")


def test_an_error_that_nobody_can_read_has_its_code() -> None:
    assert ended("int('x')", "2> /dev/full") == (2, "")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda: torch.empty(1 << 50), "and 4,503,599,627 MB more were asked for;"),
        (lambda: np.empty(1 << 50), "were in use;"),
        (lambda: os.strerror(0) * (1 << 60), "were in use;"),
        (lambda: _raise(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))), "were in use;"),
        (lambda: _raise(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")), "in use;"),
        (lambda: _raise_from(ValueError("x cannot be read"), MemoryError()), "were in use;"),
    ],
)
def test_memory_that_ran_out_is_one_sentence(fault: Callable[[], Any], words: str, capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: fault() is None)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert said.startswith("error: memory ran out: ")
    assert said.count("\n") == 1
    assert words in said


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), KeyError("out of memory")])
def test_other_errors_are_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)):
        main_guard(lambda: _raise(error))


def test_a_path_that_speaks_of_memory_is_no_memory_error(capsys) -> None:
    with pytest.raises(SystemExit):
        main_guard(lambda: _raise(ValueError("/out of memory is not a directory")))
    assert capsys.readouterr().err == "error: /out of memory is not a directory\n"


def _raise(error: Exception) -> NoReturn:
    raise error


def _raise_from(error: Exception, cause: Exception) -> NoReturn:
    raise error from cause
