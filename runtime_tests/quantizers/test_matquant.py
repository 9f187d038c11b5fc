"""MatQuant's linear and losses against sums that are written out here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edge.formats.slices import Nesting, sliced
from edge.model.decoder import Decoder, named_linears
from edge.quantizers.base import grid_of
from edge.quantizers.matquant import MatQuant, NestedLinear
from edge.quantizers.minmax import quantize_min_max
from edge.quantizers.nested import PARENT, WIDTHS, WeightedSlices
from edge.quantizers.plan import Plan
from edge.training.loss import NextTokenLoss
from runtime_tests.tiny import tiny_model

#: Single Precision: the 2-bit slice alone.
ALONE = WeightedSlices(WIDTHS, (0.0, 0.0, 1.0))
TOKENS = torch.randint(304, (2, 12), generator=torch.Generator().manual_seed(3))


def prepared(method: MatQuant) -> Decoder:
    return method.prepare(tiny_model(), Plan(PARENT)).train()


def logits_at(model: Decoder, bits: int, extra: bool = False) -> Tensor:
    """By a float model whose weights were sliced beforehand."""
    plain = tiny_model()
    values = {
        f"{name}.weight": sliced(quantize_min_max(linear.weight.detach(), PARENT), bits, extra).dequantize()
        for name, linear in named_linears(model).items()
    }
    plain.load_state_dict(values, strict=False)
    return plain(TOKENS[:, :-1]).flatten(0, 1)


def cross_entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, TOKENS[:, 1:].flatten())


def distance(wanted: Tensor, logits: Tensor) -> Tensor:
    """KL(wanted || logits), the mean over tokens."""
    p, q = wanted.softmax(-1), logits.softmax(-1)
    return (p * (p / q).log()).sum(-1).mean()


def losses_of(method: MatQuant, model: Decoder) -> list[Tensor]:
    module = NextTokenLoss(model, method=method).train()
    return [module(TOKENS, index)["loss"] for index in range(method.passes)]


@pytest.mark.parametrize("extra", [False, True])
def test_a_batch_has_a_loss_for_each_width(extra: bool):
    method = MatQuant(slices=WeightedSlices(Nesting((8, 3, 2), extra), (0.25, 0.5, 2.0)))
    model = prepared(method)
    expected = [
        weight * cross_entropy(logits_at(model, bits, extra))
        for bits, weight in ((8, 0.25), (3, 0.5), (2, 2.0))
    ]
    found = losses_of(method, model)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
    assert abs(4 * float(found[1].detach()) - float(found[2].detach())) > 1e-3  # widths do differ


def test_a_width_of_weight_0_takes_no_pass():
    method = MatQuant(slices=ALONE)
    model = prepared(method)
    (found,) = losses_of(method, model)
    torch.testing.assert_close(found, cross_entropy(logits_at(model, 2)))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_width_learns_from_a_wider_one(share: float):
    method = MatQuant(slices=ALONE, teachers={2: 8}, taught=share)
    model = prepared(method)
    wanted, logits = logits_at(model, 8), logits_at(model, 2)
    (found,) = losses_of(method, model)
    expected = (1 - share) * cross_entropy(logits) + share * distance(wanted, logits)
    torch.testing.assert_close(found, expected)


def test_no_gradient_reaches_the_teacher(monkeypatch: pytest.MonkeyPatch):
    method = MatQuant(slices=ALONE, teachers={2: 8}, taught=1.0)
    model = prepared(method)
    losses_of(method, model)[0].backward()
    found = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    fixed = logits_at(model, 8).detach().view(2, 11, -1)
    monkeypatch.setattr(MatQuant, "_predictions", lambda *_: fixed)
    losses_of(method, model)[0].backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("bits", [8, 2])
def test_gradients_pass_straight_through_the_slice(bits: int):
    linear = NestedLinear(torch.randn(6, 20, generator=torch.Generator().manual_seed(0)), extra=False)
    linear.bits = bits
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    y = linear(x)
    assert torch.equal(y, x @ sliced(linear.quantized(), bits).dequantize().T)
    y.sum().backward()
    torch.testing.assert_close(linear.weight.grad, x.sum(0).expand(6, 20))


def test_finishing_keeps_the_parent_whatever_width_was_last():
    method = MatQuant()
    model = prepared(method)
    parents = {name: linear.quantized() for name, linear in named_linears(model).items()}
    losses_of(method, model)
    for name, linear in named_linears(method.finish(model)).items():
        assert grid_of(linear) is PARENT
        assert linear.quantized().equals(parents[name])


Options = dict[str, str | bool | float]


@pytest.mark.parametrize(
    ("options", "widths", "weights"),
    [
        ({}, (8, 4, 2), (0.1, 0.1, 1.0)),
        ({"widths": "6,2"}, (6, 2), (0.1, 1.0)),
        ({"single_precision": True}, (8, 4, 2), (0.0, 0.0, 1.0)),
        ({"extra_precision": True}, (8, 4, 2), (1.0, 1.0, 1.0)),
        ({"loss_weights": ".2,.2,1"}, (8, 4, 2), (0.2, 0.2, 1.0)),
    ],
)
def test_the_flags_and_their_defaults(options: Options, widths: tuple[int, ...], weights: tuple[float, ...]):
    method = MatQuant().configured(options)
    assert (method.widths, method.slices.loss_weights) == (widths, weights)
    assert method.nesting.extra == ("extra_precision" in options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": "2,4"}, "--widths: widths are 2, 4; give some of 8 to 1"),
        ({"widths": "8,two"}, "--widths takes whole numbers with commas, not '8,two'"),
        ({"loss_weights": "1,1"}, "--loss-weights has 2 numbers for 3 widths"),
        ({"loss_weights": "1,1,-1"}, "--loss-weights must be 0 or more"),
        ({"loss_weights": "1,nan,1"}, "--loss-weights must be 0 or more"),
        ({"loss_weights": "0,0,0"}, "not all 0"),
        ({"loss_weights": "1,1,1", "single_precision": True}, "leave --loss-weights out"),
        ({"co_distill": "2:8"}, "the wider first"),
        ({"co_distill": "8:3"}, "--co-distill 8:3 must name two of --widths 8,4,2"),
        ({"co_distill": "8-2"}, "takes pairs of widths"),
        ({"co_distill": "8:2,4:2"}, "gives 2 bits two teachers"),
        ({"co_distill_share": 1.5, "co_distill": "8:2"}, "--co-distill-share must lie above 0"),
        ({"co_distill_share": 0.0, "co_distill": "8:2"}, "--co-distill-share must lie above 0"),
        ({"co_distill_share": 0.5}, "--co-distill-share is for --co-distill"),
    ],
)
def test_wrong_flags_are_refused(options: Options, words: str):
    with pytest.raises(ValueError, match=words):
        MatQuant().configured(options)


@pytest.mark.parametrize("make", [lambda m: m.grid(4), lambda m: m.grid("1.58")], ids=["4", "1.58"])
def test_a_parent_has_8_bits(make: Callable[[MatQuant], object]):
    with pytest.raises(ValueError, match="choose one of 8, 16"):
        make(MatQuant())
