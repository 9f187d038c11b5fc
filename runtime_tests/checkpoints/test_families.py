"""Families beside Llama: tiny random models of transformers give the same logits here, and export."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats import grid_for_bits
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.runtime.load import open_program
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.checkpoints.hf_models import ODD_SHAPE, logits
from runtime_tests.greedy import greedy_tokens
from runtime_tests.ops.runner_process import ids
from runtime_tests.ops.runner_process import run as run_in_cpp
from runtime_tests.stock_runner import stock_text
from runtime_tests.tiny import tiny_tokenizer

WIDTHS = (1, 1.58, 2, 3, 4, 16)
SHAPE = ODD_SHAPE | {
    "num_hidden_layers": 4,
    "hidden_size": 32,
    "head_dim": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2}
SCALED = {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
GEMMA3_ROPES = {
    "full_attention": SCALED,
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
FAMILIES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": None}),
    "mistral-window": (MistralConfig, MistralForCausalLM, {"sliding_window": 9}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "qwen2-window": (Qwen2Config, Qwen2ForCausalLM, WINDOW),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {}),
    "qwen3-window": (Qwen3Config, Qwen3ForCausalLM, WINDOW),
    "smollm3": (SmolLM3Config, SmolLM3ForCausalLM, {}),
    "smollm3-every-2": (SmolLM3Config, SmolLM3ForCausalLM, {"no_rope_layer_interval": 2}),
    "olmo2": (Olmo2Config, Olmo2ForCausalLM, {"head_dim": None}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"sliding_window": 12}),
    "gemma2-caps": (
        Gemma2Config,
        Gemma2ForCausalLM,
        {
            "sliding_window": 5,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 20,
        },
    ),
    "gemma3": (Gemma3TextConfig, Gemma3ForCausalLM, {"sliding_window": 12, "num_hidden_layers": 7}),
    "gemma3-scaled": (
        Gemma3TextConfig,
        Gemma3ForCausalLM,
        {"sliding_window": 7, "num_hidden_layers": 7, "rope_parameters": GEMMA3_ROPES},
    ),
}
#: One of each set of parts, for what takes long.
FEW = ("qwen2-window", "qwen3", "smollm3", "olmo2", "gemma2-caps", "gemma3")


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


def save_family(family: str, directory: Path, **changes: Any) -> nn.Module:
    config_class, model_class, own = FAMILIES[family]
    shape = {name: value for name, value in {**SHAPE, **own, **changes}.items() if value is not None}
    config = config_class(**shape)
    config._attn_implementation = "eager"  # transformers' other ways leave out the cap
    return saved(model_class(config), directory)


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / "config.json"
    hf = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in hf.items() if value != "absent"}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_transformers(family: str, tied: bool, tmp_path: Path) -> None:
    theirs = save_family(family, tmp_path, tie_word_embeddings=tied)
    tokens = torch.randint(3, 99, (1, 40), generator=torch.Generator().manual_seed(0))
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.config.parameters == sum(p.numel() for p in theirs.parameters())
    model = build_model(checkpoint)
    with torch.no_grad():
        assert torch.allclose(model(tokens), logits(theirs, tokens), atol=1e-4)
        cached = model.with_cache(40)
        steps = [cached(tokens[:, :30]), *(cached(tokens[:, at : at + 1], at) for at in range(30, 40))]
    assert torch.allclose(torch.cat(steps, dim=1), logits(theirs, tokens), atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_written_as_transformers_reads_it(family: str, tmp_path: Path) -> None:
    theirs, tokens = save_family(family, tmp_path / "theirs"), torch.randint(3, 99, (1, 40))
    save_checkpoint(load_checkpoint(tmp_path / "theirs"), tmp_path / "ours")
    assert load_checkpoint(tmp_path / "ours").config == load_checkpoint(tmp_path / "theirs").config
    again, info = FAMILIES[family][1].from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info.values())
    assert torch.allclose(logits(again.eval(), tokens), logits(theirs, tokens), atol=1e-5)


def test_a_window_changes_the_logits_behind_it(tmp_path: Path) -> None:
    windowed, full = save_family("mistral-window", tmp_path / "a"), save_family("mistral", tmp_path / "b")
    tokens = torch.randint(3, 99, (1, 10))
    assert torch.allclose(logits(windowed, tokens)[:, :9], logits(full, tokens)[:, :9], atol=1e-4)
    assert not torch.allclose(logits(windowed, tokens)[:, 9], logits(full, tokens)[:, 9], atol=1e-2)


@pytest.mark.parametrize(
    ("family", "bits"),
    [
        (family, bits)
        for family in FEW
        for bits in (WIDTHS if family in ("qwen2-window", "gemma2-caps") else (1.58, 4))
    ],
)
def test_programs_and_runner_agree(family: str, bits: float, tmp_path: Path) -> None:
    """Tests that program, C++ runner and eager PyTorch agree; export verifies the logits themselves."""
    save_family(family, tmp_path / "model")
    kv_cache = "int8" if bits in (2, 4) else "fp32"
    words = ("--bits", bits, "--model", tmp_path / "model", "--output", tmp_path / "out")
    to_pte.main([*map(str, words), "--kv-cache", kv_cache])
    _, program, _ = open_program(tmp_path / "out")
    prompt = [1, 15, 7, 29, 3, 44]
    tokens = greedy_tokens(program, prompt, 12, 98)
    command = ("--model", tmp_path / "out/model.pte", "--tokens", ",".join(map(str, prompt)))
    assert ids(run_in_cpp(*command, "--max-new-tokens", 12, "--eos", 98))[: len(tokens)] == tokens


@pytest.mark.parametrize("family", FEW)
def test_executorchs_own_runner_writes_the_same_text(family: str, tmp_path: Path) -> None:
    """The head has zeros for tokens that are not ASCII, so that every token is text by itself."""
    model, tokenizer = tmp_path / "model", Tokenizer(tiny_tokenizer())
    save_family(family, model, vocab_size=304, tie_word_embeddings=False)
    shutil.copyfile(tokenizer.path, model / "tokenizer.json")
    tensors = load_file(model / "model.safetensors")
    foreign = [i for i in range(304) if not tokenizer.decode([i]).isascii() or tokenizer.is_marker(i)]
    tensors["lm_head.weight"][foreign] = 0
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    to_pte.main(["--bits", "2", "--model", str(model), "--output", str(tmp_path / "out")])
    _, program, _ = open_program(tmp_path / "out")
    prompt = [1, *tokenizer.encode("The mouse sat beside")]
    tokens = greedy_tokens(program, prompt, 10, 2)
    assert len(tokens) == 10
    assert stock_text(tmp_path / "out", "The mouse sat beside", 10) == tokenizer.decode(tokens)


@pytest.mark.parametrize("family", ["qwen3", "olmo2", "gemma2-caps"])
@pytest.mark.parametrize("recipe", ["xnnpack-8da4w", "fp32"])
def test_other_kernels(family: str, recipe: str, tmp_path: Path) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 64, "head_dim": None if family == "olmo2" else 16}
    save_family(family, tmp_path / "model", num_hidden_layers=2, **sizes)  # of each kind of layer one
    bits = "4" if recipe.startswith("xnnpack") else "16"
    words = ("--bits", bits, "--recipe", recipe, "--model", tmp_path / "model", "--output", tmp_path / "out")
    assert to_pte.main([str(word) for word in words]) == 0


@pytest.mark.parametrize("kv_cache", ["fp32", "int8"])
def test_the_cache_of_a_window_is_smaller_than_the_context(kv_cache: str, tmp_path: Path) -> None:
    """300 tokens wrap around caches of 192 positions; a model whose window is all has the same logits
    where it sees the same."""
    save_family("gemma2", tmp_path / "model", max_position_embeddings=512)
    words = ["--bits", "4", "--model", str(tmp_path / "model"), "--kv-cache", kv_cache]
    to_pte.main([*words, "--output", str(tmp_path / "out")])
    to_pte.main([*words, "--output", str(tmp_path / "short"), "--max-seq-len", "128"])
    size, short = (read_manifest(tmp_path / name).kv_cache_bytes for name in ("out", "short"))
    assert size == short // 128 * (512 + 192) // 2  # half of the layers have the window
    _, program, _ = open_program(tmp_path / "out")
    tokens = torch.randint(3, 99, (300,), generator=torch.Generator().manual_seed(1)).tolist()
    stepwise = [program.forward([token], at) for at, token in enumerate(tokens)]
    _, again, _ = open_program(tmp_path / "out")
    assert torch.equal(again.forward(tokens, 0), stepwise[-1])
    checkpoint = load_checkpoint(tmp_path / "model")
    means = []
    for window in (12, 13):
        model = build_model(replace(checkpoint, config=replace(checkpoint.config, window=window)))
        prepare_qat(model, Plan(grid_for_bits(4)))
        with torch.no_grad():
            eager = model(torch.tensor([tokens]))[0]
        means.append(torch.nn.functional.cosine_similarity(torch.stack(stepwise), eager, dim=-1).mean())
    assert means[0] > 0.998 > 0.99 > means[1]  # int8 activations cost 0.001, a wrong window more


@pytest.mark.parametrize("family", FEW)
def test_a_family_keeps_its_parts_on_a_grid(family: str, tmp_path: Path) -> None:
    """Tests the forms of a trained model: with learned scales, and packed."""
    save_family(family, tmp_path / "model")
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


def test_biases_change_the_logits(tmp_path: Path) -> None:
    save_family("qwen2", tmp_path / "model")
    checkpoint = load_checkpoint(tmp_path / "model")
    tokens = torch.randint(3, 99, (1, 10))
    with torch.no_grad():
        before = build_model(checkpoint)(tokens)
        biases = [name for name in checkpoint.weights if name.endswith("_bias")]
        zeros = {name: torch.zeros_like(checkpoint.weights[name]) for name in biases}
        checkpoint = replace(checkpoint, weights=dict(checkpoint.weights) | zeros)
        assert not torch.allclose(build_model(checkpoint)(tokens), before, atol=0.1)


def test_a_window_that_is_not_used(tmp_path: Path) -> None:
    for index, changes in enumerate(({"sliding_window": 16}, WINDOW | {"sliding_window": 64})):
        save_family("qwen3", tmp_path / str(index), **changes)
        edit_config(tmp_path / str(index), layer_types="absent")
        config = load_checkpoint(tmp_path / str(index)).config
        assert (config.layer_kinds, config.window) == ((), 0)


def test_the_older_form_of_gemma3s_config(tmp_path: Path) -> None:
    """As published: thetas at the top level, and a pattern instead of the layers' types."""
    save_family("gemma3", tmp_path)
    config = load_checkpoint(tmp_path).config
    older = {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    edit_config(tmp_path, rope_parameters="absent", layer_types="absent", **older)
    assert load_checkpoint(tmp_path).config == config
    assert config.layer_kinds == ("local",) * 5 + ("full", "local")


@pytest.mark.parametrize(
    ("family", "changes", "sentence"),
    [
        ("gemma2", {"hidden_activation": "gelu"}, 'hidden_activation is "gelu"; only gemma2 models where'),
        (
            "gemma2",
            {"layer_types": ["chunked_attention"] * 4},
            "layer_types must be 4 times full_attention or",
        ),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types must be 4 times"),
        ("gemma2", {"attn_logit_softcapping": -1}, "attn_logit_softcapping must be a positive number"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention is true"),
        ("gemma3", {"model_type": "gemma3"}, "this project lacks a vision encoder"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "no_rope_layers must be 4 times 0 or 1"),
        ("smollm3", {"layer_types": ["sliding_attention"] * 4}, "a window for layers without RoPE"),
        ("mistral-window", {"sliding_window": 0}, "sliding_window must be a positive integer"),
        ("qwen2", {"model_type": "qwen2_moe"}, "this project lacks a mixture of experts"),
    ],
)
def test_parts_that_are_lacking(family: str, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    save_family(family, tmp_path)
    edit_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=sentence):
        load_checkpoint(tmp_path)
