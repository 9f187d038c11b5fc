"""Elastic programs: at every width the bits of the slice's own program, from few of the file's pages."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import edge.ops
from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.random_weights import random_parent
from edge.checkpoints.slices import elastic_checkpoint, slice_grid, sliced_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.formats.slices import Nesting
from edge.formats.weight import QuantizedWeight
from edge.model.config import ModelConfig
from edge.ops.unpacked import unpacked_bytes
from edge.quantizers.nested import PARENT
from edge.runtime.load import Program
from edge.runtime.manifest import read_manifest
from export import to_pte
from export.emit import Forward
from export.lower import Options
from export.recipes import RECIPES
from export.weights import ModelWeights, skeleton
from runtime_tests.export.lowered import LOWBIT, fill, write_checkpoint
from runtime_tests.ops import runner_process
from runtime_tests.tiny import save_tiny, tiny_parent

POSITIONS = 32
OPTIONS = Options(PARENT, POSITIONS, widths=(8, 4, 2))
TOKENS = [1, 40, 7, 299, 3, 88, 12]
NEXT = 5


def with_groups(checkpoint: Checkpoint) -> Checkpoint:
    """The same codes with a scale and a zero for 32 columns each."""
    generator = torch.Generator().manual_seed(1)

    def grouped(weight: QuantizedWeight) -> QuantizedWeight:
        shape = (weight.rows, -(-weight.codes.shape[1] // 32))
        scale = (torch.rand(shape, generator=generator) * 0.01 + 0.001).to(torch.bfloat16).float()
        zero = (torch.rand(shape, generator=generator) * 255).to(torch.bfloat16).float()
        return replace(weight, scale=scale, zero=zero, group_size=32)

    return replace(checkpoint, quantized={name: grouped(w) for name, w in checkpoint.quantized.items()})


def parent_of(kind: str) -> Checkpoint:
    checkpoint = tiny_parent(3, ffn_dim=48 if kind == "groups" else 50)
    return with_groups(checkpoint) if kind == "groups" else checkpoint


@dataclass(frozen=True)
class Programs:
    """An elastic program and the programs of its slices, by bits."""

    parent: Checkpoint
    elastic: Path
    slices: dict[int, Path]


@pytest.fixture(scope="module", params=["rows", "groups"])
def programs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    directory, parent = tmp_path_factory.mktemp("elastic"), parent_of(request.param)
    write_checkpoint(elastic_checkpoint(parent), OPTIONS, directory / "elastic.pte")
    widths = (8, 7, 6, 4, 3, 2) if request.param == "rows" else (8, 4, 2)
    slices = {bits: directory / f"{bits}.pte" for bits in widths}
    for bits, path in slices.items():
        options = replace(OPTIONS, grid=slice_grid(bits, False), widths=(None,))
        write_checkpoint(sliced_checkpoint(parent, bits) if bits < 8 else parent, options, path)
    return Programs(parent, directory / "elastic.pte", slices)


def logits(program: Program) -> Tensor:
    """Of a prefill and of a decode behind it."""
    return torch.stack([program.forward(TOKENS, 0), program.forward([NEXT], len(TOKENS))])


def test_every_width_has_the_bits_of_its_own_program(programs: Programs):
    elastic = Program(programs.elastic, 1)
    assert elastic.widths == [8, 8]
    for bits in (*programs.slices, 8):
        elastic.set_width(bits)
        assert elastic.widths == [bits, bits]
        assert torch.equal(logits(elastic), logits(Program(programs.slices[bits], 1)))


@pytest.mark.parametrize("kernel", edge.ops.kernel_names())
def test_every_kernel(programs: Programs, tmp_path: Path, kernel: str):
    def written(path: Path, name: str, *flags: str) -> bytes:
        words = ["--model", path, "--tokens", "1,40,7,299", "--max-new-tokens", "3", "--eos", "303"]
        command = [edge.ops.runner_path(), *words, "--logits", tmp_path / name, *flags]
        environment = {**edge.ops.runner_environment(), "EDGE_FORCE_KERNEL": kernel}
        ran = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
        if "lacks" in ran.stderr:
            pytest.skip(ran.stderr.strip())
        assert ran.returncode == 0, ran.stderr
        return (tmp_path / name).read_bytes()

    for bits in programs.slices:
        elastic = written(programs.elastic, "elastic", "--width", str(bits))
        assert elastic == written(programs.slices[bits], "slice")


def eager(programs: Programs, steps: Sequence[tuple[list[int], int, list[int]]]) -> Tensor:
    """Run tokens from a position on at the widths of the layers, in eager PyTorch with one KV cache."""
    checkpoint = elastic_checkpoint(programs.parent)
    model = skeleton(checkpoint, POSITIONS)
    weights = ModelWeights(checkpoint, LOWBIT.plan(checkpoint, PARENT), OPTIONS.table_grids)
    lowered = LOWBIT.lower(model, weights, OPTIONS)
    fill(lowered, weights)
    forward = Forward(lowered, POSITIONS)
    found = []
    for tokens, position, widths in steps:
        forward.get_buffer("widths").copy_(torch.tensor(widths, dtype=torch.uint8))
        with torch.no_grad():
            found.append(forward(torch.tensor([tokens]), torch.tensor([position])).reshape(-1).clone())
    return torch.stack(found)


def test_the_width_changes_between_tokens_and_by_layer(programs: Programs):
    steps = [(TOKENS, 0, [8, 8]), ([5], 7, [2, 2]), ([9], 8, [2, 4]), ([200], 9, [3, 8])]
    program, found = Program(programs.elastic, 1), []
    for tokens, position, widths in steps:
        program.set_width(widths)
        found.append(program.forward(tokens, position))
    assert torch.equal(torch.stack(found), eager(programs, steps))


def test_slices_are_freed_unless_they_are_to_be_kept(programs: Programs):
    program = Program(programs.elastic, 1)
    program.set_width(8)
    logits(program)
    eight = unpacked_bytes()
    program.set_width(2)
    logits(program)
    assert unpacked_bytes() == 0 < eight  # two bits are run where they lie in the file
    program.set_width(4, keep=True)
    logits(program)
    four = unpacked_bytes()
    program.set_width(8, keep=True)
    logits(program)
    assert unpacked_bytes() == four + eight
    del program


@pytest.mark.parametrize(
    ("widths", "sentence"),
    [
        (9, "holds 2 to 8 bits, not 9"),
        (1, "holds 2 to 8 bits, not 1"),
        ([8, 4, 2], "has 2 layers, and 3 widths were given"),
    ],
)
def test_widths_that_a_program_does_not_hold(programs: Programs, widths: int | list[int], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        Program(programs.elastic, 1).set_width(widths)
    words = ",".join(map(str, widths)) if isinstance(widths, list) else str(widths)
    refusal = runner_process.refused("--model", programs.elastic, "--tokens", "1", "--width", words)
    assert sentence in refusal or "--width must be" in refusal


def test_other_programs_have_no_width(programs: Programs):
    program = Program(programs.slices[4], 1)
    assert program.widths == []
    with pytest.raises(ValueError, match="not elastic"):
        program.set_width(2)
    refusal = runner_process.refused("--model", programs.slices[4], "--tokens", "1", "--width", "2")
    assert "not elastic" in refusal


def test_the_width_stays_while_a_program_runs(programs: Programs):
    program = Program(programs.elastic, 1)
    with program._running, pytest.raises(ValueError, match="change it between tokens"):
        program.set_width(2)


def test_a_damaged_part_is_refused_at_the_widths_that_need_it(programs: Programs, tmp_path: Path):
    data = bytearray(programs.elastic.read_bytes())
    low = data.index(
        b"LBW1" + (2).to_bytes(2, "little") + (11).to_bytes(2, "little")
    )  # bits3, the first table
    data[low + 8] ^= 1
    (tmp_path / "model.pte").write_bytes(data)
    program = Program(tmp_path / "model.pte", 1)
    program.set_width(4)
    assert logits(program).isfinite().all()
    program.set_width(8)
    with pytest.raises(ValueError, match="failed at position 0"):
        program.forward(TOKENS, 0)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, Path]:
    """A program whose tables have many pages, the bytes of its linears, and its 2-bit slice's program."""
    config = ModelConfig(
        vocab_size=304, dim=256, n_layers=4, n_heads=8, n_kv_heads=4, ffn_dim=768, head_dim=32, max_seq_len=64
    )
    directory, parent = tmp_path_factory.mktemp("larger"), random_parent(config, 0)
    program, _ = write_checkpoint(elastic_checkpoint(parent), OPTIONS, directory / "elastic.pte")
    two = replace(OPTIONS, grid=slice_grid(2, False), widths=(None,))
    write_checkpoint(sliced_checkpoint(parent, 2), two, directory / "2.pte")
    linears = sum(t.packed.numel() for name, t in program.tables.items() if name.startswith("layers"))
    return directory / "elastic.pte", linears, directory / "2.pte"


