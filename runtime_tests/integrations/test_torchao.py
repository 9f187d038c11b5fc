"""Low-bit weights as methods of torchao: on any module, trained, packed, saved, compiled, exported."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from executorch.exir import to_edge
from torch import nn
from torchao.core.config import config_from_dict, config_to_dict
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import edge.integrations.torchao as ours
from edge.formats import grid_for_bits
from edge.formats.slices import sliced
from edge.integrations.torchao import (
    LowBitTensor,
    MatQuantConfig,
    ParetoQConfig,
    PostTrainingConfig,
    compare,
    linears,
    nbytes,
)
from edge.integrations.torchao.config import set_width
from edge.ops.reference import linear as reference_linear
from edge.quantizers.minmax import quantize_min_max

PAGE = Path(ours.__file__).with_name("README.md")
X = torch.randn(5, 33, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(33, 48), nn.Tanh(), nn.Linear(48, 7, bias=False))


def few_steps(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        model(X).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def packed_network(config=None) -> nn.Sequential:
    model = network()
    config = config or ParetoQConfig(bits=2)
    quantize_(model, config)
    few_steps(model)
    config.step = "convert"
    quantize_(model, config)
    return model


def test_the_page_runs(capsys):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    exec(code, {})
    said = capsys.readouterr().out
    assert "best within the budget: 2 bits" in said
    prepared, packed = map(float, re.findall(r"prepared (.*), packed (.*)", said)[0])
    assert prepared == pytest.approx(packed, abs=0.01)


@pytest.mark.parametrize("bits", [1, 1.58, 2, 3, 4])
def test_what_was_trained_is_what_runs(bits):
    model = network()
    quantize_(model, ParetoQConfig(bits=bits))
    start = copy.deepcopy(model.state_dict())
    few_steps(model)
    assert all(not torch.equal(start[name], value) for name, value in model.state_dict().items())
    grids = [module.quantized() for module in (model[0], model[2])]
    trained = copy.deepcopy(model)
    quantize_(model, ParetoQConfig(bits=bits, step="convert"))
    for module, wanted, before in zip((model[0], model[2]), grids, (trained[0], trained[2]), strict=True):
        assert isinstance(module.weight, LowBitTensor)
        assert module.weight.quantized().equals(wanted)
        assert torch.equal(module.weight.dequantize(), before.quantized_weight())
    wanted = reference_linear(X, model[0].weight.packed) + trained[0].bias
    torch.testing.assert_close(model[0](X), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 1.58, 2, 3, 4])
def test_what_was_trained_in_bfloat16_is_what_runs(bits):
    """The cast rounds weights and scales; the packed codes are those of the rounded ones, divided there."""
    model = network()
    quantize_(model, ParetoQConfig(bits=bits))
    few_steps(model)
    model.bfloat16()
    trained = copy.deepcopy(model)
    quantize_(model, ParetoQConfig(bits=bits, step="convert"))
    for mine, before in ((model[0], trained[0]), (model[2], trained[2])):
        computed, packed = before.quantized_weight(), mine.weight.dequantize(torch.float32)
        assert computed.dtype == mine.weight.dtype == torch.bfloat16
        torch.testing.assert_close(packed, computed.float(), rtol=2**-7, atol=0)
    torch.testing.assert_close(model(X.bfloat16()), trained(X.bfloat16()), rtol=0.1, atol=0.05)


def test_a_vector():
    model = packed_network()
    x = X[0].clone().requires_grad_()
    out = model(x)
    assert torch.equal(out, model(X[:1])[0])
    assert torch.equal(F.linear(input=x, weight=model[0].weight), F.linear(x, model[0].weight))
    out.sum().backward()
    assert x.grad.shape == x.shape


def test_attention_that_inlines_its_projection():
    """nn.MultiheadAttention reads the weight of its output projection itself."""
    model = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    quantize_(model, ParetoQConfig(bits=4), filter_fn=linears(model))
    quantize_(model, ParetoQConfig(bits=4, step="convert"), filter_fn=linears(model))
    assert isinstance(model.linear1.weight, LowBitTensor)
    assert not isinstance(model.self_attn.out_proj.weight, LowBitTensor)
    x = torch.randn(1, 3, 16)
    with torch.no_grad():  # where PyTorch would take its fused path
        torch.testing.assert_close(model.eval()(x), model.train()(x))


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_slices_of_a_parent(bits):
    model = network()
    quantize_(model, MatQuantConfig())
    set_width(model, bits)
    few_steps(model)
    parent = model[0].quantized()
    trained = model(X)
    quantize_(model, MatQuantConfig(step="convert", bits=bits))
    assert model[0].weight.quantized().equals(sliced(parent, bits))
    torch.testing.assert_close(model(X), trained, rtol=0.1, atol=0.05)  # activations are int8 now


def test_rounding_without_training():
    model = network()
    wanted = quantize_min_max(model[0].weight, grid_for_bits(3, asymmetric=True))
    quantize_(model, PostTrainingConfig(bits=3))
    assert model[0].weight.quantized().equals(wanted)


def test_embeddings():
    model = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 4))
    everything = lambda module, name: isinstance(module, nn.Embedding | nn.Linear)  # noqa: E731
    quantize_(model, ParetoQConfig(bits=2, embedding_bits=8), filter_fn=everything)
    tokens = torch.tensor([[3, 3, 19]])
    wanted = model[0](tokens)
    quantize_(model, ParetoQConfig(bits=2, embedding_bits=8, step="convert"), filter_fn=everything)
    torch.testing.assert_close(model[0](tokens), wanted)
    assert torch.equal(F.embedding(tokens, weight=model[0].weight), model[0](tokens))


def test_gradients_pass_through_a_packed_linear_to_its_input():
    model = packed_network()
    x = X.clone().requires_grad_()
    model(x).sum().backward()
    plain = nn.Sequential(nn.Linear(33, 48), nn.Tanh(), nn.Linear(48, 7, bias=False))
    for mine, other in ((model[0], plain[0]), (model[2], plain[2])):
        other.weight.data = mine.weight.dequantize()
    plain[0].bias.data = model[0].bias.data
    y = X.clone().requires_grad_()
    plain(y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=0.05, atol=0.01)
    assert model[0].weight.grad is None


def test_saving_moving_and_casting(tmp_path):
    model = packed_network()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = network()
    quantize_(other, ParetoQConfig(bits=2))
    quantize_(other, ParetoQConfig(bits=2, step="convert"))
    other.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert torch.equal(other(X), model(X))
    half = copy.deepcopy(model).bfloat16()
    assert half(X.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(half(X.bfloat16()).float(), model(X), rtol=0.1, atol=0.05)
    assert repr(model[2].weight).startswith("LowBitTensor(7x48, ")


def test_compiled_with_any_batch():
    model = packed_network()
    compiled = torch.compile(model, dynamic=True, backend="aot_eager")
    for rows in (5, 1, 3):
        assert torch.equal(compiled(X[:rows]), model(X[:rows]))


def test_exported_without_our_exporter():
    model = packed_network().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(model, (X,), dynamic_shapes=({0: batch},))
    assert torch.equal(program.module()(X[:3]), model(X[:3]))
    graph = to_edge(program).exported_program().graph
    called = [str(node.target) for node in graph.nodes if "lowbit" in str(node.target)]
    assert len(called) == 2
    assert all("lowbit.linear" in name for name in called)


def test_kept_linears():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.body, self.head = (
                nn.Embedding(9, 4),
                nn.Linear(4, 4),
                nn.Linear(4, 9, bias=False),
            )
            self.gate = nn.Linear(4, 4)
            self.head.weight = self.table.weight

    model = Model()
    quantize_(model, ParetoQConfig(bits=2), filter_fn=linears(model, "gate"))
    assert [type(part).__name__ for part in (model.body, model.head, model.gate)] == [
        "PreparedLinear", "Linear", "Linear",
    ]  # fmt: skip


def on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(4, 4))


def quantized_by_torchao():
    model = nn.Sequential(nn.Linear(32, 32))
    quantize_(model, Int8WeightOnlyConfig())
    return model


@pytest.mark.parametrize(
    ("make", "config", "said"),
    [
        (network, ParetoQConfig(bits=2, step="convert"), "this Linear was not prepared: call quantize_ with"),
        (on_meta, ParetoQConfig(), "on the meta device and has no values; load the weights first"),
        (quantized_by_torchao, ParetoQConfig(), "was quantised by another method .its weight is"),
        (packed_network, ParetoQConfig(), "holds low-bit codes already; quantise a model once"),
        (packed_network, PostTrainingConfig(), "holds low-bit codes already; quantise a model once"),
        (
            lambda: nn.Conv2d(1, 1, 1),
            ParetoQConfig(),
            "quantises plain linears and embeddings, not Conv2d",
        ),
        (lambda: nn.Embedding(3, 4), ParetoQConfig(), "an embedding needs embedding_bits, 4 or 8"),
        (lambda: nn.Embedding(3, 4), MatQuantConfig(), "MatQuantConfig quantises nn.Linear"),
    ],
)
def test_modules_that_cannot_be(make, config, said):
    with pytest.raises(ValueError, match=said):
        quantize_(
            make(), config, filter_fn=lambda module, name: not isinstance(module, nn.Sequential | nn.Tanh)
        )


def test_preparing_twice():
    model = network()
    quantize_(model, ParetoQConfig(bits=2))
    with pytest.raises(ValueError, match="was prepared before; train it, then use step='convert'"):
        quantize_(model, ParetoQConfig(bits=2))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ParetoQConfig(bits=5), "no weight format has 5 bits; choose one of 1, 1.58"),
        (lambda: ParetoQConfig(bits=16), "16 bits quantise nothing"),
        (lambda: ParetoQConfig(step="train"), "step must be 'prepare', before training, or 'convert'"),
        (lambda: ParetoQConfig(embedding_bits=3), "no weight format has 3"),
        (lambda: MatQuantConfig(bits=9), "a slice has 2 to 8 bits, not 9"),
        (lambda: PostTrainingConfig(bits=16), "16 bits quantise nothing"),
    ],
)
def test_configs_that_cannot_be(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_inputs_of_another_width():
    with pytest.raises(ValueError, match="the input has 32 columns, and the weight 33"):
        F.linear(X[:, :32], packed_network()[0].weight)


def test_a_filter_serves_copies_of_the_model():
    """compare quantises copies: a tied head is kept there too."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 9, bias=False))
    model[2].weight = model[0].weight
    chooses = linears(model)
    made = copy.deepcopy(model)
    quantize_(made, ParetoQConfig(bits=2), filter_fn=chooses)
    assert [type(part).__name__ for part in made] == ["Embedding", "PreparedLinear", "Linear"]


