"""Checkpoints in the form in which ParetoQ's are published: on a grid, without scales, in a .bin."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model, with_latents
from edge.checkpoints.on_grid import codes_on, recognise
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.formats import grid_for_bits
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.checkpoints.published_form import LEVELS, LINEARS, on_levels, published, write

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
W_BITS = {1: 1, 1.58: 0, 2: 2, 3: 3, 4: 4}
NAME = "layers.0.mlp.up_proj"


def found_bits(checkpoint: Checkpoint) -> set[float]:
    return {checkpoint.plan.of(name).bits for name in checkpoint.quantized}


@pytest.mark.parametrize("form", ["bin", "shards", "safetensors"])
@pytest.mark.parametrize("bits", LEVELS)
def test_every_stored_weight_comes_back(tmp_path, bits, form):
    tensors = published(bits)
    checkpoint = open_model(write(tmp_path / "model", tensors, None, form))
    assert found_bits(checkpoint) == {bits}
    assert checkpoint.config.tied_embedding
    assert len(checkpoint.quantized) == 2 * len(LINEARS)
    for name, stored in checkpoint.quantized.items():
        assert torch.equal(stored.dequantize().bfloat16(), tensors[f"model.{name}.weight"])
        assert torch.equal(stored.dequantize(), checkpoint.weights[f"{name}.weight"])


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32])
@pytest.mark.parametrize("bits", LEVELS)
@pytest.mark.parametrize("shape", [(3, 24), (64, 100), (200, 576)])
def test_all_widths_and_dtypes(shape, bits, dtype):
    for seed in range(3):
        weight = on_levels(shape, bits, dtype, seed)
        ((grid, scale),) = recognise({NAME: weight}, None).values()
        assert grid.bits == bits
        assert torch.equal(codes_on(weight, scale, grid).dequantize().to(dtype), weight)


@pytest.mark.parametrize("said", [None, 16, 32, "right"])
@pytest.mark.parametrize("bits", LEVELS)
def test_whatever_the_config_says(tmp_path, bits, said):
    w_bits = W_BITS[bits] if said == "right" else said
    assert found_bits(open_model(write(tmp_path / "model", published(bits), w_bits))) == {bits}


def test_a_width_that_config_names_is_kept_if_it_fits_too(tmp_path):
    """Every 2-bit row is a 3-bit row with other scales: both are exact, and the narrower one is smaller."""
    assert found_bits(open_model(write(tmp_path / "three", published(2), 3))) == {3}
    assert found_bits(open_model(write(tmp_path / "two", published(2), None))) == {2}
    assert found_bits(open_model(write(tmp_path / "one", published(2), 1))) == {2}


@pytest.mark.parametrize("bits", LEVELS)
def test_rows_of_zeros_and_of_few_levels(bits):
    levels = torch.tensor(LEVELS[bits], dtype=torch.float64)
    weight = on_levels((40, 64), bits, BF16, 0)
    weight[3] = 0
    for row, level in enumerate(levels.tolist(), start=4):  # one level only
        weight[row] = torch.tensor(level * 0.0371).bfloat16()
    weight[20, 1:] = weight[20, 0]
    ((grid, scale),) = recognise({NAME: weight}, None).values()
    assert grid.bits == bits
    assert torch.equal(codes_on(weight, scale, grid).dequantize().bfloat16(), weight)


def test_a_two_bit_row_of_two_levels_does_not_change_the_width():
    weight = on_levels((40, 64), 2, BF16, 0)
    alpha = 0.123
    weight[7] = torch.where(torch.arange(64) % 2 == 0, -0.25 * alpha, 0.25 * alpha).bfloat16()
    weight[8] = torch.where(torch.arange(64) % 2 == 0, -0.75 * alpha, 0.25 * alpha).bfloat16()
    ((grid, scale),) = recognise({NAME: weight}, None).values()
    assert grid.bits == 2
    assert torch.equal(codes_on(weight, scale, grid).dequantize().bfloat16(), weight)


@pytest.mark.parametrize("dtype", [BF16, FP16, FP32])
def test_ordinary_weights_are_on_no_grid(dtype):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 100, generator=generator).to(dtype)
    assert recognise({NAME: weight, "layers.1.mlp.up_proj": torch.zeros(8, 100, dtype=dtype)}, None) == {}


@pytest.mark.parametrize("row", [0, 17, 39])
def test_one_row_off_the_grid_is_named(row):
    weight = on_levels((40, 64), 4, BF16, 0)
    weight[row] = torch.randn(64, generator=torch.Generator().manual_seed(1)).bfloat16()
    with pytest.raises(ValueError, match=rf"model.{NAME}.weight: row {row} is on no grid of 1 to 4 bits"):
        recognise({NAME: weight}, None)


def test_one_value_off_by_the_last_bit_is_noticed():
    weight = on_levels((40, 64), 4, FP16, 0)
    weight.view(torch.int16)[11, 5] += 1
    with pytest.raises(ValueError, match="row 11 is on no grid"):
        recognise({NAME: weight}, None)


def test_scales_that_were_dropped_are_named(tmp_path):
    """A program that does not know weight_clip_val loads and saves the latent weights alone."""
    latent = published(2)
    for name in latent:
        if name.split(".")[-2] in LINEARS:
            latent[name].uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="on no grid: a program that loaded and saved it dropped the scales"):
        open_model(write(tmp_path / "model", latent, 2))


def test_export_is_exact_and_another_width_is_refused(tmp_path, capsys):
    directory = write(tmp_path / "model", published(2), None)
    with pytest.raises(ValueError, match=r"trained at .*2.*: export it with --bits 2"):
        to_pte.main(["--bits", "4", "--model", str(directory), "--output", str(tmp_path / "four")])
    to_pte.main(["--bits", "2", "--model", str(directory), "--output", str(tmp_path / "two")])
    manifest = read_manifest(tmp_path / "two")
    assert manifest.weights == "trained"
    assert manifest.verification.exact_tables == 2 * 5 + 1


@pytest.mark.parametrize("bits", LEVELS)
def test_a_packed_copy_and_a_start_of_training_have_the_same_weights(tmp_path, bits):
    checkpoint = open_model(write(tmp_path / "model", published(bits), None))
    save_packed_checkpoint(checkpoint, tmp_path / "packed")
    again, latent = open_model(tmp_path / "packed"), with_latents(checkpoint)
    tokens = torch.arange(3, 20)[None]
    with torch.no_grad():
        wanted = build_model(checkpoint)(tokens)[0]
        assert torch.allclose(build_model(latent)(tokens)[0], wanted, atol=1e-4)
    for name, stored in checkpoint.quantized.items():
        assert again.quantized[name].equals(stored)
    assert grid_for_bits(bits) in {again.plan.of(name) for name in again.quantized}


class Runs:
    """Runs code where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_bin_that_holds_more_than_tensors_runs_nothing(tmp_path):
    directory, trap = write(tmp_path / "model", published(2), 2), tmp_path / "trap"
    torch.save(published(2) | {"more": Runs(trap)}, directory / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds more than tensors, which could run code"):
        open_model(directory)
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Runs(trap)))
    with pytest.raises(ValueError, match=r"pytorch_model.bin (is truncated|holds more)"):
        open_model(directory)
    assert not trap.exists()


