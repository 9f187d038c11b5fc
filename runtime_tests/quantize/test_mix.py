"""Mix'n'Match: patterns, the search for a budget against all mixtures, and what is exported for it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from edge.checkpoints.packed import open_model
from edge.checkpoints.slices import layer_of, mixed_slices
from edge.checkpoints.write import save_checkpoint
from edge.evaluation.candidate import open_candidate
from edge.evaluation.perplexity import file_perplexity
from edge.formats.slices import sliced
from edge.quantize.mix import costs
from edge.quantize.mix.__main__ import WIDTHS, main
from edge.quantize.mix.patterns import PATTERNS
from edge.quantize.mix.search import best_mixtures, within
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.tiny import TEXT, save_tiny, tiny_config, tiny_parent

LAYERS = 3
#: Rows are whole blocks of 16, so that costs are those of a program but for some headers.
SHAPE = {"n_layers": LAYERS, "dim": 64, "ffn_dim": 96, "head_dim": 16}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("parent") / "parent"
    save_checkpoint(tiny_parent(4, **SHAPE), directory)
    return directory


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return f"{path}:300"


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("pyramid", [2, 2, 4, 8, 8, 4, 2, 2]),
        ("reverse-pyramid", [8, 8, 4, 2, 2, 4, 8, 8]),
        ("increasing", [2, 2, 2, 4, 4, 8, 8, 8]),
        ("decreasing", [8, 8, 8, 4, 4, 2, 2, 2]),
    ],
)
def test_patterns(name: str, widths: list[int]):
    assert PATTERNS[name](8) == widths
    assert len(PATTERNS[name](1)) == 1


def test_the_search_finds_what_trying_all_mixtures_finds():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        losses = [
            dict(zip(WIDTHS, row, strict=True)) for row in torch.rand(4, 5, generator=generator).tolist()
        ]
        sizes = torch.randint(1, 9, (4,), generator=generator).tolist()
        costs = [{width: float(width * size) for width in WIDTHS} for size in sizes]
        every = [
            (
                sum(c[w] for c, w in zip(costs, mix, strict=True)),
                sum(x[w] for x, w in zip(losses, mix, strict=True)),
            )
            for mix in itertools.product(WIDTHS, repeat=4)
        ]
        front = best_mixtures(losses, costs)
        for budget in (sum(sizes) * 2.5, sum(sizes) * 3.7, sum(sizes) * 5.2, sum(sizes) * 8.0):
            found = within(front, budget)
            assert found.cost <= budget
            best = min(loss for cost, loss in every if cost <= budget)
            # Costs are rounded up to 4096ths, so a mixture that costs the budget to the byte may be missed.
            nearly = min(loss for cost, loss in every if cost <= budget * (1 - 4 * 4 / 4096))
            assert best <= found.loss + 1e-12
            assert found.loss <= nearly + 1e-12


def test_a_budget_that_nothing_fits():
    front = best_mixtures([{8: 0.0, 2: 1.0}], [{8: 8.0, 2: 2.0}])
    with pytest.raises(ValueError, match="2"):
        within(front, 1.9)


def test_every_layer_has_its_slice(parent: Path):
    whole, mixed = open_model(parent), mixed_slices(open_model(parent), [8, 2, 3])
    for name, weight in whole.quantized.items():
        assert mixed.quantized[name].equals(sliced(weight, [8, 2, 3][layer_of(name)]))
    assert {mixed.plan.of(name).bits for name in whole.quantized} == {8, 2, 3}


def test_layers_by_hand_are_exported_as_they_were_written(parent: Path, text: str, tmp_path: Path):
    assert main(["--model", str(parent), "--layers", "2,4,2", "--output", str(tmp_path / "mixed")]) == 0
    assert (
        to_pte.main(["--bits", "2", "--model", str(tmp_path / "mixed"), "--output", str(tmp_path / "out")])
        == 0
    )
    formats = read_manifest(tmp_path / "out").formats
    assert {layer_of(name): kind for name, kind in formats.items()} == {0: "uint2", 1: "uint4", 2: "uint2"}
    eager = file_perplexity(open_candidate(str(tmp_path / "mixed")), text, None).value
    program = file_perplexity(open_candidate(str(tmp_path / "out")), text, None).value
    assert program == pytest.approx(eager, rel=0.02)


def test_a_program_fits_the_budget_that_it_was_made_for(
    parent: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def size(bits: str, model: Path, name: str) -> int:
        assert to_pte.main(["--bits", bits, "--model", str(model), "--output", str(tmp_path / name)]) == 0
        return read_manifest(tmp_path / name).program.bytes

    def here(module: str, *words: str) -> None:
        """Run a command in this process, which is quicker."""
        assert import_module(module).main(list(words)) == 0

    monkeypatch.setattr(costs, "run", here)
    budget = size("2", parent, "two") + 9000
    words = ["--model", str(parent), "--budget", f"{budget / 1e3}KB", "--calibration", text]
    assert main([*words, "--eval-data", text, "--output", str(tmp_path / "mixed")]) == 0
    assert (tmp_path / "mixed" / "mix.png").is_file()
    record = json.loads((tmp_path / "mixed" / "mix.json").read_text())
    bits = f"{open_model(tmp_path / 'mixed').plan.default.bits:g}"
    exported = size(bits, tmp_path / "mixed", "mixed-program")
    assert exported <= budget
    assert record["chosen"]["cost"] + record["others"] == pytest.approx(exported, rel=0.03)
    own = [point for point in record["measured"]["searched"] if point["widths"] == record["chosen"]["widths"]]
    read = file_perplexity(open_candidate(str(tmp_path / "mixed")), text, None).value
    assert own[0]["perplexity"] == pytest.approx(read, rel=1e-5)


def test_a_budget_of_time_is_measured_with_the_elastic_program(parent: Path, text: str, tmp_path: Path):
    long = replace(open_model(parent), config=tiny_config(**SHAPE, max_seq_len=192))
    save_checkpoint(long, tmp_path / "long")
    program = tmp_path / "elastic"
    assert (
        to_pte.main(["--bits", "elastic", "--model", str(tmp_path / "long"), "--output", str(program)]) == 0
    )
    words = ["--model", str(tmp_path / "long"), "--program", str(program), "--calibration", text]
    assert main([*words, "--budget", "1000ms", "--output", str(tmp_path / "mixed")]) == 0
    assert json.loads((tmp_path / "mixed" / "mix.json").read_text())["unit"] == "ms"
    with pytest.raises(ValueError, match=r"--budget 0.00001ms is less than 0\.\d\d ms, which 2 bits take"):
        main([*words, "--budget", "0.00001ms", "--output", str(tmp_path / "none")])
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "either --layers or --budget"),
        (["--layers", "pyramid", "--budget", "1MB"], "either --layers or --budget"),
        (["--layers", "flat"], "--layers takes pyramid, .*, not 'flat'"),
        (["--layers", "2,2"], "has 3 layers, and 2 widths"),
        (["--layers", "2,2,9"], "1 to 8 bits, not 9"),
        (["--budget", "1MB"], "add --calibration"),
        (["--budget", "1GB", "--calibration", "x"], "--budget takes a number with MB, KB or ms"),
        (["--budget", "0MB", "--calibration", "x"], "--budget takes a number with MB, KB or ms"),
        (["--budget", "1ms", "--calibration", "x"], "needs --program"),
    ],
)
def test_flags_that_do_not_fit(parent: Path, tmp_path: Path, words: list[str], sentence: str):
    with pytest.raises(ValueError, match=sentence):
        main(["--model", str(parent), "--output", str(tmp_path / "out"), *words])


def test_a_model_that_is_no_parent(tmp_path: Path):
    words = ["--model", str(save_tiny(tmp_path / "full")), "--layers", "pyramid"]
    with pytest.raises(ValueError, match="only a parent of 8 bits"):
        main([*words, "--output", str(tmp_path / "out")])
