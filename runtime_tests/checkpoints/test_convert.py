"""Models to and from checkpoints, with and without learned scales."""

from __future__ import annotations

import pytest
import torch

from edge.checkpoints.convert import build_model, to_checkpoint
from edge.formats import BY_NAME, FULL_PRECISION, LINEAR_GRIDS
from edge.quantizers.paretoq import ALPHA_FLOOR
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat, qat_linears
from runtime_tests.tiny import tiny_checkpoint, tiny_model

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]
TOKENS = torch.arange(30)[None]


@pytest.mark.parametrize("fmt", [FULL_PRECISION, *TRAINABLE], ids=lambda f: f.name)
def test_a_checkpoint_computes_what_its_model_computed(fmt) -> None:
    model = tiny_model()
    if fmt.is_quantized:
        prepare_qat(model, Plan(fmt))
    checkpoint = to_checkpoint(model, None)
    assert checkpoint.plan == Plan(fmt)
    with torch.no_grad():
        assert torch.equal(build_model(checkpoint)(TOKENS), model(TOKENS))


def test_only_scales_that_could_not_be_read_again_are_changed() -> None:
    """Zero and below act as the floor and are written as it; a small positive one is somebody's value."""
    model = prepare_qat(tiny_model(), Plan(BY_NAME["int2"]))
    linear = qat_linears(model)["layers.0.self_attn.q_proj"]
    with torch.no_grad():
        linear.weight_clip_val[:3, 0] = torch.tensor([0.0, -0.5, 1e-7])
    alpha = to_checkpoint(model, None).alphas["layers.0.self_attn.q_proj"]
    torch.testing.assert_close(alpha[:3, 0], torch.tensor([ALPHA_FLOOR, ALPHA_FLOOR, 1e-7]), atol=0, rtol=0)
    assert torch.equal(alpha[3:], linear.weight_clip_val[3:])


def test_models_are_built_ready_to_evaluate_with_tables() -> None:
    """Built on the meta device: what is not loaded must still be real."""
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    checkpoint = tiny_checkpoint(rope_scaling=llama3)
    model = build_model(checkpoint)
    assert not model.training
    assert not [n for n, t in [*model.named_parameters(), *model.named_buffers()] if t.is_meta]
    assert torch.equal(model.ropes["full"].cos, tiny_model(checkpoint.config).ropes["full"].cos)
