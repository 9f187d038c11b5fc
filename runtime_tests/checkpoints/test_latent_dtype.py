"""Latent weights in 16 bits give the codes that ParetoQ's reference computes in that dtype.

The formulas are those of arXiv 2502.02631's reference code, written down once more.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import open_model
from runtime_tests.checkpoints.published_form import LINEARS, published, write

W_BITS = {1: 1, 1.58: 0, 2: 2, 3: 3, 4: 4}


def reference_level(weight: Tensor, alpha: Tensor, bits: float) -> Tensor:
    """Levels in units of alpha, computed in the dtype of the arguments."""
    alpha = torch.where(alpha > 1e-5, alpha, torch.tensor(1e-5, dtype=alpha.dtype))
    if bits == 1:
        return torch.where(weight >= 0, 1.0, -1.0)
    if bits > 2:
        largest = 2 ** (bits - 1) - 1
        return torch.clamp(torch.round(weight / alpha), -largest - 1, largest).float()
    count, shift = (1.5, 0.0) if bits == 1.58 else (2, 0.5)
    clipped = torch.clamp(weight / alpha, -0.99, 0.99)
    return ((torch.round(clipped * count - shift) + shift) / count).float()


def latent_model(bits: float, dtype: torch.dtype) -> dict[str, Tensor]:
    """A model as training writes it; a row with an alpha of 0 and one with a negative alpha are among it."""
    tensors = published(bits, dtype)
    generator = torch.Generator().manual_seed(3)
    for name in [name for name in tensors if name.split(".")[-2] in LINEARS]:
        latent = torch.randn(tensors[name].shape, generator=generator).to(dtype)
        alpha = (0.5 + torch.rand(latent.shape[0], 1, generator=generator)).to(dtype)
        alpha[1], alpha[2] = 0.0, -0.25
        latent[1] = 0
        tensors[name], tensors[name.removesuffix("weight") + "weight_clip_val"] = latent, alpha
    return tensors


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", W_BITS)
def test_codes_are_those_of_the_reference(tmp_path: Path, bits: float, dtype: torch.dtype):
    tensors = latent_model(bits, dtype)
    checkpoint = open_model(write(tmp_path / "model", tensors, W_BITS[bits]))
    assert len(checkpoint.quantized) == 2 * len(LINEARS)
    differing = 0
    for name, stored in checkpoint.quantized.items():
        weight, alpha = (tensors[f"model.{name}.{part}"] for part in ("weight", "weight_clip_val"))
        level = reference_level(weight, alpha, bits)
        codes = stored.codes.float() - stored.zero
        spacing = {1: 2.0, 1.58: 2 / 3, 2: 0.5}.get(bits, 1.0)
        assert torch.equal(torch.round(level / spacing * 2), codes * 2)
        in_float32 = reference_level(weight.float(), alpha.float(), bits)
        differing += int((in_float32 - level).abs().gt(1e-3).sum())
    if dtype == torch.bfloat16 and bits > 1:
        assert differing > 0  # so the two divisions can be told apart here


def test_training_starts_from_the_latent_weights(tmp_path: Path):
    tensors = latent_model(2, torch.bfloat16)
    checkpoint = load_checkpoint(write(tmp_path / "model", tensors, 2))
    assert checkpoint.latent_dtype == torch.bfloat16
    assert not checkpoint.quantized
    assert len(checkpoint.alphas) == 2 * len(LINEARS)


def test_latent_weights_in_float32_divide_in_float32(tmp_path: Path):
    tensors = latent_model(2, torch.float32)
    assert not open_model(write(tmp_path / "model", tensors, 2)).quantized
