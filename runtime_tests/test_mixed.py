"""Models of mixed widths, drawn at random: trained, saved, packed, exported and evaluated."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.hugging_face import linear_names, load_checkpoint
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.evaluation.candidate import open_candidate
from edge.formats import FULL_PRECISION, LINEAR_GRIDS, grid_for_bits
from edge.model.decoder import named_linears
from edge.ops.packing import dequantize, read_header
from edge.quantizers.paretoq import LearnedGrid
from edge.quantizers.plan import Plan
from edge.runtime.manifest import read_manifest
from edge.training import train
from export import to_pte
from export.lower import Options
from export.tables import PackedTable, packed_tables
from runtime_tests.export.lowered import fill, lower, weights_of
from runtime_tests.tiny import TEXT, save_tiny

WIDTHS = (1, 1.58, 2, 3, 4)
#: Each pattern, and its meaning as a function.
PATTERNS: dict[str, Callable[[str], bool]] = {
    "layers.0.*": lambda name: name.startswith("layers.0."),
    "layers.1.mlp.*": lambda name: name.startswith("layers.1.mlp."),
    "*.down_proj": lambda name: name.endswith(".down_proj"),
    "*.[qk]_proj": lambda name: name[-6:] in ("q_proj", "k_proj"),
    "*.up_proj": lambda name: name.endswith(".up_proj"),
    "layers.1.self_attn.v_proj": lambda name: name == "layers.1.self_attn.v_proj",
}


class Drawn:
    """A checkpoint of random widths after two steps of training, and the widths it should have."""

    def __init__(self, seed: int, directory: Path) -> None:
        draw = random.Random(seed)
        self.tied, self.directory = seed % 2 == 0, directory
        self.bits, self.embedding_bits = draw.choice(WIDTHS), (4, 8, 16)[seed % 3]
        patterns = draw.sample(sorted(PATTERNS), 3)
        widths = [draw.choice([w for w in (*WIDTHS, 16) if w != self.bits]) for _ in patterns]
        # gate and up are a whole number of blocks of 16 rows each, so they share a table where they can
        full = save_tiny(directory / "full", tied_embedding=self.tied, ffn_dim=48)
        names = linear_names(load_checkpoint(full).config)
        self.widths = dict.fromkeys(names, self.bits)
        for pattern, width in zip(patterns, widths, strict=True):
            self.widths |= {name: width for name in names if PATTERNS[pattern](name)}
        text = directory / "text.txt"
        text.write_text(TEXT)
        mixed = [f"{pattern}={width:g}" for pattern, width in zip(patterns, widths, strict=True)]
        words = ["--model", str(full), "--output", str(directory / "low"), "--data", str(text)]
        words += ["--eval-data", f"{text}:200", "--mixed", *mixed]
        flags = f"--bits {self.bits} --embedding-bits {self.embedding_bits} --steps 2 --learning-rate 1e-2"
        train.main([*words, *flags.split(), *["--context", "16", "--batch-size", "4", "--use_cpu", "True"]])
        self.checkpoint = load_checkpoint(directory / "low")


@pytest.fixture(scope="module", params=range(6), ids="seed{}".format)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return Drawn(request.param, tmp_path_factory.mktemp("mixed"))


def grids(checkpoint: Checkpoint) -> dict[str, LearnedGrid]:
    modules = build_model(checkpoint).named_modules()
    return {name: module for name, module in modules if isinstance(module, LearnedGrid)}


def tables_of(checkpoint: Checkpoint) -> dict[str, PackedTable]:
    """The packed tables of a checkpoint's lowered model, by name."""
    embedding = checkpoint.plan.embedding_format
    embedding_bits = int(embedding.bits) if embedding.is_quantized else 8
    options = Options(checkpoint.plan.default, 16, embedding_bits)
    model = build_model(checkpoint)
    lowered = lower(model, options)
    fill(lowered, weights_of(model, options))
    return packed_tables(lowered)


def test_every_part_is_trained_at_its_width(drawn: Drawn) -> None:
    tables_at = {"embed_tokens"} if drawn.tied else {"embed_tokens", "lm_head"}
    expected = {name: bits for name, bits in drawn.widths.items() if bits != 16}
    expected |= dict.fromkeys(tables_at, drawn.embedding_bits) if drawn.embedding_bits != 16 else {}
    assert {name: module.grid.bits for name, module in grids(drawn.checkpoint).items()} == expected
    assert drawn.checkpoint.plan.default.bits == drawn.bits
    before = load_file(drawn.directory / "full" / "model.safetensors")
    after = load_file(drawn.directory / "low" / "model.safetensors")
    for name in before:  # all of them were trained, on a grid or not
        assert not torch.equal(before[name], after[name]), name


