"""Packed checkpoints: codes, scales and bytes are kept, and every damage is noticed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.checkpoints import __main__ as command
from edge.checkpoints import packed as packed_form
from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import (
    open_model,
    save_packed_checkpoint,
)
from edge.formats import BY_NAME, LINEAR_GRIDS, Grid
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import named_linears
from edge.ops.packing import pack
from edge.quantizers.embedding import quantize_embedding
from edge.quantizers.paretoq import effective_alpha
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import qat_linears
from runtime_tests.checkpoints.hf_models import edit_config
from runtime_tests.tiny import save_tiny, tiny_checkpoint, tiny_config

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
TABLES = [BY_NAME["int8"], BY_NAME["int4"]]
Q_PROJ = "layers.0.self_attn.q_proj"


def with_adversarial_alphas(fmt: Grid) -> Checkpoint:
    """Scales below, at and just above the floor, huge ones, and many significands."""
    checkpoint = tiny_checkpoint(fmt, tied_embedding=False)
    generator = torch.Generator().manual_seed(0)
    alphas = {}
    for name, alpha in checkpoint.alphas.items():
        exponents = torch.rand(alpha.shape, generator=generator) * 60 - 20
        alphas[name] = alpha * 2.0**exponents
        special = torch.tensor([1e-9, 1e-5, 1.0000001e-5, 1 / 3, 0.1, 1e30])
        alphas[name][:6, 0] = special
    return replace(checkpoint, alphas=alphas)


@pytest.mark.parametrize("fmt", TRAINABLE, ids=lambda f: f.name)
@pytest.mark.parametrize("adversarial", [False, True], ids=["learned", "adversarial"])
def test_codes_and_scales_come_back_exactly(fmt: Grid, adversarial: bool, tmp_path: Path) -> None:
    original = with_adversarial_alphas(fmt) if adversarial else tiny_checkpoint(fmt)
    save_packed_checkpoint(original, tmp_path / "packed")
    opened = open_model(tmp_path / "packed")
    assert opened.plan == original.plan == Plan(fmt)
    assert opened.config == original.config
    before, after = build_model(original), named_linears(build_model(opened))
    for name, linear in qat_linears(before).items():
        assert after[name].quantized().equals(linear.quantized()), name
        alpha = effective_alpha(linear.weight_clip_val)
        assert torch.equal(opened.quantized[name].scale, alpha * fmt.spacing), name
        assert torch.equal(after[name].weight, linear.quantized_weight()), name
        assert torch.equal(opened.weights[f"{name}.weight"], linear.quantized_weight()), name


@pytest.mark.parametrize("fmt", TRAINABLE, ids=lambda f: f.name)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "own head"])
def test_packing_again_gives_the_same_bytes(fmt: Grid, tied: bool, tmp_path: Path) -> None:
    save_packed_checkpoint(tiny_checkpoint(fmt, tied_embedding=tied), tmp_path / "once")
    save_packed_checkpoint(open_model(tmp_path / "once"), tmp_path / "twice")
    for path in (tmp_path / "once").iterdir():
        assert (tmp_path / "twice" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_packed_model_computes_what_its_tables_say(tmp_path: Path) -> None:
    original = tiny_checkpoint(BY_NAME["int3"])
    save_packed_checkpoint(original, tmp_path / "packed")
    table = quantize_embedding(original.weights["embed_tokens.weight"], TABLES[0]).dequantize()
    rounded = replace(original, weights={**original.weights, "embed_tokens.weight": table})
    tokens = torch.arange(30)[None]
    with torch.no_grad():
        logits = [build_model(c)(tokens) for c in (rounded, open_model(tmp_path / "packed"))]
    assert torch.equal(*logits)


def test_full_precision_is_a_plain_directory_in_half(tmp_path: Path) -> None:
    save_packed_checkpoint(tiny_checkpoint(), tmp_path / "half")
    assert {t.dtype for t in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.float16}
    assert load_checkpoint(tmp_path / "half").plan == open_model(tmp_path / "half").plan


# Which model is meant


def test_names_of_embedded_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_form, "ASSETS", tmp_path)
    save_packed_checkpoint(tiny_checkpoint(), tmp_path / "default" / "16bit")
    save_packed_checkpoint(tiny_checkpoint(BY_NAME["ternary"]), tmp_path / "default" / "1.58bit")
    assert packed_form.embedded_models() == ("default", "default/1.58bit", "default/16bit")
    assert not open_model("default").plan.is_quantized
    assert open_model("default/1.58bit").plan == Plan(BY_NAME["ternary"])


def test_a_directory_of_an_embedded_models_name_is_not_passed_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_model("default").config != tiny_config()
    save_tiny(tmp_path / "default")
    with pytest.raises(ValueError, match="default is an embedded model and a directory here"):
        open_model("default")
    assert open_model("./default").config == tiny_config()


def test_packing_does_not_replace_what_was_trained(tmp_path: Path) -> None:
    trained = save_tiny(tmp_path / "trained", BY_NAME["int4"])
    before = sorted(path.read_bytes() for path in trained.iterdir())
    with pytest.raises(
        ValueError, match="holds a checkpoint that is not packed; remove it or choose another"
    ):
        command.main(["--model", str(trained), "--output", str(trained)])
    assert sorted(path.read_bytes() for path in trained.iterdir()) == before
    for _ in range(2):  # a packed one may be replaced
        assert command.main(["--model", str(trained), "--output", str(tmp_path / "packed")]) == 0


def test_a_plain_directory_opens_as_it_loads(tmp_path: Path) -> None:
    directory = save_tiny(tmp_path / "plain", BY_NAME["int4"])
    assert open_model(str(directory)).alphas.keys() == load_checkpoint(directory).alphas.keys()


def test_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="nosuch is not a directory, and not a hub id either"):
        open_model("nosuch")


# Damage


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    save_packed_checkpoint(tiny_checkpoint(BY_NAME["int3"], tied_embedding=False), tmp_path / "packed")
    return tmp_path / "packed"


def edited(directory: Path, name: str, tensor: Tensor | None) -> Path:
    path = directory / "model.safetensors"
    tensors = {n: t.clone() for n, t in load_file(path).items() if n != name}
    save_file(tensors if tensor is None else tensors | {name: tensor}, path)
    return directory


def test_missing_and_extra_tables(packed: Path) -> None:
    with pytest.raises(ValueError, match=r"that config.json does not imply: lm_head.packed$"):
        open_model(edit_config(packed, tie_word_embeddings=True))
    edit_config(packed, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"lacks lm_head.weight$"):
        open_model(edited(packed, "lm_head.packed", None))


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        (0, "not a packed low-bit table"),
        (6, "damaged header"),
        (8, "altered"),
        (16, "damaged header"),
        (None, "its header promises"),
    ],
)
def test_a_damaged_table_is_named(at: int | None, sentence: str, packed: Path) -> None:
    name = f"model.{Q_PROJ}.packed"
    table = load_file(packed / "model.safetensors")[name].clone()
    if at is None:
        table = table[:-64].clone()
    else:
        table[at] = table[at] ^ 1
    with pytest.raises(ValueError, match=rf"{re.escape(name)}: .*{sentence}"):
        open_model(edited(packed, name, table))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(value: float, packed: Path) -> None:
    name = f"model.{Q_PROJ}.packed"
    table = load_file(packed / "model.safetensors")[name].clone()
    table[64:68].view(torch.float32)[0] = value
    with pytest.raises(ValueError, match=rf"{re.escape(name)}: "):
        dict(open_model(edited(packed, name, table)).weights)


def table_of_zeros(rows: int, grid: Grid) -> torch.Tensor:
    codes = torch.zeros(rows, 36, dtype=torch.uint8)
    return pack(QuantizedWeight(codes, torch.ones(rows, 1), grid.zero, grid.encoding))


def test_a_table_of_another_shape_or_format(packed: Path) -> None:
    name = f"model.{Q_PROJ}.packed"
    other = table_of_zeros(40, BY_NAME["int4"])
    with pytest.raises(
        ValueError, match=r"the table is bits4 \[40, 36\] where config.json implies int3 \[40, 36\]"
    ):
        open_model(edited(packed, name, other))
    other = table_of_zeros(41, BY_NAME["int3"])
    with pytest.raises(
        ValueError, match=r"the table is bits3 \[41, 36\] where config.json implies int3 \[40, 36\]"
    ):
        open_model(edited(packed, name, other))


@pytest.mark.parametrize("version", [0, 1, 3, "2", True, None])
def test_an_unknown_version(version: object, packed: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"says packed {version!r}; this version reads 2, so pack the model again"
    ):
        open_model(edit_config(packed, packed=version))


@pytest.mark.parametrize("w_bits", [None, 16])
def test_packed_without_a_grid(w_bits: int | None, packed: Path) -> None:
    with pytest.raises(ValueError, match="says packed, so it needs a w_bits of 0 to 8"):
        open_model(edit_config(packed, w_bits=w_bits))


@pytest.mark.parametrize("alpha", [2.2e38, 5.2e37], ids=["level 2", "level 7"])
def test_scales_that_float32_cannot_carry_are_refused_when_packing(alpha: float, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(BY_NAME["int4"])
    checkpoint.alphas[Q_PROJ][0] = alpha
    checkpoint.weights[f"{Q_PROJ}.weight"][0] = 3.4e38  # rounds up, beyond float32
    with pytest.raises(ValueError, match=rf"model.{Q_PROJ}: a learned scale is so large"):
        save_packed_checkpoint(checkpoint, tmp_path / "packed")
    assert not list(tmp_path.iterdir())