def test_bytes_of_weights():
    model = nn.Sequential(nn.Linear(64, 64, bias=False))
    assert nbytes(model) == 4 * 64 * 64
    quantize_(model, Int8WeightOnlyConfig())
    assert 64 * 64 < nbytes(model) < 1.2 * 64 * 64


def test_other_bits_than_prepared():
    model = network()
    quantize_(model, ParetoQConfig(bits=4))
    with pytest.raises(ValueError, match="this linear was prepared at 4 bits, not 2; convert it as it is"):
        quantize_(model, ParetoQConfig(bits=2, step="convert"))
    with pytest.raises(ValueError, match="was prepared by ParetoQConfig; convert it with that"):
        quantize_(model, MatQuantConfig(step="convert"))
    with pytest.raises(ValueError, match="nothing in this model was prepared by MatQuantConfig"):
        set_width(model, 2)
    nested = network()
    quantize_(nested, MatQuantConfig())
    with pytest.raises(ValueError, match="no slice of 9 bits: MatQuantConfig prepares slices of 2 to 8"):
        set_width(nested, 9)
    with pytest.raises(ValueError, match="this linear was prepared by MatQuantConfig; convert it with that"):
        quantize_(nested, ParetoQConfig(bits=8 / 2, step="convert"))


def test_copies_convert():
    """Grids of a copy are equal to those of the table, and not the same objects."""
    model = network()
    quantize_(model, ParetoQConfig(bits=1.58))
    made = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    for one in (model, made):
        quantize_(one, ParetoQConfig(bits=1.58, step="convert"))
    assert made[0].weight.quantized().equals(model[0].weight.quantized())


