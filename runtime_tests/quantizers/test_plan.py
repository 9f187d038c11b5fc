"""Tests that patterns give each part of a model its grid, and that config.json keeps it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import linear_names, load_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats import BY_NAME, FULL_PRECISION, grid_for_bits
from edge.quantizers.plan import Plan, mean_bits
from runtime_tests.checkpoints.hf_models import edit_config
from runtime_tests.tiny import save_tiny, tiny_checkpoint, tiny_config

TWO, THREE, FOUR, EIGHT = (grid_for_bits(bits) for bits in (2, 3, 4, 8))
LINEARS = linear_names(tiny_config())
Q_PROJ, DOWN = "layers.0.self_attn.q_proj", "layers.1.mlp.down_proj"
MIXED = Plan(TWO, {Q_PROJ: FOUR, DOWN: FULL_PRECISION}, EIGHT)
TOKENS = torch.arange(30)[None]


def of(*patterns: tuple[str, float], default: float = 2) -> Plan:
    taken = [(pattern, grid_for_bits(bits)) for pattern, bits in patterns]
    return Plan.from_patterns(LINEARS, grid_for_bits(default), taken)


def test_every_linear_has_its_name() -> None:
    assert len(LINEARS) == 14
    assert set(LINEARS) >= {Q_PROJ, DOWN, "layers.0.mlp.gate_proj", "layers.1.self_attn.o_proj"}


def test_the_last_pattern_that_matches_decides() -> None:
    plan = of(("layers.0.*", 4), ("*.down_proj", 3), ("layers.1.self_attn.?_proj", 16))
    for name in LINEARS:
        expected = grid_for_bits(4 if ".0." in name else 16 if "self_attn" in name else 2)
        assert plan.of(name) is (THREE if name.endswith("down_proj") else expected), name
    assert of(("*.down_proj", 3), ("layers.0.*", 4)).of("layers.0.mlp.down_proj") is FOUR
    assert of(("layers.0.*", 4), ("layers.0.*", 2)) == of() == Plan(TWO)
    assert (of().name, plan.name) == ("int2", "mixed")


def test_patterns_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"pattern layers\.7\.\* matches no linear; there are layers\.0"):
        of(("layers.7.*", 4))
    with pytest.raises(ValueError, match="matches no linear"):
        of(("LAYERS.0.*", 4))  # capitals are other names
    with pytest.raises(ValueError, match="leave no linear at 2 bits"):
        of(("*", 4))


def test_a_plan_says_what_it_is() -> None:
    assert str(Plan(grid_for_bits(1.58))) == "1.58 bits"
    assert str(MIXED) == f"2 bits, 4 in {Q_PROJ}, 16 in {DOWN}, 8 in the embedding"
    with pytest.raises(ValueError, match="for models of a low default width"):
        Plan(FULL_PRECISION, {Q_PROJ: FOUR})


def test_bits_are_the_mean_over_the_weights() -> None:
    assert mean_bits([(TWO, 300), (FOUR, 100)]) == 2.5
    assert mean_bits([(BY_NAME["ternary"], 7)]) == 1.58
    # of 11820 weights 40 * 36 have 4 bits and 36 * 50 have 16
    sizes = 2 * (40 * 36 + 2 * 20 * 36 + 36 * 40 + 3 * 36 * 50)
    mean = (2 * (sizes - 1440 - 1800) + 4 * 1440 + 16 * 1800) / sizes
    assert tiny_checkpoint(plan=MIXED).bits == round(mean, 2)


@pytest.mark.parametrize("tied", [True, False])
def test_a_mixed_checkpoint_comes_back(tied: bool, tmp_path: Path) -> None:
    saved = tiny_checkpoint(plan=MIXED, tied_embedding=tied)
    save_checkpoint(saved, tmp_path / "model")
    loaded = load_checkpoint(tmp_path / "model")
    assert loaded.plan == saved.plan == MIXED
    tables = {"embed_tokens"} if tied else {"embed_tokens", "lm_head"}
    assert loaded.alphas.keys() == saved.alphas.keys() == set(LINEARS) - {DOWN} | tables
    assert all(torch.equal(alpha, saved.alphas[name]) for name, alpha in loaded.alphas.items())
    with torch.no_grad():
        assert torch.equal(build_model(loaded)(TOKENS), build_model(saved)(TOKENS))


def test_config_json_says_what_differs(tmp_path: Path) -> None:
    hf = json.loads((save_tiny(tmp_path / "mixed", plan=MIXED) / "config.json").read_text())
    assert hf["w_bits"] == 2
    assert hf["w_bits_by_linear"] == {f"model.{Q_PROJ}": 4, f"model.{DOWN}": 16}
    assert hf["embedding_w_bits"] == 8
    plain = json.loads((save_tiny(tmp_path / "two", TWO) / "config.json").read_text())
    assert hf.keys() - plain.keys() == {"w_bits_by_linear", "embedding_w_bits"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"w_bits_by_linear": {"model.layers.9.mlp.up_proj": 4}},
            "names linears that the model has not: ",
        ),
        (
            {"w_bits_by_linear": {f"model.{DOWN}": 5}},
            f"w_bits_by_linear: model.{DOWN}: 5 is unknown",
        ),
        ({"w_bits_by_linear": [4]}, "w_bits_by_linear must be an object"),
        ({"embedding_w_bits": 2}, "no weight format has 2 bits; choose one of 4, 8, 16"),
        ({"embedding_w_bits": "8"}, 'embedding_w_bits must be an integer, not "8"'),
        ({"w_bits": None}, "w_bits_by_linear needs a w_bits of 0 to 4 beside it, not null"),
        ({"w_bits": 16}, "w_bits_by_linear needs a w_bits of 0 to 4 beside it, not 16"),
        ({"w_bits_by_linear": None}, f"lacks model.{DOWN}.weight_clip_val"),
        ({"embedding_w_bits": None}, "does not imply: model.embed_tokens.weight_clip_val"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    directory = edit_config(save_tiny(tmp_path / "model", plan=MIXED), **changes)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_checkpoint(directory)
    assert "\n" not in str(caught.value)


def test_a_head_that_equals_the_embedding_on_another_grid_is_its_own(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "model", plan=MIXED, tied_embedding=False)
    path = directory / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path)
    assert not load_checkpoint(directory).config.tied_embedding
    tensors["lm_head.weight_clip_val"] = tensors["model.embed_tokens.weight_clip_val"].clone()
    save_file(tensors, path)
    loaded: Checkpoint = load_checkpoint(directory)
    assert loaded.config.tied_embedding
    assert "lm_head" not in loaded.alphas
