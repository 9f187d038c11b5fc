"""ModelConfig: published sizes, and every refusal."""

from __future__ import annotations

import re

import pytest

from edge.model.config import MOBILELLM, NAMED_MODELS, ModelConfig
from runtime_tests.tiny import tiny_config

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


@pytest.mark.parametrize(
    ("name", "linear_millions", "total_millions"),
    [
        ("125M", 106.17, 124.64),
        ("350M", 314.57, 345.36),
        ("600M", 566.23, 603.19),
        ("1B", 964.36, 1005.46),
        ("1.5B", 1459.81, 1511.19),
    ],
)
def test_published_sizes(name: str, linear_millions: float, total_millions: float) -> None:
    """arXiv 2402.14905; the counts are those of the published checkpoints."""
    config = MOBILELLM[name]
    assert config.linear_parameters / 1e6 == pytest.approx(linear_millions, abs=0.01)
    assert config.parameters / 1e6 == pytest.approx(total_millions, abs=0.05)
    assert config.head_dim * config.n_heads == config.dim


def test_the_default_model_has_a_name() -> None:
    assert 5e6 < NAMED_MODELS["default"].parameters < 10e6


def test_an_own_head_counts() -> None:
    tied, own = tiny_config(), tiny_config(tied_embedding=False)
    assert own.parameters - tied.parameters == tied.vocab_size * tied.dim


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 0}, "dim must be a positive integer up to 65536, not 0"),
        ({"vocab_size": -5}, "vocab_size must be a positive integer"),
        ({"n_layers": True}, "n_layers must be a positive integer up to 4096, not True"),
        ({"ffn_dim": 2.5}, "ffn_dim must be a positive integer"),
        ({"max_seq_len": 10**30}, "max_seq_len must be a positive integer up to 16777216"),
        ({"n_heads": 5}, "5 heads cannot share 2 key/value heads evenly"),
        ({"head_dim": 7}, "head_dim must be even, not 7"),
        ({"norm_eps": 0}, "norm_eps must be a positive number, not 0"),
        ({"norm_eps": float("nan")}, "norm_eps must be a positive number, not nan"),
        ({"rope_theta": float("inf")}, "rope_theta must be a positive number, not inf"),
        ({"rope_theta": 10**400}, "rope_theta must be a positive number"),
        ({"tied_embedding": 1}, "tied_embedding must be true or false, not 1"),
        ({"bos_id": None}, "token ids in 0..303, not None"),
        ({"bos_id": 304}, "token ids in 0..303, not 304"),
        ({"eos_ids": ()}, "eos_ids needs at least one"),
        ({"eos_ids": (2, -1)}, "token ids in 0..303, not -1"),
        ({"rope_scaling": "linear"}, "rope_scaling must be a dictionary"),
        (
            {"rope_scaling": {"rope_type": "dynamic"}},
            "'dynamic' is not supported; supported are default, linear",
        ),
        ({"rope_scaling": {"rope_type": ["yarn"]}}, "rope type ['yarn'] is not supported"),
        ({"rope_scaling": {"type": "linear"}}, "linear needs a positive number factor, not None"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "positive number factor, not '2'"),
        ({"rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}}, "low_freq_factor < high_freq_factor"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "original_max_position_embeddings"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_bad_shapes_are_refused(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        tiny_config(**changes)


def test_rope_type_in_either_spelling() -> None:
    assert tiny_config().rope_type == "default"
    assert tiny_config(rope_scaling=LLAMA3).rope_type == "llama3"
    assert tiny_config(rope_scaling={"type": "linear", "factor": 2}).rope_type == "linear"


def test_the_first_end_token_stands_for_all() -> None:
    config: ModelConfig = tiny_config(eos_ids=(5, 9))
    assert config.eos_id == 5
