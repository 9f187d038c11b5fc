"""Families beside Llama: tiny random models of transformers give the same logits here, and export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import load_checkpoint
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.checkpoints.hf_models import ODD_SHAPE, logits


def save_mistral(directory: Path, window: int | None) -> MistralForCausalLM:
    torch.manual_seed(0)
    model = MistralForCausalLM(MistralConfig(**ODD_SHAPE, sliding_window=window)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.25) if parameter.ndim == 2 else parameter.uniform_(0.5, 1.5)
    model.save_pretrained(directory)
    return model


@pytest.mark.parametrize(("window", "length"), [(None, 64), (64, 64), (24, 24), (5, 5)])
def test_mistral_up_to_its_window(window: int | None, length: int, tmp_path: Path) -> None:
    theirs, tokens = save_mistral(tmp_path, window), torch.randint(3, 99, (2, length))
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config.max_seq_len == length
    with torch.no_grad():
        ours = build_model(checkpoint)(tokens)
    assert torch.allclose(ours, logits(theirs, tokens), atol=1e-4)


def test_beyond_the_window_mistral_is_another_model(tmp_path: Path) -> None:
    """Tests that the limit is needed: one token more, and transformers' attention differs."""
    windowed, tokens = save_mistral(tmp_path / "a", 24), torch.randint(3, 99, (1, 25))
    full = save_mistral(tmp_path / "b", None)
    assert torch.allclose(logits(windowed, tokens)[:, :24], logits(full, tokens)[:, :24], atol=1e-4)
    assert not torch.allclose(logits(windowed, tokens)[:, 24], logits(full, tokens)[:, 24], atol=1e-2)


def test_mistral_exports(tmp_path: Path) -> None:
    save_mistral(tmp_path / "model", 24)
    to_pte.main(["--bits", "4", "--model", str(tmp_path / "model"), "--output", str(tmp_path / "out")])
    assert read_manifest(tmp_path / "out").max_seq_len == 24
    with pytest.raises(ValueError, match=r"--max-seq-len must lie in 1\.\.24"):
        to_pte.main(["--bits", "4", "--model", str(tmp_path / "model"), "--max-seq-len", "25"])
