"""Checkpoints of GPTQ, AutoAWQ and compressed-tensors: codes, scales and zeros come over as they are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from edge.checkpoints.convert import build_model
from edge.checkpoints.imported.words import codes_from_words, words_for
from edge.checkpoints.lazy import ALL
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.formats.weight import QuantizedWeight
from runtime_tests.checkpoints.hf_models import edit_config, logits, random_llama
from runtime_tests.checkpoints.quantized_files import SHAPE, Table, Written, words, write
from runtime_tests.checkpoints.test_hugging_face_errors import edit

TOKENS = torch.arange(60, 100)[None]
#: form, bits, group size, symmetric, act-order.
CASES = [
    ("gptq", 2, 64, False, False),
    ("gptq", 2, -1, True, True),
    ("gptq", 3, 32, False, True),
    ("gptq", 3, -1, True, False),
    ("gptq", 4, 32, True, True),
    ("gptq", 4, 128, False, False),
    ("gptq", 8, 64, False, False),
    ("gptq_v2", 2, 32, True, False),
    ("gptq_v2", 3, 64, True, True),
    ("gptq_v2", 4, -1, False, False),
    ("gptq_v2", 8, 128, True, True),
    ("gptq", 4, 512, False, False),
    ("gemm", 4, 32, False, False),
    ("gemm", 4, -1, False, False),
    ("gemv", 4, 32, False, False),
    ("gemv", 4, 64, False, False),
    ("gemv", 4, 128, False, False),
    ("pack-quantized", 4, 32, True, True),
    ("pack-quantized", 4, -1, False, False),
    ("pack-quantized", 8, 64, False, True),
    ("pack-quantized", 8, -1, True, False),
    ("pack-quantized", 1, 64, False, False),
    ("pack-quantized", 2, 32, True, False),
    ("pack-quantized", 3, 32, True, True),
    ("pack-quantized", 5, -1, True, False),
    ("pack-quantized", 6, 64, False, True),
    ("pack-quantized", 7, 128, False, False),
]


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 7, 32, 45])
def test_codes_of_all_widths_come_out_of_words(bits, count):
    codes = np.random.default_rng(bits).integers(0, 2**bits, (3, count))
    packed = torch.from_numpy(words(codes, bits))
    assert packed.shape == (3, words_for(count, bits))
    places = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    assert torch.equal(codes_from_words(packed, bits, places).long(), torch.from_numpy(codes)[:, places])


@pytest.mark.parametrize(("form", "bits", "group_size", "symmetric", "permuted"), CASES)
def test_tables_are_the_files(tmp_path, form, bits, group_size, symmetric, permuted):
    sizes = {"num_hidden_layers": 1, "intermediate_size": 528 if group_size == 512 else 136}
    written = write(tmp_path / "model", form, bits, group_size, symmetric, permuted, **sizes)
    checkpoint = open_model(written.directory)
    assert checkpoint.bits == bits
    assert len(checkpoint.quantized) == len(written.tables) == 7
    hidden = _order(written.tables["model.layers.0.mlp.down_proj"])
    for full, table in written.tables.items():
        name = full.removeprefix("model.")
        rows = hidden if name.endswith(("gate_proj", "up_proj")) else ALL
        columns = hidden if name.endswith("down_proj") else ALL
        _check_table(checkpoint.quantized[name], table, rows, bits)
        weight = torch.from_numpy(table.weight(np.float32))[rows][:, columns]
        assert torch.equal(checkpoint.weights[f"{name}.weight"], weight)
        assert torch.equal(checkpoint.quantized.rows(name, slice(3, 17)).dequantize(), weight[3:17])
        own = torch.from_numpy(table.weight(np.float16))[rows][:, columns]
        assert torch.equal(checkpoint.formulas[name], own)
        assert torch.equal(weight.half(), own)


def _order(table: Table) -> Tensor:
    return torch.from_numpy(np.argsort(table.group, kind="stable"))


def _check_table(weight: QuantizedWeight, table: Table, rows: Tensor | slice, bits: int) -> None:
    """Compare codes, scales and zeros with those that were written; a table's groups end at 256 columns."""
    assert torch.equal(weight.codes, torch.from_numpy(table.codes)[rows][:, _order(table)].byte())
    repeat = 2 if weight.scale.shape[1] > table.scales.shape[1] else 1
    scales, zeros = (torch.from_numpy(a).float()[rows] for a in (table.scales, table.zeros))
    scales, zeros = (a.repeat_interleave(repeat, 1)[:, : weight.scale.shape[1]] for a in (scales, zeros))
    assert torch.equal(weight.scale, scales)
    if isinstance(weight.zero, Tensor):
        assert torch.equal(weight.zero, zeros)
    else:
        assert weight.zero == 2 ** (bits - 1)
        assert bool((zeros == weight.zero).all())


