"""lowbit_runner, the C++ process without Python: same tokens, same bits, one sentence for bad input."""

from __future__ import annotations

import json

import pytest
import torch

from runtime_tests.ops import programs
from runtime_tests.ops.programs import MAX_SEQ, TinyBlock, greedy, unknown_block, write_program
from runtime_tests.ops.runner_process import ids, refused, run

PROMPT = [3, 14, 15, 9, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_same_tokens_and_logits_as_eager(tiny_program, tmp_path, threads):
    expected, expected_logits = greedy(TinyBlock(), PROMPT, 12)
    arguments = ("--model", tiny_program, "--tokens", "3,14,15,9,2", "--max-new-tokens", 12, "--eos", 1000000)
    result = run(*arguments, "--threads", threads, "--logits", tmp_path / "logits")
    assert ids(result) == expected
    logits = torch.frombuffer(bytearray((tmp_path / "logits").read_bytes()), dtype=torch.float32)
    assert torch.equal(logits.view(12, -1), expected_logits)


def test_a_long_prompt_runs_in_pieces_with_the_same_bits(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "MAX_SEQ", 300)  # more than two pieces of LanguageProgram::prefill
    path = write_program(TinyBlock(), tmp_path / "long.pte")
    prompt = [(7 * i) % 50 for i in range(290)]
    expected, expected_logits = greedy(TinyBlock(), prompt, 3)
    arguments = ("--model", path, "--tokens", ",".join(map(str, prompt)), "--max-new-tokens", 3)
    assert ids(run(*arguments, "--eos", 1000000, "--logits", tmp_path / "logits")) == expected
    logits = torch.frombuffer(bytearray((tmp_path / "logits").read_bytes()), dtype=torch.float32)
    assert torch.equal(logits.view(3, -1), expected_logits)


def test_stats_line_has_the_stock_form(tiny_program):
    result = run("--model", tiny_program, "--tokens", "3,14,15", "--max-new-tokens", 4, "--eos", 1000000)
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("PyTorchObserver ")
    stats = json.loads(line.removeprefix("PyTorchObserver "))
    assert stats["prompt_tokens"] == 3
    assert stats["generated_tokens"] == 4
    assert stats["prefill_token_per_sec"] > 0
    assert stats["decode_token_per_sec"] > 0
    assert stats["model_load_start_ms"] <= stats["model_load_end_ms"] <= stats["inference_end_ms"]


def test_stops_at_the_end_token_and_prints_it(tiny_program):
    expected, _ = greedy(TinyBlock(), PROMPT, 12)
    eos = expected[4]
    stopped = ids(run("--model", tiny_program, "--tokens", "3,14,15,9,2", "--eos", eos))
    assert stopped == expected[: expected.index(eos) + 1]


def test_stops_when_the_cache_is_full(tiny_program):
    result = run(
        "--model", tiny_program, "--tokens", "3,14,15,9,2", "--max-new-tokens", 1000, "--eos", 1000000
    )
    assert len(ids(result)) == MAX_SEQ - len(PROMPT) + 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--model and --tokens are required"),
        (("--model",), "--model needs a value"),
        (("--tokens", "1,2"), "--model and --tokens are required"),
        (("--speed", "9"), "unknown argument '--speed'"),
        (("loose",), "unknown argument 'loose'"),
        (("--tokens", "1,,2"), "token ids separated by commas"),
        (("--tokens", "1,-2"), "token ids separated by commas"),
        (("--tokens", "1.5"), "token ids separated by commas"),
        (("--tokens", "99999999999999999999"), "token ids separated by commas"),
        (("--max-new-tokens", "0"), "--max-new-tokens must be an integer from 1"),
        (("--threads", "many"), "--threads must be an integer from 1 to 256"),
        (("--eos", "-1"), "--eos must be an integer"),
        (("--logits", ""), "--logits must be a path"),
    ],
)
def test_bad_arguments(arguments, sentence):
    assert sentence in refused(*arguments)


def test_bad_token_ids_and_long_prompts(tiny_program):
    assert "token id 50 is outside the vocabulary of 50" in refused(
        "--model", tiny_program, "--tokens", "1,50"
    )
    long_prompt = ",".join(["1"] * (MAX_SEQ + 1))
    assert f"the program holds {MAX_SEQ}" in refused("--model", tiny_program, "--tokens", long_prompt)


def test_bad_files(tiny_program, tmp_path):
    assert "cannot read the program" in refused("--model", tmp_path / "none.pte", "--tokens", "1")
    assert "not a usable ExecuTorch program" in refused("--model", tmp_path, "--tokens", "1")
    blob, damaged = tiny_program.read_bytes(), tmp_path / "damaged.pte"
    for content in (b"", blob[:60], blob[: len(blob) // 2], blob[:-1], b"garbage " * 1000):
        damaged.write_bytes(content)
        assert "not a usable ExecuTorch program" in refused("--model", damaged, "--tokens", "1")


def test_a_damaged_packed_table_in_the_program(tiny_program, tmp_path):
    blob = bytearray(tiny_program.read_bytes())
    blob[blob.index(b"LBW1") + 4] ^= 1  # the layout version
    (tmp_path / "damaged.pte").write_bytes(blob)
    message = refused("--model", tmp_path / "damaged.pte", "--tokens", "1")
    assert "packed table has layout version 3" in message


def test_output_that_cannot_be_written(tiny_program):
    common = ("--model", tiny_program, "--tokens", "1", "--logits")
    assert "cannot write" in refused(*common, "/nowhere/logits")
    assert "is the disk full?" in refused(*common, "/dev/full")


def test_a_missing_operator_is_named(tmp_path):
    path = write_program(unknown_block()(), tmp_path / "unknown.pte")
    message = refused("--model", path, "--tokens", "1")
    assert "not loaded: lowbit_unknown::twice.out;" in message
