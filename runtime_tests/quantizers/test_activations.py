"""Rounding activations, keys and values while training."""

from __future__ import annotations

import pytest
import torch

from edge.model.decoder import AttentionCore, named_linears
from edge.quantizers.activations import round_activations, rounded
from edge.training.arguments import parse
from runtime_tests.tiny import tiny_model

TOKENS = torch.randint(0, 304, (2, 9), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_each_vector_has_its_own_levels(bits):
    values = (
        torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
        * 10 ** torch.arange(3.0)[:, None, None]
    )
    highest = 2 ** (bits - 1) - 1
    for vector, found in zip(values.flatten(0, 1), rounded(values, bits).flatten(0, 1), strict=True):
        step = max(abs(v) for v in vector.tolist()) / highest
        wanted = torch.tensor([round(v / step) * step for v in vector.tolist()])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)
    assert torch.equal(rounded(torch.zeros(2, 3), bits), torch.zeros(2, 3))


def test_the_gradient_passes_straight_through():
    values = torch.tensor([[0.3, -1.0, 0.7]], requires_grad=True)
    rounded(values, 2).backward(torch.tensor([[1.0, 2.0, 3.0]]))
    assert values.grad.tolist() == [[1.0, 2.0, 3.0]]


def test_linears_read_rounded_values_and_attention_rounded_keys():
    model, seen = round_activations(tiny_model(), 3, 4), {}
    for name, linear in named_linears(model).items():
        linear.register_forward_pre_hook(lambda _, args, name=name: seen.setdefault(name, args[0]))
    caches = [module.cache for module in model.modules() if isinstance(module, AttentionCore)]
    keys = torch.randn(1, 4, 2, 10)
    assert torch.equal(caches[0].update(keys, keys, 0)[0], rounded(keys, 4))
    model(TOKENS)
    assert len(seen) == 14
    for values in seen.values():
        torch.testing.assert_close(rounded(values, 3), values)
        assert max(len(row.unique()) for row in values.flatten(0, 1)) <= 7


def test_sixteen_bits_round_nothing():
    plain = tiny_model()
    assert torch.equal(round_activations(tiny_model(), 16, 16)(TOKENS), plain(TOKENS))
    for bits in ((8, 16), (16, 8)):
        logits = round_activations(tiny_model(), *bits)(TOKENS)
        assert 0 < (logits - plain(TOKENS)).abs().max() < 0.2 * plain(TOKENS).abs().max()


@pytest.mark.parametrize("flag", ["--activation-bits", "--kv-bits"])
@pytest.mark.parametrize("bits", ["1", "9", "0"])
def test_bits_that_cannot_be(flag, bits):
    with pytest.raises(ValueError, match=f"{flag} must lie in 2..8, or be 16 to round nothing, not {bits}"):
        parse(["--output", "o", "--data", "d", "--eval-data", "e", flag, bits])