def dequantised(written: Written, dtype: type, **changes) -> LlamaForCausalLM:
    """The model in float64 that transformers makes of the written tables, in a dtype's arithmetic."""
    model = random_llama(**SHAPE | changes).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
        for name, table in written.tables.items():
            model.get_submodule(name).weight.copy_(torch.from_numpy(table.weight(dtype)))
    return model


@pytest.mark.parametrize(
    ("form", "bits", "symmetric", "permuted"),
    [("gptq", 4, True, True), ("gptq_v2", 3, False, True), ("gemm", 4, False, False),
     ("pack-quantized", 8, False, True)],
)  # fmt: skip
def test_logits_are_those_of_the_dequantised_model(tmp_path, form, bits, symmetric, permuted):
    """Products are exact: logits differ by float32's rounding, and by 1e-4 and more from float16 products."""
    written = write(tmp_path / "model", form, bits, 32, symmetric, permuted)
    expected, own = (logits(dequantised(written, dtype), TOKENS) for dtype in (np.float64, np.float16))
    with torch.no_grad():
        found = build_model(open_model(written.directory), positions=64)(TOKENS)
    assert _rms(found - expected) < 5e-6 * _rms(expected)
    assert 1e-4 < _rms(own - expected) / _rms(expected) < 1e-3


def _rms(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.double())) / math.sqrt(values.numel())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_scales_of_other_dtypes(tmp_path, dtype):
    """The values of float32 scales decide: 16 bits hold these."""
    written = write(tmp_path / "model", "pack-quantized", scale_dtype=dtype, num_hidden_layers=1)
    checkpoint = open_model(written.directory)
    for name, table in written.tables.items():
        weight = checkpoint.quantized[name.removeprefix("model.")]
        assert torch.equal(weight.dequantize(), torch.from_numpy(table.weight(np.float32)))
        assert weight.scale_dtype == (torch.bfloat16 if dtype == torch.bfloat16 else torch.float16)
        own = checkpoint.formulas[name.removeprefix("model.")]
        assert own.dtype == dtype
        assert torch.equal(weight.dequantize().to(dtype), own)


def test_zeros_of_a_linear_show_which_of_two_schemes_it_has(tmp_path):
    """Its codes and scales have the same shapes in both."""
    others = {"up_proj": {"symmetric": False}}
    written = write(tmp_path / "model", "pack-quantized", symmetric=True, others=others, num_hidden_layers=1)
    quantized = open_model(written.directory).quantized
    _check_table(quantized["layers.0.mlp.up_proj"], written.tables["model.layers.0.mlp.up_proj"], ALL, 4)
    assert isinstance(quantized["layers.0.mlp.up_proj"].zero, Tensor)
    assert quantized["layers.0.mlp.gate_proj"].zero == 8


