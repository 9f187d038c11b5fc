"""Benchmark mode and traces of the runner: what they report, not how fast this machine is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge.ops
from runtime_tests.ops.programs import MAX_SEQ
from runtime_tests.ops.runner_process import ids, refused, run

KILOBYTE, MEGABYTE = 1 << 10, 1 << 20


def benchmark(program: Path, *arguments: object) -> dict:
    result = run("--model", program, "--benchmark", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_the_report(tiny_program):
    arguments = ("--prompt-length", "5,3", "--generate", 7, "--context", "11,2", "--warmup", 2, "--runs", 3)
    report = benchmark(tiny_program, *arguments, "--threads", 2)
    assert report["model"] == str(tiny_program)
    assert report["model_bytes"] == tiny_program.stat().st_size
    assert report["kernel"] == edge.ops.selected_kernel()
    assert report["threads"] == 2
    assert report["traced"] is False
    lengths = {"prompt_lengths": [5, 3], "contexts": [2, 11], "generate": 7, "warmup_runs": 2, "runs": 3}
    assert {name: report[name] for name in lengths} == lengths
    assert 0 < report["load_ms"] < report["time_to_first_token_ms"]
    assert list(report["prefill_tokens_per_second"]) == ["5", "3"]
    assert list(report["decode"]) == ["2", "11"]
    figures = ("tokens_per_second", "ms_per_token_p50", "ms_per_token_p90")
    for decode in report["decode"].values():
        assert all(len(decode[name]) == 3 and min(decode[name]) > 0 for name in figures)
        pairs = zip(decode["ms_per_token_p50"], decode["ms_per_token_p90"], strict=True)
        assert all(low <= high for low, high in pairs)
    assert all(len(v) == 3 and min(v) > 0 for v in report["prefill_tokens_per_second"].values())


def test_memory_is_the_file_the_pages_in_use_and_the_code(tiny_program):
    report = benchmark(tiny_program, "--prompt-length", 5, "--generate", 2)
    memory = report["memory"]
    assert memory["anonymous_bytes"] + memory["file_bytes"] <= memory["peak_resident_bytes"] + MEGABYTE
    assert 0 < memory["model_file_bytes"] <= report["model_bytes"] + 4 * KILOBYTE
    assert memory["model_file_bytes"] < memory["file_bytes"]
    assert 0 < memory["before_load_anonymous_bytes"] <= memory["anonymous_bytes"]
    assert memory["anonymous_bytes"] < 4 * MEGABYTE
    assert memory["planned_bytes"] > 0


def test_context_defaults_to_the_first_prompt(tiny_program):
    report = benchmark(tiny_program, "--prompt-length", "9,12", "--generate", 3, "--runs", 1, "--warmup", 0)
    assert report["contexts"] == [9]


def test_what_a_run_executes(tiny_program, tmp_path):
    """Prompts, then per context what the cache lacks and the tokens; a later run fills nothing.

    The trace lists the steps as they ran, so that its last are those of the last context.
    """
    from executorch.devtools import Inspector

    path = tmp_path / "trace.etdp"
    arguments = ("--prompt-length", "4,6", "--context", "9,3", "--generate", 2, "--warmup", 0, "--runs", 2)
    benchmark(tiny_program, *arguments, "--etdump", path)
    blocks = {block.name: block for block in Inspector(etdump_path=str(path)).event_blocks}
    (event,) = (event for event in blocks["Execute"].events if event.name == "Method::execute")
    first_token, run, filler = 1, 2 + 2 * 2, 1
    assert len(event.perf_data.raw) == first_token + 2 * run + filler
    assert event.start_time == sorted(event.start_time)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--generate", MAX_SEQ), f"the program holds {MAX_SEQ}"),
        (("--prompt-length", MAX_SEQ + 1, "--generate", 1), f"the program holds {MAX_SEQ}"),
        (("--runs", 0), "--runs must be an integer from 1"),
        (("--context", "4,4"), "--context must be positive integers, each once"),
        (("--prompt-length", "4,0"), "--prompt-length must be positive integers"),
        (("--prompt-length", "4,"), "--prompt-length must be positive integers"),
        (("--tokens", "1,2"), "--tokens cannot go with --benchmark"),
    ],
)
def test_refusals(tiny_program, arguments, sentence):
    assert sentence in refused("--model", tiny_program, "--benchmark", *arguments)


def test_refusals_without_a_program(tiny_program):
    assert "--benchmark needs --model" in refused("--benchmark")
    assert "--runs needs --benchmark" in refused("--model", tiny_program, "--tokens", "1", "--runs", 2)


def test_a_trace_is_one_for_the_inspector(tiny_program, tmp_path):
    from executorch.devtools import Inspector

    path, steps = tmp_path / "trace.etdp", 4
    common = ("--model", tiny_program, "--tokens", "3,14,15", "--max-new-tokens", steps, "--eos", 1000000)
    assert ids(run(*common, "--etdump", path)) == ids(run(*common))
    blocks = {block.name: block for block in Inspector(etdump_path=str(path)).event_blocks}
    events = [event for event in blocks["Execute"].events if event.name == "lowbit::linear.out"]
    assert len(events) == 5  # of TinyBlock: q, k and v in one, gate, up, down, head
    assert all(len(event.perf_data.raw) == steps and min(event.perf_data.raw) > 0 for event in events)


def test_a_traced_benchmark_says_so(tiny_program, tmp_path):
    arguments = ("--prompt-length", 3, "--generate", 2, "--runs", 1, "--etdump", tmp_path / "trace.etdp")
    assert benchmark(tiny_program, *arguments)["traced"] is True
    assert (tmp_path / "trace.etdp").stat().st_size > 0
    message = refused("--model", tiny_program, "--tokens", "1", "--etdump", "/nowhere/trace")
    assert "cannot write the trace '/nowhere/trace'" in message
