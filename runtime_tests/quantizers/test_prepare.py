"""Models on learned grids: which parts get one, and from which scales they start."""

from __future__ import annotations

import pytest
import torch

from edge.formats import BY_NAME, LINEAR_GRIDS
from edge.model.decoder import named_linears
from edge.quantizers.paretoq import initial_alpha
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat, qat_linears
from runtime_tests.tiny import tiny_model

TRAINABLE = [grid for grid in LINEAR_GRIDS if grid.is_quantized]


@pytest.mark.parametrize("fmt", TRAINABLE, ids=lambda f: f.name)
def test_all_seven_linears_are_quantised_and_nothing_else(fmt) -> None:
    plain, model = tiny_model(), prepare_qat(tiny_model(), Plan(fmt))
    assert qat_linears(model).keys() == named_linears(plain).keys()
    assert not qat_linears(plain)
    extra = {n for n, _ in model.named_parameters()} - {n for n, _ in plain.named_parameters()}
    assert extra == {f"{n}.weight_clip_val" for n in qat_linears(model)}
    for name, linear in qat_linears(model).items():
        assert torch.equal(linear.weight, named_linears(plain)[name].weight)
        assert torch.equal(linear.weight_clip_val, initial_alpha(linear.weight, fmt))


def test_given_scales_are_used_untouched() -> None:
    alphas = {n: torch.rand(m.out_features, 1) for n, m in named_linears(tiny_model()).items()}
    model = prepare_qat(tiny_model(), Plan(BY_NAME["int3"]), alphas)
    assert all(torch.equal(m.weight_clip_val, alphas[n]) for n, m in qat_linears(model).items())


def test_a_scale_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"no learned scale for layers.0.mlp.down_proj, .* and 11 more"):
        prepare_qat(tiny_model(), Plan(BY_NAME["int3"]), {})