@pytest.mark.parametrize(
    "content", [[1, 2], {"a": 1}, {1: torch.zeros(2)}, {"a": torch.zeros(2).to_sparse()}]
)
def test_a_bin_that_is_no_table_of_tensors(tmp_path, content):
    directory = write(tmp_path / "model", published(2), 2)
    torch.save(content, directory / "pytorch_model.bin")
    with pytest.raises(ValueError, match="is no table of tensors by name"):
        open_model(directory)


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_a_truncated_bin(tmp_path, keep):
    directory = write(tmp_path / "model", published(2), 2)
    data = (directory / "pytorch_model.bin").read_bytes()
    (directory / "pytorch_model.bin").write_bytes(data[:keep])
    with pytest.raises(ValueError, match=r"pytorch_model.bin (is truncated|holds more than)"):
        open_model(directory)


def test_safetensors_win(tmp_path):
    directory = write(tmp_path / "model", published(2), None, "safetensors")
    (directory / "pytorch_model.bin").write_bytes(b"not read")
    assert found_bits(open_model(directory)) == {2}


def test_a_lost_shard(tmp_path):
    directory = write(tmp_path / "model", published(2), None, "shards")
    (directory / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ValueError, match=r"lacks files that its pytorch_model.bin.index.json lists"):
        open_model(directory)
