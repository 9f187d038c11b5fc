"""``--method matquant`` from the command to programs: every slice is exact, and runs go on as others do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge.checkpoints.__main__ import main as pack_command
from edge.checkpoints.packed import model_directory, open_model
from edge.checkpoints.slices import sliced_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.evaluation.candidate import open_candidate
from edge.evaluation.perplexity import file_perplexity
from edge.formats import BY_NAME
from edge.formats.slices import Nesting
from edge.model.decoder import HEAD
from edge.runtime.manifest import read_manifest
from edge.training import train
from edge.training.checkpoints import checkpoints_dir
from edge.training.monitor import read_records
from export import to_pte
from runtime_tests.formats.test_slices import slow_slice
from runtime_tests.training.launch import launch
from runtime_tests.training.tiny_run import Killed, assert_same_weights, command, kill_at

FLAGS = {"method": "matquant", "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, text: Path, full: Path) -> Path:
    """A parent of 8 bits, trained at 8, 4 and 2."""
    output = tmp_path_factory.mktemp("nested") / "parent"
    assert train.main(command(output, text, model=full, co_distill="8:2", **FLAGS)) == 0
    return output


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory, text: Path, full: Path) -> Path:
    output = tmp_path_factory.mktemp("nested") / "extra"
    assert train.main(command(output, text, model=full, extra_precision=True, **FLAGS)) == 0
    return output


def held_out(output: Path) -> dict[str, float]:
    records = [r for r in read_records(checkpoints_dir(str(output))) if "eval_loss" in r]
    return {name: loss for name, loss in records[-1].items() if name.endswith("_bits")}


def test_the_parent_says_how_it_was_trained(parent: Path):
    opened = open_model(parent)
    assert opened.nesting == Nesting((8, 4, 2))
    assert opened.plan.default is BY_NAME["uint8"]
    losses = held_out(parent)
    assert list(losses) == ["eval_loss_8_bits", "eval_loss_4_bits", "eval_loss_2_bits"]
    assert losses["eval_loss_8_bits"] != losses["eval_loss_2_bits"]


@pytest.mark.parametrize(("bits", "weights"), [(2, "trained"), (3, "sliced"), (6, "sliced"), (8, "trained")])
def test_a_program_of_any_width_holds_the_slice(parent: Path, tmp_path: Path, bits: int, weights: str):
    out = tmp_path / "program"
    assert to_pte.main(["--bits", str(bits), "--model", str(parent), "--output", str(out)]) == 0
    manifest = read_manifest(out)
    assert (manifest.format, manifest.weights) == (f"uint{bits}", weights)
    assert (manifest.verification.perplexity_full_precision is None) == (weights == "trained")
    whole, part = open_model(parent), sliced_checkpoint(open_model(parent), bits)
    for name, stored in whole.quantized.items():
        expected = [[slow_slice(code, bits, False) for code in row] for row in stored.codes.tolist()]
        assert part.quantized[name].codes.tolist() == expected
        assert torch.equal(part.quantized[name].scale, stored.scale * 2 ** (8 - bits))


def test_a_slice_reads_text_as_training_measured_it(parent: Path, text: Path, tmp_path: Path):
    save_checkpoint(sliced_checkpoint(open_model(parent), 2), tmp_path / "two")
    found = file_perplexity(open_candidate(str(tmp_path / "two")), f"{text}:200", 16)
    assert found.value == pytest.approx(math.exp(held_out(parent)["eval_loss_2_bits"]), rel=1e-5)


def test_the_command_writes_a_slice(parent: Path, tmp_path: Path):
    assert pack_command(["--model", str(parent), "--output", str(tmp_path / "two"), "--bits", "2"]) == 0
    written, expected = open_model(tmp_path / "two"), sliced_checkpoint(open_model(parent), 2)
    assert written.plan == expected.plan
    assert all(written.quantized[name].equals(weight) for name, weight in expected.quantized.items())


def test_a_head_of_8_bits_and_other_widths_are_kept(parent: Path):
    """As a model has them that another project quantised."""
    opened = open_model(parent)
    head, (kept, *rest) = BY_NAME["uint8"], list(opened.quantized)
    plan = replace(opened.plan, others={kept: BY_NAME["int8"]}, head_format=head)
    tables = {**opened.quantized, HEAD: opened.quantized[kept]}
    part = sliced_checkpoint(replace(opened, plan=plan, quantized=tables), 2)
    assert (part.plan.head_format, part.plan.of(kept), part.plan.default) == (
        head,
        BY_NAME["int8"],
        BY_NAME["uint2"],
    )
    for name in (kept, HEAD):
        assert part.quantized[name].equals(tables[name])
    assert all(part.quantized[name].encoding.codes == 4 for name in rest)


def test_extra_levels_are_stored_with_one_bit_more(extra: Path, tmp_path: Path):
    assert open_model(extra).nesting == Nesting((8, 4, 2), extra=True)
    out = tmp_path / "program"
    assert to_pte.main(["--bits", "2", "--model", str(extra), "--output", str(out)]) == 0
    assert (read_manifest(out).format, read_manifest(out).weights) == ("uint3", "trained")
    part = sliced_checkpoint(open_model(extra), 2)
    assert max(int(weight.codes.max()) for weight in part.quantized.values()) == 4


@pytest.mark.parametrize("bits", ["1.58", "5.5"])
def test_a_width_that_no_slice_has_is_refused(parent: Path, tmp_path: Path, bits: str):
    out = tmp_path / "program"
    with pytest.raises(ValueError, match=r"a slice has whole bits|no weight format has"):
        to_pte.main(["--bits", bits, "--model", str(parent), "--output", str(out)])
    assert not out.exists()


def test_other_checkpoints_are_not_sliced(parent: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="only a checkpoint of 8 bits can be sliced"):
        pack_command(["--model", "default/4bit", "--output", str(tmp_path / "no"), "--bits", "2"])
    with pytest.raises(ValueError, match="no weight format has 9 bits"):
        sliced_checkpoint(open_model(parent), 9)


def test_a_killed_run_resumes_bit_for_bit(parent: Path, text: Path, full: Path, tmp_path: Path):
    words = command(tmp_path / "out", text, model=full, co_distill="8:2", **FLAGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge.training.progress.Progress.on_step_end", kill_at(4))
        with pytest.raises(Killed):
            train.main(words)
    assert train.main(words) == 0
    assert_same_weights(parent, tmp_path / "out")


@pytest.mark.parametrize("kind", ["DDP", "FSDP2"])
def test_two_processes_train_what_one_trains(text: Path, full: Path, tmp_path: Path, kind: str):
    """But for codes that rounding may move by one, since gradients are summed in another order."""
    schedule = {"model": full, "steps": 3, **FLAGS}
    assert train.main(command(tmp_path / "alone", text, **schedule)) == 0
    words = command(tmp_path / "both", text, **{**schedule, "batch_size": 2})
    status, said = launch([*words, *(["--fsdp"] if kind == "FSDP2" else [])])
    assert status == 0, said
    assert held_out(tmp_path / "both") == pytest.approx(held_out(tmp_path / "alone"), abs=1e-3)
    one, other = (open_model(tmp_path / name).quantized for name in ("alone", "both"))
    for name, weight in one.items():
        apart = (weight.codes.int() - other[name].codes.int()).abs()
        assert int(apart.max()) <= 1
        assert float(apart.float().mean()) < 0.01


def test_full_precision_comes_first_with_qat_fraction(text: Path, tmp_path: Path):
    tokenizer = model_directory("default/16bit")
    words = command(tmp_path / "out", text, qat_fraction=0.5, tokenizer=tokenizer, **FLAGS)
    assert train.main(words) == 0
    assert not open_model(tmp_path / "out-full").plan.is_quantized
    assert open_model(tmp_path / "out").nesting == Nesting((8, 4, 2))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"method": "matquant", "bits": 4}, "choose one of 8, 16"),
        ({"method": "paretoq", "bits": 2, "widths": "8,2"}, "--widths is not for --method paretoq"),
        ({"bits": 16, "co_distill": "8:2"}, "--co-distill is for low bits"),
        ({"method": "matquant", "embedding_bits": 8}, "keeps embedding and head"),
    ],
)
def test_flags_that_contradict_each_other(full: Path, text: Path, tmp_path: Path, flags: dict, words: str):
    with pytest.raises(ValueError, match=words):
        train.main(command(tmp_path / "out", text, model=full, **flags))
    assert not (tmp_path / "out").exists()