def test_packed_tables_are_the_fake_quantised_weights(drawn: Drawn, tmp_path: Path) -> None:
    save_packed_checkpoint(drawn.checkpoint, tmp_path / "packed")
    packed, opened = load_file(tmp_path / "packed/model.safetensors"), open_model(tmp_path / "packed")
    assert opened.plan == drawn.checkpoint.plan
    learned = grids(drawn.checkpoint)
    assert opened.quantized.keys() == learned.keys()
    for name, grid in learned.items():
        values = dequantize(packed[("" if name == "lm_head" else "model.") + name + ".packed"])
        assert torch.equal(values, grid.quantized_weight()), name
        assert torch.equal(opened.weights[f"{name}.weight"], values), name
    for name in drawn.widths.keys() - learned.keys():
        half = drawn.checkpoint.weights[f"{name}.weight"].half()
        assert torch.equal(opened.weights[f"{name}.weight"], half.float()), name
    save_packed_checkpoint(opened, tmp_path / "again")
    for path in (tmp_path / "packed").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    first, second = (tables_of(checkpoint) for checkpoint in (drawn.checkpoint, opened))
    assert all(torch.equal(first[name].packed, second[name].packed) for name in first.keys() | second.keys())


def test_a_programs_tables_are_the_fake_quantised_weights(drawn: Drawn) -> None:
    """Linears of one input share a table if and only if they share a format."""
    model = build_model(drawn.checkpoint)
    of: dict[str, tuple[str, torch.Tensor]] = {}
    for table_name, table in tables_of(drawn.checkpoint).items():
        rows = dequantize(table.packed).split(list(table.rows.values()))
        of |= {name: (table_name, values) for name, values in zip(table.rows, rows, strict=True)}
        widths = {drawn.widths.get(name) for name in table.rows}
        encoding = read_header(table.packed).encoding
        assert widths in ({None}, {grid.bits for grid in LINEAR_GRIDS if grid.encoding is encoding})
    for name, linear in named_linears(model).items():
        exact = linear.quantized_weight() if isinstance(linear, LearnedGrid) else linear.weight.half().float()
        assert torch.equal(of[name][1], exact), name
    if drawn.embedding_bits != 16:
        assert torch.equal(of["embed_tokens"][1], model.embed_tokens.quantized_weight())
    for layer in ("layers.0", "layers.1"):
        for parts in (["q_proj", "k_proj", "v_proj"], ["gate_proj", "up_proj"]):
            names = [f"{layer}.{'self_attn' if len(parts) == 3 else 'mlp'}.{part}" for part in parts]
            shared = len({of[name][0] for name in names}) == 1
            assert shared == (len({drawn.widths[name] for name in names}) == 1), names


def test_a_program_is_verified_and_says_what_it_is(drawn: Drawn, tmp_path: Path) -> None:
    """Each program passes the verification at export, and its manifest has the widths."""
    source, out = drawn.directory / "low", tmp_path / "out"
    to_pte.main(["--bits", f"{drawn.bits:g}", "--model", str(source), "--output", str(out)])
    manifest = read_manifest(out)
    assert manifest.format == "mixed"
    assert {name: grid_for_bits(bits).name for name, bits in drawn.widths.items()} == manifest.formats
    assert manifest.embedding_bits == (8 if drawn.embedding_bits == 16 else drawn.embedding_bits)
    assert manifest.embedding_learned == (drawn.embedding_bits != 16)
    assert manifest.verification.prefill_rms == 0.0
    subjects = [open_candidate(str(path)) for path in (source, out)]
    assert [subject.facts.bits for subject in subjects] == [manifest.bits] * 2
    assert manifest.bits == drawn.checkpoint.bits
    assert (subjects[1].bounds is None) == (16 in drawn.widths.values())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    linears = {"layers.0.mlp.up_proj": grid_for_bits(4), "layers.1.mlp.up_proj": FULL_PRECISION}
    plan = Plan(grid_for_bits(2), linears, grid_for_bits(4))
    return save_tiny(tmp_path_factory.mktemp("one") / "mixed", plan=plan)


def test_the_exporter_keeps_what_was_learned(mixed: Path, tmp_path: Path) -> None:
    flags = ["--model", str(mixed), "--output", str(tmp_path / "out")]
    sentence = (
        "mixed was trained at 2 bits, 4 in layers.0.mlp.up_proj, 16 in layers.1.mlp.up_proj, 4 in the "
        "embedding, and its learned grids are kept: export it with --bits 2"
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        to_pte.main(["--bits", "4", *flags])
    for bits in (8, 16):
        sentence = "the token embedding was trained at 4 bits and its learned grid is kept: export it with "
        with pytest.raises(ValueError, match=f"{sentence}--embedding-bits 4, or without that option"):
            to_pte.main(["--bits", "2", "--embedding-bits", str(bits), *flags])
    for recipe in ("fp32", "xnnpack-8da4w"):
        with pytest.raises(ValueError, match=f"--recipe {recipe} "):
            to_pte.main(["--bits", "2", "--recipe", recipe, *flags])
    assert list(tmp_path.iterdir()) == []


def test_a_mixed_program_says_so(mixed: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_pte.main(["--bits", "2", "--model", str(mixed), "--embedding-bits", "4"]) == 0
    manifest = read_manifest(tmp_path / "exported/mixed-mixed")
    assert f"{manifest.bits:g} bits (mixed), trained weights" in capsys.readouterr().out
    assert 2 < manifest.bits < manifest.linear_bits_per_weight
