"""Fusing: the parts of a layer that fuse, and proof that fusing changes no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.formats import BITS_CHOICES, FULL_PRECISION, grid_for_bits
from edge.model.decoder import replace_module
from edge.ops.packing import unpack
from edge.quantizers.paretoq import QATLinear
from export.fuse import AddLinear, NormCat, NormGateUp
from export.lower import Options
from export.modules import OpGateMul, OpRMSNorm, PackedLinear
from export.recipes import RECIPES
from export.tables import PackedTable, TablePlan, tables_of
from runtime_tests.export.lowered import fill, lower, program_of, verified, weights_of, write
from runtime_tests.tiny import tiny_checkpoint

TOKENS = [1, 40, 77, 200, 303, 5, 5, 64]
TERNARY = grid_for_bits(1.58)
OPTIONS = Options(TERNARY, max_seq_len=64)
FUSED_OPS = {"attention", "embedding", "linear_add", "norm_gate_up", "norm_linear"}
ALL_OPS = FUSED_OPS | {"linear", "rms_norm", "gate_mul"}


def ops_of(program):
    """Names of the lowbit ops that a program calls."""
    return {name for name in ALL_OPS if f"lowbit::{name}\0".encode() in program.path.read_bytes()}


def requantized(model, name, fmt):
    """The model with one linear on another format's grid."""
    linear = model.get_submodule(name)
    replace_module(model, name, QATLinear(linear.weight.detach(), fmt))
    return model


@pytest.mark.parametrize("bits", BITS_CHOICES)
def test_a_layer_is_five_ops(bits):
    _, program = program_of(replace(OPTIONS, grid=grid_for_bits(bits)), ffn_dim=48)
    assert ops_of(program) == FUSED_OPS


def test_gate_that_ends_inside_a_block_stays_apart():
    _, program = program_of(OPTIONS, ffn_dim=56)
    assert ops_of(program) == ALL_OPS - {"norm_gate_up"}


@pytest.mark.parametrize(
    ("name", "stage"), [("self_attn.k_proj", "qkv"), ("mlp.up_proj", "gate_up"), ("mlp.gate_proj", "gate_up")]
)
def test_mixed_formats_stay_apart_and_verify(tmp_path, name, stage):
    model = build_model(tiny_checkpoint(TERNARY, ffn_dim=48))
    requantized(model, f"layers.1.{name}", grid_for_bits(4))
    lowered, program = write(model, OPTIONS, tmp_path / "model.pte")
    assert isinstance(lowered.layers[0].get_submodule(stage), PackedTable)
    apart = lowered.layers[1].get_submodule(stage)
    assert isinstance(apart, NormCat | NormGateUp)
    formats = {weight: t.header.encoding.name for _, t in tables_of(apart) for weight in t.rows}
    assert formats.pop(f"layers.1.{name}") == "bits4"
    assert set(formats.values()) == {"base3"}
    result = verified(model, lowered, program, TOKENS, OPTIONS)
    assert result.prefill_rms == 0.0


@pytest.mark.parametrize("bits", BITS_CHOICES)
@pytest.mark.parametrize("sharing", [False, True])
def test_fused_and_separate_ops_give_the_same_bits(bits, sharing):
    model = build_model(tiny_checkpoint(grid_for_bits(bits), ffn_dim=48, layer_sharing=sharing))
    options = replace(OPTIONS, grid=grid_for_bits(bits))
    weights, fused, separate = weights_of(model, options), lower(model, options), lower(model, options)
    for index, layer in enumerate(model.layers):
        split_stages(separate.layers[index], f"layers.{index}", layer, weights)
    fill(fused, weights)
    fill(separate, weights)
    tokens = torch.tensor([TOKENS])
    with torch.no_grad():
        assert torch.equal(fused(tokens), separate(tokens))


def split_stages(fused, name, layer, weights):
    """Replace a layer's fused ops by one op for each part of the model."""

    def linear(part):
        full = f"{name}.{part}"
        return PackedLinear(TablePlan(weights.header([full]), {full: weights.shape(full)[0]}))

    q, k, v = (linear(f"self_attn.{part}_proj") for part in "qkv")
    fused.qkv = NormCat(OpRMSNorm(layer.input_layernorm), [q, k, v])
    fused.out = AddLinear(linear("self_attn.o_proj"))
    norm = OpRMSNorm(layer.post_attention_layernorm)
    fused.gate_up = NormGateUp(
        norm, linear("mlp.gate_proj"), linear("mlp.up_proj"), OpGateMul(layer.mlp.activation)
    )
    fused.down = AddLinear(linear("mlp.down_proj"))


@pytest.mark.parametrize("bits", [b for b in BITS_CHOICES if b != FULL_PRECISION.bits])
def test_a_joined_table_is_its_linears_below_one_another(bits):
    model = build_model(tiny_checkpoint(grid_for_bits(bits)))
    attention = model.layers[0].self_attn
    linears = {
        f"layers.0.self_attn.{part}": attention.get_submodule(part) for part in ("q_proj", "k_proj", "v_proj")
    }
    joined = unpack(weights_of(model, replace(OPTIONS, grid=grid_for_bits(bits))).packed(list(linears)))
    rows = [linear.out_features for linear in linears.values()]
    assert sum(rows) == joined.rows
    for linear, part in zip(linears.values(), joined.split(rows), strict=True):
        assert part.equals(linear.quantized())
        alpha = linear.weight_clip_val.detach()
        assert torch.equal(part.scale, alpha * linear.grid.spacing)


@pytest.mark.parametrize("recipe", ["lowbit", "fp32"])
def test_every_weight_is_in_one_table(recipe):
    model = build_model(tiny_checkpoint(tied_embedding=False))
    lowered = lower(model, replace(OPTIONS, grid=FULL_PRECISION), RECIPES[recipe])
    found = [weight for _, table in tables_of(lowered) for weight in table.rows]
    matrices = [name.removesuffix(".weight") for name, p in model.named_parameters() if p.ndim == 2]
    assert sorted(found) == sorted(matrices)
