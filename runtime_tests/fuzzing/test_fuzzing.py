"""A short run of every fuzz target. EDGE_FUZZ_SECONDS says how long; the gate takes 8 s of each."""

from __future__ import annotations

import os
import random
import sys

import pytest

from runtime_tests.fuzzing.mutations import mutated_bytes, mutated_json
from runtime_tests.fuzzing.readers import READERS, fuzz
from runtime_tests.fuzzing.targets import TARGETS, Limits, build_native
from runtime_tests.native_builds import find_clang, find_tool, made_once, run

SECONDS = int(os.environ.get("EDGE_FUZZ_SECONDS", "5"))

#: The build, and then as long as was asked for.
pytestmark = pytest.mark.timeout(600 + SECONDS)


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    clang = find_clang()
    if clang is None or find_tool("ninja") is None:
        pytest.skip("Clang or ninja is missing: apt-get install clang-19 libclang-rt-19-dev ninja-build")
    empty = tmp_path_factory.mktemp("clang") / "empty.cc"
    empty.write_text('extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }\n')
    try:
        run([clang, "-fsanitize=fuzzer,address", empty, "-o", empty.with_suffix("")])
    except AssertionError:
        pytest.skip("Clang lacks its sanitizers: apt-get install libclang-rt-19-dev")
    return made_once(tmp_path_factory, "fuzz", build_native)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in READERS])
def test_native_code(native, tmp_path, name):
    assert "Done " in TARGETS[name].run(native, tmp_path, Limits(SECONDS, None, seed=0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_readers(name):
    """In this process, which has imported what a command would import for longer than it fuzzes."""
    assert fuzz(name, seed=0, inputs=sys.maxsize, seconds=SECONDS).total() > 0


def test_the_command_of_a_reader(tmp_path):
    assert "5 inputs, " in TARGETS["manifests"].run(tmp_path, tmp_path, Limits(SECONDS, 5, seed=0))


@pytest.mark.parametrize("name", READERS)
def test_inputs_are_of_both_kinds_and_repeat(name):
    """Tests that a target reaches more than the first check of its reader."""
    endings = fuzz(name, seed=1, inputs=60, seconds=60)
    assert endings.total() == 60
    assert 3 <= endings["refused"] <= 57
    assert fuzz(name, seed=1, inputs=10, seconds=60) == fuzz(name, seed=1, inputs=10, seconds=60)


def test_a_finding_names_its_input(monkeypatch):
    def broken(folder):
        def attempt(dice):
            if dice.random() < 0.1:
                raise KeyError("a traceback for a user")
            raise ValueError("a sentence")

        return attempt

    monkeypatch.setitem(READERS, "broken", broken)
    with pytest.raises(AssertionError, match=r"broken: input \d+ of seed 3"):
        fuzz("broken", seed=3, inputs=1000, seconds=60)


def test_mutations_leave_the_original_alone():
    value = {"a": [1, {"b": 2.5}], "c": "text"}
    before = repr(value)
    mutated = [mutated_json(value, random.Random(seed)) for seed in range(300)]
    assert repr(value) == before
    assert sum(each != value for each in mutated) > 280
    data = bytes(range(64))
    assert sum(mutated_bytes(data, random.Random(seed)) != data for seed in range(300)) > 280
