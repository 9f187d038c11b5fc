"""The benchmark of training steps runs, and says what it was run with; it asserts no time."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch

from edge.model.config import NAMED_MODELS
from edge.training.benchmarks.__main__ import main
from runtime_tests.tiny import tiny_config


@pytest.mark.parametrize("how", [[], ["--compile"]], ids=["eager", "compiled"])
def test_a_line_for_every_format(how, monkeypatch, capsys):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config(n_layers=1))
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # traced, not built
    words = ["--shape=tiny", "--bits=1.58,2", "--context=8", "--batch-size=3", "--rounds=2"]
    assert main(["step", *words, *how]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["fp16", "ternary", "int2"]
    assert "1.00x full precision (1.00 to 1.00)" in lines[0]
    assert all(re.search(r" \d+\.\d{3} s a step \(", line) for line in lines[:3])
    assert "tiny, batch 3 x 8, " in lines[3]
    assert (", compiled" in lines[3]) == bool(how)
    assert lines[3].endswith("2 rounds, random weights")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--bits=5"], "no weight format has 5 bits"),
        (["--shape=huge"], "unknown --shape huge"),
        (["--rounds=0"], "must be at least 1"),
        (["--context=100000"], "is beyond the model's 512 positions"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    with pytest.raises(ValueError, match=sentence):
        main(["step", *words])
