"""The native methods in this computer's JVM: tokens, exceptions, early stop, memory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edge.runtime.manifest import read_manifest
from runtime_tests.android_demo.conftest import WIDTHS
from runtime_tests.android_demo.widths import ids_at
from runtime_tests.native_builds import made_once, run
from runtime_tests.ops import runner_process

SOURCES = Path(__file__).parent / "java"
PROMPT, COUNT = "1,15,7", 24

#: Runs a case of NativeProbe and returns the lines it prints.
Probe = Callable[..., list[str]]


@pytest.fixture(scope="session")
def java_probe(
    tmp_path_factory: pytest.TempPathFactory, desktop_classes: Path, native_folder: Path
) -> Callable[..., list[str]]:
    """A function that runs one of the classes of SOURCES and returns the lines it prints."""

    def compile_probes(folder: Path) -> None:
        options = ["-Xlint:-options", "--release", "7", "-cp", desktop_classes, "-d", folder]
        run(["javac", *options, *SOURCES.rglob("*.java")])

    classes = made_once(tmp_path_factory, "app-probe", compile_probes)

    def run_probe(name: str, *words: object, java: Sequence[str] = ()) -> list[str]:
        options = [*java, "-Xcheck:jni", f"-Djava.library.path={native_folder}"]
        options += ["-cp", f"{classes}:{desktop_classes}"]
        command = ["java", *options, f"org.lowbit.demo.core.{name}", *words]
        result = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "WARNING" not in result.stdout + result.stderr  # of -Xcheck:jni
        return result.stdout.splitlines()

    return run_probe


@pytest.fixture(scope="session")
def probe(java_probe: Callable[..., list[str]]) -> Probe:
    def run_case(case: str, program: Path, *words: object, java: Sequence[str] = ()) -> list[str]:
        return java_probe("NativeProbe", case, program / "model.pte", *words, java=java)

    return run_case


def ids_and_statistics(line: str) -> tuple[list[int], dict]:
    ids, statistics = line.split("|")
    return [int(word) for word in ids.split(",") if word], json.loads(statistics)


def runner_ids(program: Path, *options: object) -> list[int]:
    """What lowbit_runner generates."""
    arguments = ["--model", program / "model.pte", "--tokens", PROMPT, "--threads", 1]
    return runner_process.ids(runner_process.run(*arguments, "--max-new-tokens", COUNT, *options))


@pytest.mark.parametrize("bits", WIDTHS)
def test_tokens_are_those_of_lowbit_runner(probe, story_program, bits):
    program = story_program(bits)
    described, greedy, drawn, memory = probe("generate", program)
    ids, statistics = ids_and_statistics(greedy)
    assert ids == runner_ids(program)
    assert statistics["end"] == "length"
    assert (statistics["prompt_tokens"], statistics["generated_tokens"]) == (3, COUNT)
    assert min(statistics[f"{part}_seconds"] for part in ("prefill", "decode", "sampling")) > 0
    sampled = ids_and_statistics(drawn)[0]
    assert sampled == runner_ids(program, "--temperature", 0.8, "--top-p", 0.9, "--top-k", 40, "--seed", 7)
    assert sampled != ids
    facts = json.loads(described)
    manifest = json.loads((program / "manifest.json").read_text())
    assert facts["file_bytes"] == manifest["program"]["bytes"]
    assert facts["vocab_size"] == manifest["config"]["vocab_size"]
    assert facts["max_seq_len"] == manifest["max_seq_len"]
    assert facts["planned_bytes"] > manifest["kv_cache_bytes"]
    names = {"kernel", "file_bytes", "planned_bytes", "vocab_size", "max_seq_len", "eos_ids", "widths"}
    assert set(facts) == names
    assert facts["widths"] == []
    assert 0 < json.loads(memory)["resident_bytes"] <= json.loads(memory)["peak_bytes"]


def test_a_generation_continues_where_the_cache_ends(probe, story_program):
    whole, other, rest, filled, last = (
        ids_and_statistics(line) for line in probe("continue", story_program("1.58"))
    )
    assert whole[0] == rest[0] == last[0]
    assert other[0] != whole[0][:1]
    assert filled == ([], filled[1])
    assert filled[1]["end"] == "length"
    assert filled[1]["prompt_tokens"] == 2


def test_the_width_changes_between_tokens(probe, elastic_program):
    """Tests three widths of 8 tokens each, the last with one number for each layer."""
    layers = read_manifest(elastic_program).config.n_layers
    mixed = [2 + layer % 7 for layer in range(layers)]
    described, ids, after = probe("widths", elastic_program, 4, 2, ",".join(map(str, mixed)))
    assert json.loads(described)["widths"] == [8] * layers
    assert [int(word) for word in ids.split(",")] == ids_at(
        elastic_program, [1, 15, 7], [(4, 8), (2, 8), (mixed, 8)]
    )
    assert json.loads(after)["widths"] == mixed


def test_a_width_that_is_not_held_is_refused_with_a_sentence(probe, elastic_program, story_program):
    assert probe("refuse widths", elastic_program, "9", "1", "4,4,4", "8") == [
        "an elastic program holds 2 to 8 bits, not 9",
        "an elastic program holds 2 to 8 bits, not 1",
        f"the program has {read_manifest(elastic_program).config.n_layers} layers, and 3 widths were given; "
        "give one, or one for each layer",
        "accepted: 8",
    ]
    assert probe("refuse widths", story_program("1.58"), "2") == [
        "the program is not elastic, so its width is fixed: export it with --bits elastic"
    ]


def test_a_listener_stops_the_generation_at_once(probe, story_program):
    program = story_program("1.58")
    (line,) = probe("stop", program)
    ids, statistics = ids_and_statistics(line)
    assert ids == runner_ids(program)[:3]
    assert statistics["end"] == "listener"
    assert statistics["generated_tokens"] == 3


def test_an_exception_of_the_listener_passes_through(probe, story_program):
    program = story_program("1.58")
    thrown, after = probe("throw", program)
    assert thrown == "of the listener, after 1"
    assert ids_and_statistics(after)[0] == runner_ids(program)


def test_the_end_of_the_context_is_told(probe, story_program):
    line, *refusals = probe("full", story_program("1.58"))
    ids, statistics = ids_and_statistics(line)
    assert (statistics["end"], len(ids)) == ("context", 13)
    assert refusals == [
        "the prompt has 1000 tokens, the program holds 512",
        "the prompt has 1 tokens from position 512 on, the program holds 512",
        "the prompt has 2 tokens from position 511 on, the program holds 512",
    ]


def test_refusals_are_exceptions_with_a_sentence(probe, story_program, tmp_path):
    missing = tmp_path / "n\u00f6 \U0001f600.pte"  # a name that JNI's own strings would spoil
    outside = "is outside the vocabulary of 4096)"
    assert probe("refuse", story_program("1.58"), missing) == [
        f"cannot read the program '{missing}'",
        "the number of threads must be 0 to 256, not 1000",
        "the prompt is empty; give it at least one token",
        f"the program failed at position 0 (lowbit::embedding: token id 4096 {outside}",
        f"the program failed at position 0 (lowbit::embedding: token id -1 {outside}",
        "the prompt has 1 tokens from position -1 on, the program holds 512",
        "top-p must be 0 to 1, not 1.5",
        "top-p must be 0 to 1, not nan",
        "prompt 400 and 64 tokens at context 500 need 564 positions, the program holds 512",
    ]


def test_the_benchmark_is_that_of_lowbit_runner(probe, story_program):
    program = story_program("1.58")
    options = ["--prompt-length", "16,40", "--generate", 4, "--warmup", 1, "--runs", 2, "--threads", 1]
    expected = json.loads(
        runner_process.run("--model", program / "model.pte", "--benchmark", *options).stdout
    )
    (line,) = probe("benchmark", program)
    measured = json.loads(line)
    assert list(measured) == list(expected)
    same = ("model", "model_bytes", "kernel", "threads", "prompt_lengths", "contexts", "generate", "runs")
    assert [measured[key] for key in same] == [expected[key] for key in same]
    assert list(measured["memory"]) == list(expected["memory"])
    assert all(len(measured["prefill_tokens_per_second"][length]) == 2 for length in ("16", "40"))


def test_nothing_leaks_over_a_thousand_programs(probe, story_program):
    """Ternary, because its unpacked tables are the largest thing that a program leaves behind.

    Java's own memory is held constant: a heap that is there from the start, and no compiler. 128 KiB over the
    last 900 rounds are less than 150 bytes a round, and a session alone has more.
    """
    java = ["-Xint", "-Xms16m", "-Xmx16m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC"]
    lines = probe("cycle", story_program("1.58"), 1000, java=java)
    early, late = (json.loads(line)["resident_bytes"] for line in lines)
    assert late - early < 128 << 10


def test_a_program_that_gave_its_memory_back_answers_again(java_probe, story_program, tmp_path):
    """Freed before the third answer and during it, which goes on: the next find nothing in the KV cache."""
    lines = java_probe("MemoryProbe", tmp_path, story_program("2"))
    ids, reused = zip(*(line.split("|") for line in lines), strict=True)
    assert set(ids) == {ids[0]}
    assert ids[0].startswith("[")
    assert reused == ("0", "2", "0", "0")
