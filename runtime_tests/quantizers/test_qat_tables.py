"""Embedding and head on a learned grid: the model with its tables rounded, and the gradients of that."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from edge.checkpoints.convert import to_checkpoint
from edge.checkpoints.hugging_face import linear_names
from edge.formats import grid_for_bits
from edge.quantizers.paretoq import fake_quantize, initial_alpha
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat
from edge.quantizers.qat_tables import QATEmbedding
from runtime_tests.tiny import tiny_config, tiny_model

INT2 = grid_for_bits(2)
#: Some tokens more than once, in both sequences.
TOKENS = torch.tensor([[5, 9, 5, 300], [9, 9, 0, 77]])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tied", [True, False])
def test_the_tables_and_nothing_else_are_added(bits: int, tied: bool) -> None:
    plain = tiny_model(tiny_config(tied_embedding=tied))
    linears = set(prepare_qat(copy.deepcopy(plain), Plan(INT2)).state_dict())
    model = prepare_qat(copy.deepcopy(plain), Plan(INT2, embedding_format=grid_for_bits(bits)))
    added = {"embed_tokens.grid_end"} | (set() if tied else {"lm_head.grid_end"})
    assert model.state_dict().keys() - linears == added
    start = initial_alpha(plain.embed_tokens.weight, grid_for_bits(bits))
    assert torch.equal(model.embed_tokens.alpha, start)
    assert to_checkpoint(model, None).alphas.keys() - linear_names(plain.config) == {
        name.removesuffix(".grid_end") for name in added
    }
    assert torch.equal(start, plain.embed_tokens.weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tied", [True, False])
def test_values_and_gradients_are_those_of_whole_rounded_tables(bits: int, tied: bool) -> None:
    """Against the same model with plain tables that were rounded as a whole, in double precision."""
    fmt = grid_for_bits(bits)
    model = prepare_qat(
        tiny_model(tiny_config(tied_embedding=tied)), Plan(INT2, embedding_format=fmt)
    ).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("grid_end"):
                parameter.mul_(0.8)  # so that some weights lie beyond the grid
    reference = copy.deepcopy(model)
    rounded = [fake_quantize(reference.embed_tokens.weight, reference.embed_tokens.alpha, fmt)]
    if not tied:
        rounded.append(fake_quantize(reference.lm_head.weight, reference.lm_head.alpha, fmt))
    reference.embed_tokens.forward = lambda tokens: F.embedding(tokens, rounded[0])
    reference.lm_head.forward = lambda x, embedding: F.linear(x, rounded[-1])

    logits, expected = model(TOKENS), reference(TOKENS)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-12)
    upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for outputs in (logits, expected):
        (outputs * upstream).sum().backward()
    others = dict(reference.named_parameters())
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad, others[name].grad, rtol=1e-9, atol=1e-12, msg=name)


def test_a_lookup_reads_the_very_rows_of_the_rounded_table() -> None:
    table = torch.randn(304, 36, generator=torch.Generator().manual_seed(1))
    embedding = QATEmbedding(table, grid_for_bits(4))
    assert torch.equal(embedding(TOKENS), embedding.quantized_weight()[TOKENS])
    assert embedding(torch.tensor([3])).shape == (1, 36)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_step_of_the_optimiser_moves_a_grid_as_far_as_its_weights(bits: int) -> None:
    """AdamW's first step is the learning rate, whatever the gradient: so far the end of a grid moves."""
    table = torch.randn(304, 36, generator=torch.Generator().manual_seed(1))
    embedding = QATEmbedding(table.clone(), grid_for_bits(bits))
    start = embedding.alpha.detach().clone()
    optimiser = torch.optim.AdamW(embedding.parameters(), lr=1e-3, weight_decay=0.0)
    (embedding(torch.arange(304)) * table).sum().backward()
    optimiser.step()
    moved = ((embedding.alpha.detach() - start) * 2 ** (bits - 1)).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-2, atol=0)


def test_alpha_and_the_end_of_a_grid_are_each_other_exactly() -> None:
    alpha = torch.rand(304, 1, generator=torch.Generator().manual_seed(2)) * 1e-3 + 1e-9
    for bits in (4, 8):
        table = torch.zeros(304, 36)
        assert torch.equal(QATEmbedding(table, grid_for_bits(bits), alpha).alpha, alpha)
