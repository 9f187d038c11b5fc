"""Families beside Llama: tiny random models of transformers give the same logits here, and export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats import grid_for_bits
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.runtime.load import open_program
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.checkpoints.hf_models import ODD_SHAPE, logits
from runtime_tests.greedy import greedy_tokens
from runtime_tests.ops.runner_process import ids
from runtime_tests.ops.runner_process import run as run_in_cpp

WIDTHS = (1, 1.58, 2, 3, 4, 16)


def saved(model: nn.Module, directory: Path) -> nn.Module:
    """Give a model weights whose logits vary, and save it."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.eval().named_parameters():
            if parameter.ndim == 2 or name.endswith("bias"):
                parameter.normal_(std=0.25)
            else:
                parameter.uniform_(0.5, 1.5)
    model.save_pretrained(directory)
    return model


def save_mistral(directory: Path, window: int | None) -> nn.Module:
    return saved(MistralForCausalLM(MistralConfig(**ODD_SHAPE, sliding_window=window)), directory)


QWENS = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def save_qwen(family: str, directory: Path, **changes: object) -> nn.Module:
    config, model = QWENS[family]
    shape = {**ODD_SHAPE, "head_dim": 8, "hidden_size": 32, "bos_token_id": 1, "eos_token_id": 2, **changes}
    return saved(model(config(**shape)), directory)


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


@pytest.mark.parametrize("family", QWENS)
@pytest.mark.parametrize("tied", [True, False])
def test_qwen(family: str, tied: bool, tmp_path: Path) -> None:
    theirs, tokens = save_qwen(family, tmp_path, tie_word_embeddings=tied), torch.randint(3, 99, (1, 40))
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config.parameters == sum(p.numel() for p in theirs.parameters())
    model = build_model(checkpoint)
    with torch.no_grad():
        assert torch.allclose(model(tokens), logits(theirs, tokens), atol=1e-4)
        cached = model.with_cache(40)
        steps = [cached(tokens[:, :30]), *(cached(tokens[:, at : at + 1], at) for at in range(30, 40))]
    assert torch.allclose(torch.cat(steps, dim=1), logits(theirs, tokens), atol=1e-4)


@pytest.mark.parametrize("family", QWENS)
def test_qwen_is_written_as_transformers_reads_it(family: str, tmp_path: Path) -> None:
    theirs, tokens = save_qwen(family, tmp_path / "theirs"), torch.randint(3, 99, (1, 40))
    save_checkpoint(load_checkpoint(tmp_path / "theirs"), tmp_path / "ours")
    again, info = QWENS[family][1].from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits(again.eval(), tokens), logits(theirs, tokens))


@pytest.mark.parametrize("family", QWENS)
@pytest.mark.parametrize("bits", WIDTHS)
def test_qwen_exports_and_runs(family: str, bits: float, tmp_path: Path) -> None:
    """Tests that program, C++ runner and eager PyTorch agree; export verifies the logits themselves."""
    save_qwen(family, tmp_path / "model")
    words = ("--bits", bits, "--model", tmp_path / "model", "--output", tmp_path / "out")
    to_pte.main([str(word) for word in words])
    _, program, _ = open_program(tmp_path / "out")
    prompt = [1, 15, 7, 29, 3]
    tokens = greedy_tokens(program, prompt, 8, 98)
    command = ("--model", tmp_path / "out/model.pte", "--tokens", ",".join(map(str, prompt)))
    assert ids(run_in_cpp(*command, "--max-new-tokens", 8, "--eos", 98))[: len(tokens)] == tokens


@pytest.mark.parametrize("family", QWENS)
@pytest.mark.parametrize("recipe", ["xnnpack-8da4w", "fp32"])
def test_qwen_exports_for_other_kernels(family: str, recipe: str, tmp_path: Path) -> None:
    save_qwen(family, tmp_path / "model", hidden_size=64, intermediate_size=64, head_dim=16)
    bits = "4" if recipe.startswith("xnnpack") else "16"
    words = ("--bits", bits, "--recipe", recipe, "--model", tmp_path / "model", "--output", tmp_path / "out")
    to_pte.main([str(word) for word in words])


def test_biases_change_the_logits(tmp_path: Path) -> None:
    save_qwen("qwen2", tmp_path / "model")
    checkpoint = load_checkpoint(tmp_path / "model")
    tokens = torch.randint(3, 99, (1, 10))
    with torch.no_grad():
        before = build_model(checkpoint)(tokens)
        biases = [name for name in checkpoint.weights if name.endswith("_bias")]
        zeros = {name: torch.zeros_like(checkpoint.weights[name]) for name in biases}
        checkpoint = replace(checkpoint, weights=dict(checkpoint.weights) | zeros)
        assert not torch.allclose(build_model(checkpoint)(tokens), before, atol=0.1)


@pytest.mark.parametrize("family", QWENS)
def test_qwen_keeps_its_parts_on_a_grid(family: str, tmp_path: Path) -> None:
    """Tests the forms of a trained model: with learned scales, and packed."""
    save_qwen(family, tmp_path / "model")
    model = build_model(load_checkpoint(tmp_path / "model"))
    prepare_qat(model, Plan(grid_for_bits(2)))
    checkpoint = to_checkpoint(model, None)
    save_checkpoint(checkpoint, tmp_path / "learned")
    save_packed_checkpoint(checkpoint, tmp_path / "packed")
    tokens = torch.randint(3, 99, (1, 20))
    with torch.no_grad():
        wanted = model.eval()(tokens)
        assert torch.allclose(build_model(open_model(tmp_path / "learned"))(tokens), wanted, atol=1e-4)
        packed = build_model(open_model(tmp_path / "packed"))(tokens)
    assert torch.nn.functional.cosine_similarity(packed, wanted, dim=-1).min() > 0.99  # int8 embedding


@pytest.mark.parametrize("family", QWENS)
def test_a_window_that_qwen_does_not_use(family: str, tmp_path: Path) -> None:
    save_qwen(family, tmp_path / "a", sliding_window=16)
    assert load_checkpoint(tmp_path / "a").config.max_seq_len == 64
    save_qwen(family, tmp_path / "b", sliding_window=16, use_sliding_window=True)
    assert load_checkpoint(tmp_path / "b").config.max_seq_len == 16
