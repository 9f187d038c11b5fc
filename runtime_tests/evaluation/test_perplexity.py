"""Perplexity as it is defined, and WikiText-2 as it is published."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from edge.data import PackedBlocks
from edge.evaluation.language_model import EagerModel
from edge.evaluation.perplexity import file_perplexity, perplexity, wikitext_perplexities
from edge.evaluation.wikitext import TEST_ROWS, wikitext_rows
from edge.model.tokenizer import Tokenizer
from runtime_tests.conftest import shared_data
from runtime_tests.evaluation.stand_in import candidate_of
from runtime_tests.tiny import TEXT, tiny_config, tiny_model, tiny_tokenizer

ROWS = ["", " = Ants = \n", "", " The mouse sat beside the cake . \n", " And the baker was glad . \n"]


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
    value, count = perplexity(EagerModel(model), blocks)
    assert count == len(losses)
    assert value == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-5)


def test_a_model_that_knows_nothing_scores_its_vocabulary():
    model = tiny_model()
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    blocks = PackedBlocks(np.arange(40, dtype=np.int32), context=9)
    assert perplexity(EagerModel(model), blocks) == (pytest.approx(tiny_config().vocab_size, rel=1e-5), 36)


def test_blocks_of_a_file_predict_as_many_tokens_as_the_model_has_positions(tmp_path: Path):
    text = tmp_path / "a.txt"
    text.write_text(TEXT)
    candidate = candidate_of(EagerModel(tiny_model()))
    stream = len(candidate.tokenizer.encode(TEXT.strip())) + 2
    assert file_perplexity(candidate, str(text), None).tokens == stream // 65 * 64
    assert file_perplexity(candidate, str(text), 16).tokens == stream // 17 * 16


@pytest.fixture(scope="module")
def long_candidate():
    config = tiny_config(max_seq_len=2048)
    return candidate_of(EagerModel(tiny_model(config)), max_seq_len=2048)


def test_both_conventions_of_wikitext(long_candidate):
    """Streams, blocks and means are built here again, from the published scripts' words."""
    rows, tokenizer = ROWS * 60, Tokenizer(tiny_tokenizer())
    paretoq, mobilellm = wikitext_perplexities(long_candidate, rows)
    model = long_candidate.model.model
    streams = {
        1024: [token for row in rows for token in tokenizer.encode(row)],
        2048: [1, *tokenizer.encode("\n\n".join(rows))],
    }
    for result, (size, stream) in zip((paretoq, mobilellm), streams.items(), strict=True):
        count = len(stream) // size
        assert count >= 1
        losses = []
        for block in torch.tensor(stream[: count * size]).view(count, size):
            with torch.no_grad():
                logits = model(block[None])[0, :-1]  # as the scripts do, the last token is read for nothing
            losses.append(torch.nn.functional.cross_entropy(logits, block[1:]).item())
        assert result.value == pytest.approx(math.exp(sum(losses) / count), rel=1e-4)
        assert result.tokens == count * (size - 1)
        assert f"blocks of {size} tokens" in result.convention
    assert (paretoq.text, mobilellm.text) == ("WikiText-2, ParetoQ", "WikiText-2, MobileLLM")
    assert "not comparable" not in paretoq.convention


def test_a_convention_that_does_not_fit_says_so():
    candidate = candidate_of(EagerModel(tiny_model()))
    paretoq, mobilellm = wikitext_perplexities(candidate, ROWS * 60)
    assert mobilellm.value is None
    assert "blocks of 2048 tokens do not fit the model's 64 positions" in mobilellm.refused
    assert paretoq.value is not None
    assert (
        "blocks of 64 tokens where the published figures have 1024, so not comparable" in paretoq.convention
    )


def test_rows_of_the_local_copy_are_the_hubs():
    """The hub's dataset: as many rows as lines, ends kept, blank lines empty."""
    path = shared_data("wikitext-2/wiki.test.raw")
    rows = wikitext_rows(str(path))
    assert len(rows) == TEST_ROWS
    assert rows[:4] == ["", " = Robert Boulter = \n", "", rows[3]]
    assert rows[3].startswith(" Robert Boulter is an English film ,")
    assert wikitext_rows(str(path.parent)) == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not the test split"),
        (b" = A = \n" * 4357, "not the test split"),
        (b" the <unk> \n" * 4358, "not the test split"),
        (b"\xff\xfe" * 10, "not UTF-8"),
    ],
)
def test_another_text_is_not_taken_for_wikitext(tmp_path: Path, content, words):
    path = tmp_path / "wiki.test.raw"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        wikitext_rows(str(tmp_path))
    with pytest.raises(ValueError, match="no file"):
        wikitext_rows(str(tmp_path / "none"))


def test_an_unreachable_hub_names_the_cure(monkeypatch):
    import datasets
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ValueError, match=r"give a local wiki\.test\.raw"):
        wikitext_rows(None)
