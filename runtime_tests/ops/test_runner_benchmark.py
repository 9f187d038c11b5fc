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
    arguments = ("--prompt-length", 5, "--generate", 7, "--context", 11, "--warmup", 2, "--runs", 3)
    report = benchmark(tiny_program, *arguments, "--threads", 2)
    assert report["model"] == str(tiny_program)
    assert report["model_bytes"] == tiny_program.stat().st_size
    assert report["kernel"] == edge.ops.selected_kernel()
    assert report["threads"] == 2
    assert report["traced"] is False
    lengths = {"prompt_length": 5, "generate": 7, "context": 11, "warmup_runs": 2, "runs": 3}
    assert {name: report[name] for name in lengths} == lengths
    assert 0 < report["load_ms"] < report["time_to_first_token_ms"]
    p50, p90 = report["decode_ms_per_token_p50"], report["decode_ms_per_token_p90"]
    rates = (report["prefill_tokens_per_second"], report["decode_tokens_per_second"])
    assert all(len(values) == 3 and min(values) > 0 for values in (p50, p90, *rates))
    assert all(low <= high for low, high in zip(p50, p90, strict=True))


def test_memory_is_the_file_the_pages_in_use_and_the_code(tiny_program):
    report = benchmark(tiny_program, "--prompt-length", 5, "--generate", 2)
    memory = report["memory"]
    assert memory["anonymous_bytes"] + memory["file_bytes"] <= memory["peak_resident_bytes"] + MEGABYTE
    assert 0 < memory["model_file_bytes"] <= report["model_bytes"] + 4 * KILOBYTE
    assert memory["model_file_bytes"] < memory["file_bytes"]
    assert 0 < memory["before_load_anonymous_bytes"] <= memory["anonymous_bytes"]
    assert memory["anonymous_bytes"] < 4 * MEGABYTE
    assert memory["planned_bytes"] > 0


def test_context_defaults_to_the_prompt(tiny_program):
    report = benchmark(tiny_program, "--prompt-length", 9, "--generate", 3, "--runs", 1, "--warmup", 0)
    assert report["context"] == 9


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--generate", MAX_SEQ), f"the program holds {MAX_SEQ}"),
        (("--prompt-length", MAX_SEQ + 1, "--generate", 1), f"the program holds {MAX_SEQ}"),
        (("--runs", 0), "--runs must be an integer from 1"),
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
