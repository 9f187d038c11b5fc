"""Smoothing: the float model stays as it is, and what cannot be folded exactly is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.quantize.__main__ import main
from edge.quantize.activations.planted import with_outliers
from edge.quantizers.smoothing import smooth
from runtime_tests.quantizers.test_omniquant import block_of
from runtime_tests.tiny import save_tiny, tiny_checkpoint, tiny_config, tiny_model

TOKENS = torch.arange(2, 42)[None]
FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "own head": {"tied_embedding": False},
    "biases": {"qkv_bias": True},
    "Gemma": {"norms": "around", "activation": "gelu", "qk_norm": "head", "embedding_scale": 6.0},
    "shared layers": {"layer_sharing": True},
}


def words(model: Path, out: Path, text: Path, *more: str) -> list[str]:
    return [f"--{n}={v}" for n, v in {"model": model, "output": out, "calibration": text}.items()] + [
        "--smooth",
        "--samples=2",
        "--length=16",
        *more,
    ]


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_the_float_logits_stay(family: str, text: Path, tmp_path: Path):
    """Tests each place of each family: every weight that should change does."""
    source = save_tiny(tmp_path / "model", **FAMILIES[family])
    assert main(words(source, tmp_path / "smooth", text, "--bits=16")) == 0
    before, after = (build_model(open_model(path)) for path in (source, tmp_path / "smooth"))
    off = (after(TOKENS) - before(TOKENS)).abs().max()
    assert off <= 1e-4 * max(1.0, float(before(TOKENS).abs().max()))
    weights = dict(before.named_parameters())
    same = {name for name, now in after.named_parameters() if torch.equal(now, weights[name])}
    assert not {name for name in same if name.startswith("layers.0.mlp") or "v_proj" in name}
    assert ("lm_head.weight" in weights) == ("norm.weight" not in same)
    assert "embed_tokens.weight" in same


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_planted_outliers_leave_every_bit_of_the_logits(family: str):
    checkpoint = tiny_checkpoint(**FAMILIES[family])
    planted = with_outliers(checkpoint)
    assert planted.weights["layers.0.input_layernorm.weight"].max() == 64
    assert torch.equal(build_model(planted)(TOKENS), build_model(checkpoint)(TOKENS))


def test_where_no_norm_comes_first_it_is_refused(text: Path, tmp_path: Path):
    source = save_tiny(tmp_path / "model", norms="after", qk_norm="whole")
    with pytest.raises(ValueError, match="this model's norms come behind them; leave --smooth out"):
        main(words(source, tmp_path / "out", text, "--bits=16"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_activations_that_are_not_finite_are_refused():
    block = block_of(tiny_model(tiny_config(n_layers=1)))
    block.inputs[1][0, 3, 5] = float("nan")
    with pytest.raises(ValueError, match=r"layers\.0.*NaN or infinite on the calibration text"):
        smooth(block)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--bits=16", "--method=rtn"], "16 bits round no weight: give --smooth and no --method"),
        (["--bits=4"], "--bits 4 needs a --method: rtn, gptq"),
    ],
)
def test_bits_and_method_go_together(flags: list[str], sentence: str, full: Path, text: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=sentence):
        main(words(full, tmp_path / "out", text, *flags))


def test_it_asks_for_a_text(full: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="--smooth needs --calibration"):
        main([f"--model={full}", f"--output={tmp_path / 'out'}", "--bits=16", "--smooth"])


def test_config_json_says_so(full: Path, text: Path, tmp_path: Path):
    assert main(words(full, tmp_path / "out", text, "--bits=4", "--method=gptq", "--group=row")) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["post_training"]["smooth"] is True