@pytest.mark.parametrize("form", ["gptq", "pack-quantized"])
def test_linears_of_other_settings(tmp_path, form):
    others = {
        "up_proj": {"bits": 8, "group_size": -1},
        "q_proj": {"bits": 3, "symmetric": False},
        "k_proj": {"group_size": 64},
        "v_proj": None,
    }
    written = write(tmp_path / "model", form, 4, 32, True, True, others=others)
    checkpoint = open_model(written.directory)
    found = {name: (weight.encoding.name, weight.group_size) for name, weight in checkpoint.quantized.items()}
    assert [
        found.get(f"layers.1.{n}")
        for n in (
            "mlp.up_proj",
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
        )
    ] == [("bits8", None), ("bits3", 32), ("bits4", 64), None, ("bits4", 32)]
    expected = logits(dequantised(written, np.float64), TOKENS)
    with torch.no_grad():
        assert _rms(build_model(checkpoint, positions=64)(TOKENS) - expected) < 5e-6 * _rms(expected)


def test_patterns_of_other_settings_match_the_start_of_a_name(tmp_path):
    """As in GPTQModel, which reads a format for the whole file only."""
    written = write(tmp_path / "model", "gptq", 8, others={"up_proj": {"bits": 4}}, num_hidden_layers=1)
    hf = json.loads((written.directory / "config.json").read_text())["quantization_config"]
    dynamic = {"up": {"bits": 2}, "+:.*up_proj": {"bits": 4, "checkpoint_format": "gptq_v2"}}
    edit_config(written.directory, quantization_config=hf | {"dynamic": dynamic})
    checkpoint, linear = open_model(written.directory), "layers.0.mlp.up_proj"
    _check_table(checkpoint.quantized[linear], written.tables[f"model.{linear}"], ALL, 4)


@pytest.mark.parametrize("form", ["gptq", "gptq_v2", "pack-quantized"])
def test_heads(tmp_path, form):
    others = {"lm_head": {"bits": 3, "group_size": 64}}
    written = write(tmp_path / "model", form, permuted=True, others=others)
    checkpoint = open_model(written.directory)
    head = checkpoint.quantized["lm_head"]
    _check_table(head, written.tables["lm_head"], ALL, 3)
    assert torch.equal(head.order, _order(written.tables["lm_head"]))
    assert (checkpoint.plan.name, checkpoint.plan.head_format.name) == ("uint4", "uint3")
    expected = logits(dequantised(written, np.float64), TOKENS)
    model = build_model(checkpoint, positions=64)
    assert model.lm_head.grid.name == "uint3"
    with torch.no_grad():
        assert _rms(model(TOKENS) - expected) < 5e-6 * _rms(expected)
    with pytest.raises(ValueError, match="holds no head on a grid of its own"):
        save_packed_checkpoint(checkpoint, tmp_path / "packed")


def test_linears_left_in_full_precision_and_biases_of_zeros(tmp_path):
    written = write(tmp_path / "model", "gptq", num_hidden_layers=1)
    weight = torch.randn(136, 72).half()

    def change(tensors: dict[str, Tensor]) -> None:
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            del tensors[f"model.layers.0.mlp.up_proj.{part}"]
        tensors["model.layers.0.mlp.up_proj.weight"] = weight
        tensors["model.layers.0.mlp.gate_proj.bias"] = torch.zeros(136).half()
        tensors["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(48).half()

    checkpoint = open_model(edit(written.directory, change))
    assert checkpoint.plan.of("layers.0.mlp.up_proj").bits == 16
    assert torch.equal(checkpoint.weights["layers.0.mlp.up_proj.weight"], weight.float())
    assert build_model(checkpoint, positions=8)(TOKENS[:, :4]).shape == (1, 4, 304)


def test_the_packed_form_holds_what_was_imported_without_act_order(tmp_path):
    checkpoint = open_model(write(tmp_path / "model", "pack-quantized", 8, num_hidden_layers=1).directory)
    save_packed_checkpoint(checkpoint, tmp_path / "packed")
    again = open_model(tmp_path / "packed")
    assert all(again.quantized[name].equals(weight) for name, weight in checkpoint.quantized.items())
    permuted = open_model(write(tmp_path / "sorted", "gptq", permuted=True, num_hidden_layers=1).directory)
    with pytest.raises(ValueError, match="no place for the order of its columns"):
        save_packed_checkpoint(permuted, tmp_path / "packed")
