"""OmniQuant: the transform changes nothing in float, and learning lowers the layer's loss."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.formats import BY_NAME
from edge.formats.slices import Nesting, sliced
from edge.model.decoder import Decoder, Layer, named_linears
from edge.quantizers.base import OnGrid, QuantizedLinear
from edge.quantizers.equivalent import learned_pairs, starting_scales, transformed
from edge.quantizers.gptq import GPTQ
from edge.quantizers.nested import WeightedSlices
from edge.quantizers.omniquant import OmniQuant
from edge.quantizers.placement import Target
from edge.quantizers.post_training import SEQUENCE, Block
from edge.quantizers.rtn import RTN
from runtime_tests.tiny import tiny_config, tiny_model

#: Where the transform is exact: the number of places, and what the model has.
SHAPES: dict[str, tuple[int, dict]] = {
    "own values": (3, {"n_kv_heads": 4}),
    "shared values": (2, {}),
    "biases": (3, {"n_kv_heads": 4, "qkv_bias": True, "qk_norm": "head"}),
    "norms behind": (1, {"norms": "after", "qk_norm": "whole", "n_kv_heads": 4}),
    "norms around": (2, {"norms": "around", "activation": "gelu"}),
    "shared layers": (2, {"layer_sharing": True}),
}


def run_layer(model: Decoder, index: int, layer: nn.Module, x: Tensor) -> Tensor:
    return model.run_layer(layer, index, x, 0)


def block_of(model: Decoder, grid: str = "int4", group: int | None = None, texts: int = 3) -> Block:
    """The first layer of a model, and what reaches it."""
    dice = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.config.vocab_size, (texts, 24), generator=dice)
    inputs = list(model.scaled(model.embed_tokens(tokens)).detach().split(1))
    layer = model.layers[0]
    assert isinstance(layer, Layer)
    targets = {name: Target(BY_NAME[grid], group) for names in SEQUENCE for name in names}
    return Block("layers.0", layer, targets, partial(run_layer, model, 0), inputs, inputs)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_transform_leaves_the_float_logits_unchanged(shape: str):
    places, changes = SHAPES[shape]
    model = tiny_model(tiny_config(**changes))
    tokens = torch.arange(2, 42)[None]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        before = model(tokens)
        for index, layer in enumerate(model.layers):
            block = replace(block_of(model), layer=layer, run=partial(run_layer, model, index))
            pairs = learned_pairs(layer)
            assert len(pairs) == places
            starts = [starting_scales(block, pair, block.inputs) for pair in pairs]
            assert all(float(t.max() / t.min()) > 1.5 for t in starts)
            layer.load_state_dict(transformed(dict(layer.named_parameters()), pairs, starts))
        after = model(tokens)
    assert float((after - before).abs().max()) <= 1e-4 * max(1.0, float(before.abs().max()))


def error(block: Block, before: Layer) -> float:
    with torch.no_grad():
        return sum(float(F.mse_loss(block.run(block.layer, x), block.run(before, x))) for x in block.inputs)


@pytest.mark.parametrize(("grid", "group"), [("uint3", None), ("int2", 32)])
def test_it_is_nearer_to_the_float_layer_than_rounding(grid: str, group: int | None):
    errors = []
    for method in (RTN(), OmniQuant(epochs=8, low_epochs=8)):
        block = block_of(tiny_model(tiny_config(n_layers=1)), grid, group)
        before = copy.deepcopy(block.layer)
        method.quantize(block)
        linears = {n: m for n, m in block.layer.named_modules() if n in block.targets}
        assert all(isinstance(linear, OnGrid) for linear in linears.values())
        errors.append(error(block, before))
    assert errors[1] < errors[0]


def test_clipping_alone_leaves_norms_and_gives_the_same_bits_again():
    results: list[dict[str, Tensor]] = []
    for _ in range(2):
        model = tiny_model(tiny_config(n_layers=1))
        norm = model.layers[0].input_layernorm.weight.clone()
        OmniQuant(transforms=False, epochs=2).quantize(block_of(model))
        assert torch.equal(model.layers[0].input_layernorm.weight, norm)
        results.append({name: linear.quantized().codes for name, linear in named_linears(model).items()})
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_activations_that_are_not_finite_are_refused():
    block = block_of(tiny_model(tiny_config(n_layers=1)))
    block.inputs[1][0, 3, 5] = float("nan")
    for method in (OmniQuant(epochs=1), GPTQ()):
        with pytest.raises(ValueError, match=r"layers\.0.*NaN or infinite on the calibration text"):
            method.quantize(block)


def put_slice(block: Block, bits: int, extra: bool) -> None:
    """Replace the parent's linears by those of a slice."""
    for name in block.targets:
        linear = block.layer.get_submodule(name)
        assert isinstance(linear, QuantizedLinear)
        block.put(name, QuantizedLinear(sliced(linear.quantized(), bits, extra), linear.grid))


@pytest.mark.parametrize(("group", "extra"), [(None, False), (32, False), (None, True)])
def test_a_parent_is_fitted_for_its_slices(group: int | None, extra: bool):
    """At 2 bits it is nearer to the float layer than a parent that was fitted at 8, and at 8 nearer still."""
    errors: dict[int, list[float]] = {8: [], 2: []}
    slices = WeightedSlices(Nesting((8, 4, 2), extra), (0.1, 0.1, 1.0))
    fast = OmniQuant(epochs=20, low_epochs=20, clipping_rate=0.2)
    for method in (fast, replace(fast, slices=slices)):
        for bits, found in errors.items():
            block = block_of(tiny_model(), "uint8", group)
            before = copy.deepcopy(block.layer)
            method.quantize(block)
            put_slice(block, bits, extra)
            found.append(error(block, before))
    assert errors[2][1] < 0.85 * errors[2][0]
    assert errors[8][1] < 0.5 * errors[2][1]


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_slice_is_learned_as_it_is_cut(bits: int, monkeypatch: pytest.MonkeyPatch):
    """The layer that the last step computed with is the slice of the parent that is folded."""
    seen: list[Tensor] = []
    block = block_of(tiny_model(), "uint8", texts=1)
    run = block.run

    def watched(layer: nn.Module, x: Tensor) -> Tensor:
        seen.append(run(layer, x))
        return seen[-1]

    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: None)  # so that what is folded was computed
    slices = WeightedSlices(Nesting((bits,)), (1.0,))
    OmniQuant("matquant", epochs=1, low_epochs=1, slices=slices).quantize(replace(block, run=watched))
    put_slice(block, bits, extra=False)
    torch.testing.assert_close(run(block.layer, block.inputs[0]), seen[-1], rtol=1e-5, atol=1e-5)
