"""The check of a program before ExecuTorch loads it: mutated files are refused, none ends a process."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from edge.ops import signatures
from edge.ops.native import MissingOperators, check_program
from edge.runtime.load import Program
from export import to_pte
from runtime_tests.native_builds import run
from runtime_tests.ops.mutated_programs import RAN, REFUSED, RUNTIMES, flatbuffer_bytes, mutate
from runtime_tests.ops.programs import unknown_block, write_program
from runtime_tests.tiny import save_tiny

ANY_MEMORY = 2**62
ROOT = Path(__file__).resolve().parents[2]


def reason(data: bytes, path, memory: int = ANY_MEMORY) -> str:
    path.write_bytes(data)
    with path.open("rb") as file, pytest.raises(ValueError, match=r"\w") as refusal:
        check_program(file, memory)
    return str(refusal.value)


def test_the_table_of_signatures_is_what_the_generator_writes():
    assert signatures.CPP_TABLE.read_text() == signatures.cpp_table()


def test_a_good_program_passes(tiny_program):
    with tiny_program.open("rb") as file:
        check_program(file, ANY_MEMORY)


def test_planned_memory_is_bounded(tiny_program, tmp_path):
    assert "plans more memory than the 100 bytes" in reason(tiny_program.read_bytes(), tmp_path / "x", 100)


@pytest.mark.parametrize("keep", [0, 3, 63, 64, 1000, -1])
def test_truncated_files(tiny_program, tmp_path, keep):
    assert reason(tiny_program.read_bytes()[:keep], tmp_path / "x")


def test_an_operator_that_nobody_registered(tmp_path):
    path = write_program(unknown_block()(), tmp_path / "unknown.pte")
    with path.open("rb") as file, pytest.raises(MissingOperators, match=r"^lowbit_unknown::twice\.out$"):
        check_program(file, ANY_MEMORY)
    with pytest.raises(ValueError, match=r"ops this runtime lacks: lowbit_unknown::twice\.out; load the lib"):
        Program(path)


def test_a_program_without_our_methods_is_sound_but_not_ours(tiny_program):
    with pytest.raises(ValueError, match="no method get_vocab_size; it was not exported by this project"):
        Program(tiny_program)


def test_another_operator_does_not_take_the_arguments(tiny_program, tmp_path):
    """Calls name an operator, whose kernel would read the arguments of another one."""
    data = tiny_program.read_bytes()
    assert b"gate_mul" in data
    swapped = data.replace(b"lowbit::gate_mul", b"aten::sym_numel\0")
    assert "printed" in reason(swapped, tmp_path / "x")
    swapped = data.replace(b"lowbit::gate_mul", b"aten::logical_or")  # as long
    assert "aten::logical_or.out gets 5 arguments and takes 4" in reason(swapped, tmp_path / "x")


def test_a_name_in_a_delegate_that_is_no_text(tmp_path):
    """XNNPACK's delegate prints the names of constants, and Python ends over bytes that are no text."""
    model = save_tiny(tmp_path / "model", n_layers=1, dim=64, head_dim=16, ffn_dim=64)
    words = ("--bits", 4, "--recipe", "xnnpack-8da4w", "--model", model, "--output", tmp_path / "program")
    to_pte.main([str(word) for word in words])
    data = (tmp_path / "program/model.pte").read_bytes()
    places = [match.end() for match in re.finditer(b"scale_", data)]
    reasons = {reason(data[:at] + b"\xe0" + data[at + 1 :], tmp_path / "x") for at in places}
    assert any("of its graph has a name that is no text" in why for why in reasons)


def test_no_mutated_program_ends_a_process(tiny_program):
    """By the command, so that the process that forks has run no program and started no threads."""
    command = [sys.executable, "-m", "runtime_tests.ops.mutated_programs", "--files", 200]
    lines = run([*command, tiny_program], cwd=ROOT).splitlines()
    endings = {runtime: json.loads(counts) for runtime, counts in (line.split(" ", 1) for line in lines)}
    assert endings.keys() == RUNTIMES.keys()
    for counts in endings.values():
        assert sum(counts.values()) == 200
        assert set(counts) <= {RAN, REFUSED}
        assert counts[REFUSED] > 100


def test_a_mutation_repeats_and_most_change_the_tables(tiny_program):
    data = tiny_program.read_bytes()
    end = flatbuffer_bytes(data)
    assert mutate(data, 7) == mutate(data, 7)
    assert sum(mutate(data, seed)[:end] != data[:end] for seed in range(50)) > 40
