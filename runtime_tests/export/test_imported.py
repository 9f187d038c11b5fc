"""Programs of checkpoints that GPTQ, AWQ and compressed-tensors quantised."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edge.checkpoints.lazy import Lazy, reader_of
from edge.checkpoints.packed import open_model
from edge.evaluation.bounds import error_bounds
from edge.runtime.load import open_program
from export import to_pte
from export.lower import Options
from export.program_file import VerificationError
from runtime_tests.checkpoints.hf_models import logits
from runtime_tests.checkpoints.quantized_files import Written, write
from runtime_tests.checkpoints.test_imported import TOKENS, dequantised
from runtime_tests.export import lowered

NAME = "layers.0.mlp.down_proj"


def export(written: Written, bits: int, output: Path) -> None:
    argv = ["--bits", str(bits), "--model", str(written.directory), "--output", str(output)]
    assert to_pte.main([*argv, "--kv-cache", "fp32", "--embedding-bits", "16"]) == 0


@pytest.mark.parametrize(
    ("form", "bits", "symmetric", "permuted", "ffn", "others"),
    [
        ("gptq", 4, True, True, 144, {}),
        ("gptq_v2", 3, False, True, 136, {"lm_head": {"bits": 4, "symmetric": True}}),
        ("pack-quantized", 6, True, False, 136, {"lm_head": {"bits": 5, "symmetric": False}}),
    ],
)
def test_a_program_is_the_dequantised_model(tmp_path, form, bits, symmetric, permuted, ffn, others):
    """Logits differ from transformers' by what int8 activations cost, which the export has measured.

    With 144 columns gate and up are one op with their norm, and with 136 two: each takes sorted columns.
    """
    sizes = {"intermediate_size": ffn, "others": others}
    written = write(tmp_path / "model", form, bits, 32, symmetric, permuted, **sizes)
    export(written, bits, tmp_path / "out")
    manifest, program, _ = open_program(tmp_path / "out")
    assert manifest.weights == "quantised after training"
    assert manifest.format == ("int" if symmetric else "uint") + str(bits)
    assert manifest.head_bits == others.get("lm_head", {}).get("bits", 16)
    assert error_bounds(manifest).logit_rms > manifest.verification.rounding_rms
    assert manifest.verification.perplexity_tables is None  # no table was rounded
    expected = logits(dequantised(written, np.float64, intermediate_size=ffn), TOKENS)[0]
    found = torch.stack([program.forward([token], at) for at, token in enumerate(TOKENS[0].tolist())])
    assert _rms(found - expected) < 2 * manifest.verification.rounding_rms
    assert manifest.verification.rounding_rms < 0.05 * _rms(expected)
    assert torch.equal(program.forward(TOKENS[0].tolist(), 0), found[-1])  # a prefill gives the same bits


def _rms(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values.double())) / math.sqrt(values.numel())


def test_a_heads_codes_are_kept(tmp_path):
    others = {"lm_head": {"bits": 8}}
    written = write(tmp_path / "model", "pack-quantized", others=others, num_hidden_layers=1)
    argv = ["--bits", "4", "--model", str(written.directory), "--output", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="head was quantised to 8 bits, and its codes are kept: export it"):
        to_pte.main([*argv, "--head-bits", "4"])


def test_a_table_that_is_not_the_formats_formula_is_found(tmp_path):
    """Tests the proof: one column's group is another in the formula than in the table."""
    checkpoint = open_model(write(tmp_path / "model", "gptq", permuted=True, num_hidden_layers=1).directory)

    def other(rows: slice) -> Tensor:
        weight = checkpoint.formulas[NAME].clone()
        weight[7, 5] = torch.nextafter(weight[7, 5], torch.tensor(1.0).half())
        return weight[rows]

    formulas = Lazy({name: reader_of(checkpoint.formulas, name) for name in checkpoint.formulas})
    options = Options(checkpoint.plan.default, 64)
    changed = replace(checkpoint, formulas=formulas | Lazy({NAME: other}))
    program, right = lowered.write_checkpoint(checkpoint, options, tmp_path / "model.pte")
    program.check(right)
    with pytest.raises(VerificationError, match=f"{NAME}: .* formula gives in torch.float16"):
        program.check(replace(right, checkpoint=changed))
