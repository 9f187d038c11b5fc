"""Min-max quantisation against a slow version, and exactly through training's end, checkpoint and program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge.checkpoints.convert import build_model, to_checkpoint
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats import GRIDS, Grid, grid_for_bits
from edge.model.decoder import named_linears
from edge.quantizers.base import OnGrid
from edge.quantizers.methods import MIN_MAX
from edge.quantizers.minmax import MinMaxLinear, quantize_min_max
from edge.quantizers.plan import Plan
from edge.runtime.manifest import read_manifest
from edge.training.train import main as training
from export import to_pte
from runtime_tests.tiny import tiny_model
from runtime_tests.training.tiny_run import command

every_grid = pytest.mark.parametrize("grid", [g for g in GRIDS if g.zero is None], ids=lambda g: g.name)


@every_grid
@given(
    rows=st.lists(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=4)
)
def test_a_weight_moves_by_half_a_step_at_most_and_the_ends_hardly(grid: Grid, rows: list[list[float]]):
    weight = torch.tensor(rows)
    stored = quantize_min_max(weight, grid)
    values = stored.dequantize()
    for row, low, high in zip(range(len(rows)), weight.amin(1), weight.amax(1), strict=True):
        step = float(high - low) / (grid.levels - 1)
        slack = 1e-5 * float(weight[row].abs().max()) + 1e-30
        assert bool(((values[row] - weight[row]).abs() <= step / 2 + slack).all())
        assert abs(float(values[row].min() - low)) <= slack
        assert abs(float(values[row].max() - high)) <= slack


@every_grid
def test_a_row_of_one_value_keeps_it(grid: Grid):
    weight = torch.tensor([[0.3] * 4, [-2.5] * 4, [0.0] * 4])
    assert torch.equal(quantize_min_max(weight, grid).dequantize(), weight)


@every_grid
def test_the_forward_pass_computes_with_the_rounded_weight_and_passes_gradients(grid: Grid):
    linear = MinMaxLinear(torch.randn(6, 20, generator=torch.Generator().manual_seed(0)), grid)
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(1))
    y = linear(x)
    assert torch.equal(y, x @ linear.quantized().dequantize().T)
    y.sum().backward()
    assert torch.allclose(linear.weight.grad, x.sum(0).expand(6, 20))


@pytest.mark.parametrize("bits", [1, 1.58, 2, 3, 4, 6, 8])
def test_codes_and_zeros_reach_the_checkpoint_exactly(bits: float, tmp_path: Path):
    grid = grid_for_bits(bits, asymmetric=True)
    model = MIN_MAX.finish(MIN_MAX.prepare(tiny_model(), Plan(grid))).eval()
    stored = {name: linear.quantized() for name, linear in named_linears(model).items()}
    tokens = torch.arange(20)[None]
    save_checkpoint(to_checkpoint(model, None), tmp_path / "trained")
    opened = open_model(tmp_path / "trained")
    assert opened.plan == Plan(grid)
    again = build_model(opened)
    for name, linear in named_linears(again).items():
        assert isinstance(linear, OnGrid)
        assert linear.quantized().equals(stored[name])
    with torch.no_grad():
        assert torch.equal(again(tokens), model(tokens))  # the embedding was kept in float32
    save_packed_checkpoint(opened, tmp_path / "small")
    small = open_model(tmp_path / "small")
    assert all(small.quantized[name].equals(weight) for name, weight in stored.items())


def test_a_quantised_embedding_is_refused():
    plan = Plan(grid_for_bits(2, asymmetric=True), embedding_format=grid_for_bits(8))
    with pytest.raises(ValueError, match="--method minmax keeps embedding and head"):
        MIN_MAX.prepare(tiny_model(), plan)


@pytest.mark.parametrize("bits", ["1.58", "2", "6"])
def test_a_model_trained_by_the_command_is_exported_with_its_zeros(
    bits: str, full: Path, text: Path, tmp_path: Path
):
    """Tests ``--method minmax`` through to a verified program on the grid that was trained."""
    flags = command(tmp_path / "low", text, model=full, bits=bits, method="minmax", steps=2)
    assert training(flags) == 0
    checkpoint = open_model(tmp_path / "low")
    grid = grid_for_bits(bits, asymmetric=True)
    assert checkpoint.plan == Plan(grid)
    assert all(isinstance(weight.zero, torch.Tensor) for weight in checkpoint.quantized.values())
    out = tmp_path / "program"
    assert to_pte.main(["--bits", bits, "--model", str(tmp_path / "low"), "--output", str(out)]) == 0
    manifest = read_manifest(out)
    assert (manifest.format, manifest.weights) == (grid.name, "trained")
    assert manifest.verification.prefill_rms == 0.0
    with pytest.raises(ValueError, match="its learned grids are kept: export it with --bits"):
        to_pte.main(["--bits", "4", "--model", str(tmp_path / "low"), "--output", str(tmp_path / "no")])
