"""Sampling, and the messages of ``python -m edge.runtime`` for bad input."""

from __future__ import annotations

import pytest
import torch

from edge.cli import main_guard
from edge.runtime import __main__ as command
from edge.runtime import generate

LOGITS = torch.tensor([1.0, 5.0, 4.0, -30.0])


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-300, 1e-45, 1e-3])
def test_a_low_temperature_is_greedy(temperature):
    pick = generate.sampler(temperature, top_k=4, seed=0)
    assert {pick(LOGITS) for _ in range(20)} == {1}


@pytest.mark.parametrize("temperature", [1e3, 1e300, float("inf")])
def test_a_high_temperature_is_uniform_over_the_best(temperature):
    pick = generate.sampler(temperature, top_k=3, seed=0)
    assert {pick(LOGITS) for _ in range(100)} == {0, 1, 2}


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--temperature", "nan", "--temperature must be 0 or more, not nan"),
        ("--temperature", "-1", "--temperature must be 0 or more"),
        ("--seed", "-1", "--seed must lie in"),
        ("--seed", str(2**63), "--seed must lie in"),
        ("--top-k", "0", "--top-k must be at least 1"),
        ("--max-new-tokens", "0", "must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(flag, value, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main_guard(lambda: command.main(["--program", str(tmp_path), flag, value]))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("error: ")
    assert words in error


def test_arguments_that_are_not_utf8(capsys, monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["generate", "--prompt", "caf\udce9"]
    )  # Latin-1 bytes, as Python gets them
    with pytest.raises(SystemExit) as stop:
        main_guard(command.main)
    assert stop.value.code == 2
    assert "is not UTF-8 text" in capsys.readouterr().err
