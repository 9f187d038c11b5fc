"""Shapes from config.json: defaults, every form of RoPE, token ids, and every refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig, MistralConfig

from edge.checkpoints.hf_config import config_from_hf, config_to_hf, read_hf_config
from edge.checkpoints.hf_grids import grid_from_hf
from edge.formats import BY_NAME, LINEAR_GRIDS
from runtime_tests.tiny import tiny_config

MINIMAL: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 99,
    "hidden_size": 36,
    "intermediate_size": 50,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
}
LINEAR = {"rope_type": "linear", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LENGTH_64 = {"max_position_embeddings": 64}


def original(length: int) -> dict[str, int]:
    return {"original_max_position_embeddings": length}


def test_absent_keys_mean_what_they_mean_to_transformers() -> None:
    ours, theirs = config_from_hf(MINIMAL), LlamaConfig(**MINIMAL)
    assert ours.n_kv_heads == theirs.num_key_value_heads
    assert ours.head_dim == theirs.head_dim
    assert ours.max_seq_len == theirs.max_position_embeddings
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert ours.tied_embedding is theirs.tie_word_embeddings
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)


def test_absent_keys_of_mistral_mean_what_they_mean_to_transformers() -> None:
    minimal = MINIMAL | {"model_type": "mistral", "num_attention_heads": 16, "head_dim": 8}
    ours, theirs = config_from_hf(minimal), MistralConfig(**minimal)
    assert ours.n_kv_heads == theirs.num_key_value_heads
    assert (ours.max_seq_len, ours.window) == (theirs.max_position_embeddings, theirs.sliding_window)
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)


@pytest.mark.parametrize(("window", "seen"), [(None, 0), (63, 63), (64, 0), (65, 0), (1, 1)], ids=str)
def test_a_window_as_long_as_the_positions_is_none(window: int | None, seen: int) -> None:
    keys = {"num_key_value_heads": 3, "sliding_window": window} | LENGTH_64
    mistral = config_from_hf(MINIMAL | keys | {"model_type": "mistral"})
    assert (mistral.max_seq_len, mistral.window, mistral.window_of(0)) == (64, seen, seen)
    assert config_from_hf(MINIMAL | keys).window == 0  # transformers' Llama has no such key


def test_rope_scaling_knows_the_length_without_the_window() -> None:
    yarn = {"rope_scaling": {"type": "yarn", "factor": 4.0}, "sliding_window": 16} | LENGTH_64
    assert config_from_hf(MINIMAL | yarn).rope_scaling == YARN | original(64)


@pytest.mark.parametrize(
    ("keys", "theta", "scaling"),
    [
        ({"rope_theta": 500.0}, 500.0, None),
        ({"rope_theta": 500, "rope_scaling": None}, 500.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, 500.0, None),
        ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 7.0}, 5.0, None),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 1e4, LINEAR),
        ({"rope_scaling": LINEAR | {"type": "x"}}, 1e4, LINEAR),
        ({"rope_parameters": {**YARN, "rope_theta": 9.0, "mscale": None}}, 9.0, YARN),
        ({"rope_scaling": YARN} | original(8), 1e4, YARN | original(8)),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}} | LENGTH_64, 1e4, YARN | original(64)),
    ],
    ids=lambda value: str(value)[:70],
)
def test_rope_in_every_spelling(keys: dict, theta: float, scaling: dict | None) -> None:
    config = config_from_hf(MINIMAL | keys)
    assert (config.rope_theta, config.rope_scaling) == (theta, scaling)


@pytest.mark.parametrize(
    ("bos", "eos", "expected"),
    [
        (1, 2, (1, (2,))),
        (0, [7, 8], (0, (7, 8))),
        (None, 5, (5, (5,))),
        (None, [5, 6], (5, (5, 6))),
        (3, None, (3, (3,))),
        (None, None, (1, (1,))),
    ],
)
def test_begin_and_end_tokens(bos: Any, eos: Any, expected: tuple) -> None:
    config = config_from_hf(MINIMAL | {"bos_token_id": bos, "eos_token_id": eos})
    assert (config.bos_id, config.eos_ids) == expected


def test_mobilellm_as_published() -> None:
    keys = {"model_type": "mobilellm", "architectures": ["MobileLLMForCausalLM"]}
    flags = {"tie_word_embeddings": False, "share_embedding": True, "layer_sharing": True}
    config = config_from_hf(MINIMAL | keys | flags)
    assert config.tied_embedding
    assert config.layer_sharing


@pytest.mark.parametrize("fmt", LINEAR_GRIDS, ids=lambda f: f.name)
def test_w_bits_of_every_format(fmt) -> None:
    assert grid_from_hf({"w_bits": fmt.paretoq_w_bits}) is fmt


def test_ternary_is_w_bits_0_and_absence_is_none() -> None:
    assert grid_from_hf({"w_bits": 0}) is BY_NAME["ternary"]
    assert grid_from_hf({}) is None


@pytest.mark.parametrize("w_bits", [5, 8, -1, 1.58, 2.0, "2", True, [2]], ids=str)
def test_unknown_w_bits(w_bits: Any) -> None:
    with pytest.raises(ValueError, match=r"w_bits .* is unknown; known are 1 \(binary\), 0 \(ternary\)"):
        grid_from_hf({"w_bits": w_bits})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rope_scaling": YARN, "rope_theta": 77.0},
        {"layer_sharing": True},
        {"tied_embedding": False},
        {"eos_ids": (2, 5)},
    ],
    ids=str,
)
def test_a_shape_survives_the_way_through_config_json(changes: dict) -> None:
    config = tiny_config(**changes)
    assert config_from_hf(config_to_hf(config)) == config


def test_shared_layers_are_not_written_as_a_plain_llama() -> None:
    """transformers would run each layer once and say nothing."""
    assert config_to_hf(tiny_config(layer_sharing=True))["model_type"] == "mobilellm"
    assert config_to_hf(tiny_config())["model_type"] == "llama"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (
            {"model_type": "gpt2"},
            "lacks learned positions; supported are llama, mobilellm, mistral, q",
        ),
        ({"model_type": "mixtral"}, "'mixtral' is not supported: this project lacks a mixture of experts;"),
        ({"model_type": "deepseek_v3"}, "this project lacks multi-head latent attention and a mixture"),
        ({"model_type": "mamba2"}, "this project lacks a state space"),
        ({"model_type": "qwen3_moe"}, "this project lacks a mixture of experts"),
        ({"model_type": "gemma"}, "this project lacks a GELU that is not its tanh form"),
        ({"model_type": "unheard"}, "model_type 'unheard' is not supported; supported are"),
        (
            {"model_type": "mistral", "num_key_value_heads": 3, "sliding_window": 0},
            "sliding_window must be a positive integer, not 0",
        ),
        ({"model_type": 3}, "model_type 3 is not supported"),
        ({"model_type": None}, "model_type is missing"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "has none of LlamaForCausalLM"),
        ({"architectures": "LlamaForCausalLM"}, "has none of LlamaForCausalLM"),
        ({"attention_bias": True}, "attention_bias is true; only models where it is false can be run"),
        ({"mlp_bias": True}, "mlp_bias is true"),
        ({"hidden_act": "gelu"}, 'hidden_act is "gelu"; only llama models where it is "silu" can be run'),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "36"}, 'hidden_size must be a positive integer, not "36"'),
        ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive integer, not 0"),
        ({"vocab_size": [99]}, "vocab_size must be a positive integer"),
        ({"num_attention_heads": 5}, "head_dim is missing, and hidden_size 36 does not divide by 5"),
        ({"num_key_value_heads": 4}, "6 heads cannot share 4 key/value heads evenly"),
        ({"rms_norm_eps": "tiny"}, "rms_norm_eps must be a positive number"),
        ({"rope_theta": -1}, "rope_theta must be a positive number, not -1"),
        ({"rope_parameters": {"rope_theta": "1e4"}}, "rope_theta must be a positive number"),
        ({"rope_scaling": [2]}, "rope_scaling must be an object"),
        ({"rope_scaling": {"type": "longrope"}}, "rope type 'longrope' is not supported; supported are"),
        ({"rope_scaling": {"type": "linear"}}, "needs a positive number factor"),
        ({"rope_scaling": YARN | original(2**70)}, "needs a positive number original_max_position"),
        ({"rope_scaling": LINEAR | {"factor": 1e-320}}, "needs a positive number factor"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor must be 1"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
        ({"eos_token_id": 99}, "token ids in 0..98, not 99"),
        ({"bos_token_id": "<s>"}, "token ids in 0..98, not '<s>'"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_run_is_refused(keys: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        config_from_hf(MINIMAL | keys)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not a model directory: it has no config.json"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 10_000, "is not JSON"),
        (b"[1]", "must hold one JSON object, not list"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_unreadable_files(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        read_hf_config(tmp_path)
