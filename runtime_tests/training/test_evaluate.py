"""Perplexity as it is defined, and the table that the command writes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.formats import BY_NAME
from edge.training.data import PackedBlocks
from edge.training.evaluate import main, perplexity
from runtime_tests.tiny import TEXT, save_tiny, tiny_config, tiny_model


def test_perplexity_is_exp_of_the_mean_loss_of_every_predicted_token():
    model = tiny_model()
    tokens = np.random.default_rng(0).integers(0, tiny_config().vocab_size, 7 * 9 + 3).astype(np.int32)
    blocks = PackedBlocks(tokens, context=8)
    losses = []
    for block in blocks.blocks:  # one token at a time, in float64
        for position in range(1, 9):
            logits = model(torch.tensor([block[:position].tolist()]))[0, -1].double()
            losses.append(-torch.log_softmax(logits, dim=0)[block[position]].item())
    assert len(losses) == 7 * 8
    for batch_size in (1, 3, 100):
        value, count = perplexity(model, blocks, batch_size)
        assert count == len(losses)
        assert value == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-5)


def test_a_model_that_knows_nothing_scores_its_vocabulary():
    model = tiny_model()
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    blocks = PackedBlocks(np.arange(40, dtype=np.int32), context=9)
    assert perplexity(model, blocks) == (pytest.approx(tiny_config().vocab_size, rel=1e-5), 36)


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture):
    texts = [tmp_path / "a.txt", tmp_path / "b.txt"]
    texts[0].write_text(TEXT)
    texts[1].write_text(TEXT[: len(TEXT) // 2])
    models = [save_tiny(tmp_path / "full"), save_tiny(tmp_path / "two", BY_NAME["int2"])]
    output = tmp_path / "table.md"
    models_and_data = ["--model", *map(str, models), "--data", *map(str, texts)]
    assert main([*models_and_data, "--context", "32", "--output", str(output)]) == 0
    head, rule, *rows = [
        [c.strip() for c in line.split("|")[1:-1]] for line in output.read_text().splitlines()
    ]
    names = [f"perplexity {tmp_path.name}/{name}.txt" for name in "ab"]
    assert head == ["model", "bits", *names, "tokens", "weight bytes"]
    assert len(rule) == len(head)
    assert [row[:2] for row in rows] == [[str(models[0]), "16"], [str(models[1]), "2"]]
    for row, model in zip(rows, models, strict=True):
        assert all(1 < float(value) < 1e6 for value in row[2:4])
        assert int(row[5].replace(",", "")) == (model / "model.safetensors").stat().st_size
    assert rows[0][4] == rows[1][4]
    assert output.read_text() in capsys.readouterr().out


def test_bad_input_is_refused(tmp_path: Path):
    text, model = tmp_path / "a.txt", save_tiny(tmp_path / "full")
    text.write_text(TEXT)
    with pytest.raises(ValueError, match=r"--context must lie in 1\.\.64"):
        main(["--model", str(model), "--data", str(text), "--context", "65"])
    with pytest.raises(ValueError, match="there is no directory"):
        main(["--model", str(model), "--data", str(text), "--output", str(tmp_path / "no" / "table.md")])
    with pytest.raises(ValueError, match="not a directory"):
        main(["--model", str(tmp_path / "none"), "--data", str(text)])
