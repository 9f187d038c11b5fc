"""Tests flags from a dataclass, and how commands end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from edge.cli import flag, parse_flags


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


def test_a_reader_that_ends_early_ends_the_command_quietly() -> None:
    """As ``| head`` does; the pipe's reading end is closed before the command writes."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "from edge.cli import main_guard; main_guard(lambda: print('much', flush=True) or 0)"
    ended = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