def test_a_step_that_is_set_later_is_checked():
    config = ParetoQConfig()
    config.step = "convrt"
    with pytest.raises(ValueError, match="step must be 'prepare', before training, or 'convert'"):
        quantize_(network(), config)


def test_configs_are_saved_and_follow_their_bits():
    config = PostTrainingConfig(bits=4)
    config.bits = 2
    model = network()
    quantize_(model, config_from_dict(config_to_dict(config)))
    assert model[0].weight.quantized().equals(quantize_min_max(network()[0].weight, config.grid))
    assert config.grid.bits == 2


@pytest.mark.parametrize("config", [ParetoQConfig(bits=2), MatQuantConfig()], ids=["ParetoQ", "MatQuant"])
def test_what_is_frozen_stays_frozen(config):
    model = network()
    model[0].weight.requires_grad_(False)
    quantize_(model, config)
    assert not any(p.requires_grad for name, p in model[0].named_parameters() if name != "bias")
    assert model[0].bias.requires_grad
    assert all(parameter.requires_grad for parameter in model[2].parameters())


def test_the_padding_row_does_not_train():
    model = nn.Sequential(nn.Embedding(5, 16, padding_idx=0))
    quantize_(
        model, ParetoQConfig(embedding_bits=8), filter_fn=lambda module, _: isinstance(module, nn.Embedding)
    )
    model(torch.tensor([[0, 3]])).square().sum().backward()
    assert model[0].weight.grad[0].count_nonzero() == 0
    assert model[0].weight.grad[3].count_nonzero() > 0
    assert model[0].grid_end.grad[0] == 0


def test_the_best_of_a_comparison():
    torch.manual_seed(0)
    model, wanted = network(), network()(X)
    found = compare(
        model,
        {
            "full": None,
            "4": ParetoQConfig(bits=4),
            "2": ParetoQConfig(bits=2),
            "int8": Int8WeightOnlyConfig(),
        },
        lambda one: (one(X) - wanted).square().mean().item(),
        budget=4000,
        example=(X,),
    )
    assert found.candidates[-1].name == "full"
    assert found.candidates[-1].loss == 0
    assert found.best.bytes <= 4000
    assert all(one.milliseconds.least > 0 for one in found.candidates)
    assert "| full |" in str(found)
    assert "<svg" in found.picture().svg
    with pytest.raises(ValueError, match="nothing fits 10 bytes; the smallest is 2"):
        _ = compare(model, {"2": ParetoQConfig(bits=2)}, lambda one: 1.0, budget=10).best
    with pytest.raises(ValueError, match="evaluate returned nan for 2"):
        compare(model, {"2": ParetoQConfig(bits=2)}, lambda one: float("nan"))