def memory(program: Path, *flags: str) -> dict[str, int]:
    words = ["--benchmark", "--prompt-length", "8", "--generate", "4", "--runs", "1", "--threads", "1"]
    ran = runner_process.run("--model", program, *words, *flags)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)["memory"]


def test_two_bits_touch_few_pages_and_take_the_memory_of_two_bits(larger: tuple[Path, int, Path]):
    elastic, linears, two = larger
    others = os.path.getsize(elastic) - linears
    narrow, wide, own = memory(elastic, "--width", "2"), memory(elastic, "--width", "8"), memory(two)
    assert narrow["model_file_bytes"] - others <= 0.3 * linears
    in_use = [m["anonymous_bytes"] + m["model_file_bytes"] for m in (narrow, wide, own)]
    assert in_use[0] <= 1.1 * in_use[2]
    assert in_use[1] > 2 * in_use[0]


def test_the_command_verifies_each_width(tmp_path: Path):
    parent = replace(tiny_parent(3), nesting=Nesting((8, 3, 2)))
    save_checkpoint(parent, tmp_path / "parent")
    words = ["--bits", "elastic", "--model", str(tmp_path / "parent"), "--output", str(tmp_path / "out")]
    assert to_pte.main(words) == 0
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.format, manifest.weights) == ("elastic", "trained")
    assert list(manifest.slices) == ["4", "3", "2"]
    proofs = [manifest.verification, *manifest.slices.values()]
    assert all(proof.program_rms <= proof.program_rms_bound for proof in proofs)
    assert len({proof.perplexity_program for proof in proofs}) == 4


@pytest.mark.parametrize("recipe", sorted(RECIPES.keys() - {"lowbit"}))
def test_other_recipes_have_no_elastic_ops(recipe: str):
    with pytest.raises(ValueError, match="is for --recipe lowbit"):
        to_pte.main(["--bits", "elastic", "--recipe", recipe])


def test_models_that_are_no_parents(tmp_path: Path):
    with pytest.raises(ValueError, match="needs a parent of 8 bits, and this model has"):
        to_pte.main(["--bits", "elastic", "--model", str(save_tiny(tmp_path / "full"))])
    extra = replace(tiny_parent(3), nesting=Nesting((8, 4, 2), extra=True))
    save_checkpoint(extra, tmp_path / "extra")
    with pytest.raises(ValueError, match="export each width by itself"):
        to_pte.main(["--bits", "elastic", "--model", str(tmp_path / "extra")])
