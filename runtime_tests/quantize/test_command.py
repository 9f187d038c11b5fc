"""The command: its checkpoints are taken everywhere, it resumes to the same bytes, and refuses bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.evaluation.candidate import open_candidate
from edge.formats import BY_NAME, grid_for_bits
from edge.formats.slices import Nesting
from edge.quantize.__main__ import main
from edge.quantize.unfinished import Unfinished
from edge.quantizers.placement import Target
from edge.quantizers.post_methods import POST_METHODS
from edge.quantizers.rtn import round_to_nearest
from edge.runtime.manifest import read_manifest
from edge.training.train import main as training
from export import to_pte
from runtime_tests.tiny import save_tiny, tiny_checkpoint
from runtime_tests.training.tiny_run import Killed, command

#: A model of a family whose norms are stored less 1.
GEMMA = {"norms": "around", "activation": "gelu", "qk_norm": "head", "embedding_scale": 6.0, "n_kv_heads": 4}


def words(model: Path, out: Path, text: Path, **flags: object) -> list[str]:
    defaults = {"bits": 4, "method": "rtn", "group": 32, "samples": 4, "length": 16}
    given = {**defaults, "model": model, "output": out, "calibration": text, **flags}
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("omniquant", "matquant"):
        method = replace(POST_METHODS[name], epochs=2, low_epochs=1)
        monkeypatch.setitem(POST_METHODS, name, method)


@pytest.mark.parametrize(
    ("method", "bits", "group", "grid"),
    [
        ("rtn", "5", "64", "uint5"),
        ("gptq", "1.58", "64", "ternary"),
        ("gptq-in-order", "8", "row", "int8"),
        ("omniquant", "2", "32", "uint2"),
    ],
)
def test_a_checkpoint_is_evaluated_and_exported(
    method: str, bits: str, group: str, grid: str, text: Path, tmp_path: Path
):
    """Tests each method through to a verified program, with 36 and 50 columns, which no group divides."""
    asymmetric = ["--asymmetric"] if BY_NAME[grid].zero is None else []
    model, out, size = tmp_path / "model", tmp_path / "low", None if group == "row" else int(group)
    save_tiny(model, n_layers=1)
    assert main(words(model, out, text, method=method, bits=bits, group=group) + asymmetric) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["low", "model"]
    checkpoint = open_model(out)
    assert {checkpoint.plan.of(name).name for name in checkpoint.quantized} == {grid}
    assert {stored.group_size for stored in checkpoint.quantized.values()} == {size}
    assert checkpoint.post_training is not None
    assert checkpoint.post_training["method"] == method
    assert open_candidate(str(out)).facts.bits == float(bits)
    assert to_pte.main(["--bits", bits, "--model", str(out), "--output", str(tmp_path / "program")]) == 0
    manifest = read_manifest(tmp_path / "program")
    assert (manifest.format, manifest.weights) == (grid, "quantised after training")
    assert manifest.verification.prefill_rms == 0.0
    save_packed_checkpoint(checkpoint, tmp_path / "small")
    small = open_model(tmp_path / "small")
    assert all(small.quantized[name].equals(stored) for name, stored in checkpoint.quantized.items())
    assert small.post_training == checkpoint.post_training


@pytest.mark.parametrize("group", ["row", "32"])
def test_a_parent_for_several_widths(full: Path, text: Path, tmp_path: Path, group: str):
    given = words(full, tmp_path / "parent", text, method="matquant", bits=8, group=group, widths="8,3")
    assert main([*given, "--asymmetric"]) == 0
    parent = open_model(tmp_path / "parent")
    assert parent.nesting == Nesting((8, 3))
    for bits, weights in (("3", "quantised after training"), ("2", "sliced")):
        out = tmp_path / f"program{bits}"
        assert to_pte.main(["--bits", bits, "--model", str(tmp_path / "parent"), "--output", str(out)]) == 0
        assert (read_manifest(out).format, read_manifest(out).weights) == (f"uint{bits}", weights)


def test_mixed_widths_and_linears_that_are_kept(full: Path, text: Path, tmp_path: Path):
    """Tests that export takes them: q, k and v share a table, gate and up do not."""
    mixed = "layers.0.*=8,*.down_proj=16,*.up_proj=3"
    assert main(words(full, tmp_path / "low", text, mixed=mixed, calibration=None)) == 0
    plan = open_model(tmp_path / "low").plan
    assert plan.default.bits == 4
    assert plan.of("layers.0.self_attn.q_proj").bits == 8
    assert plan.of("layers.1.mlp.down_proj").bits == 16
    assert plan.of("layers.0.mlp.up_proj").bits == 3
    flags = ["--bits=4", f"--model={tmp_path / 'low'}", f"--output={tmp_path / 'program'}"]
    assert to_pte.main(flags) == 0


@pytest.mark.parametrize(("method", "family"), [("omniquant", {}), ("gptq", GEMMA)])
def test_a_killed_run_goes_on_to_the_same_bytes(
    method: str, family: dict[str, Any], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Tests a kill before and after the second layer is written; Gemma's norms are stored less 1."""
    model = save_tiny(tmp_path / "model", **family)
    plain, killed = (words(model, tmp_path / name, text, method=method) for name in ("plain", "killed"))
    assert main(plain) == 0
    write, seen = Unfinished.write, []

    def die(self: Unfinished, index: int, layer: Any) -> None:
        seen.append(index)
        if len(seen) == 3:
            write(self, index, layer)
        if index == 1:
            raise Killed
        write(self, index, layer)

    monkeypatch.setattr(Unfinished, "write", die)
    for _ in range(2):
        with pytest.raises(Killed):
            main(killed)
    assert seen == [0, 1, 1]
    assert not (tmp_path / "killed").exists()
    assert main(killed) == 0
    assert seen == [0, 1, 1]  # nothing was quantised again
    assert tree(tmp_path / "killed") == tree(tmp_path / "plain")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "model", "plain"]


def test_an_unfinished_run_of_other_flags_is_not_continued(
    full: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def die(self: object, *rest: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "finish", die)
        with pytest.raises(Killed):
            main(words(full, tmp_path / "low", text))
    with pytest.raises(ValueError, match=r"unfinished run with bits 4, not 3; give the same again"):
        main(words(full, tmp_path / "low", text, bits=3))
    (tmp_path / ".low.quantizing" / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json is damaged; remove"):
        main(words(full, tmp_path / "low", text))


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"length": 65}, r"--length must lie in 1..64"),
        ({"method": "gptq", "calibration": None}, "--method gptq needs --calibration"),
        ({"method": "omniquant", "range": "searched"}, "learns its ranges: leave --range out"),
        ({"bits": 1}, "no weight format has 1 bits; choose one of 1.58, 2, 3, 4, 5, 6, 7, 8"),
        ({"mixed": "*.router=8"}, r"--mixed: the pattern \*.router matches no linear"),
        ({"mixed": "8"}, "--mixed: it takes PATTERN=BITS"),
        ({"samples": 0}, "--samples must be at least 1"),
        ({"seed": -1}, "--seed must lie in"),
        ({"method": "matquant", "bits": 4}, "--method matquant makes a parent: give --bits 8 --asymmetric"),
        ({"method": "gptq", "widths": "8,4"}, "--widths is not for --method gptq"),
        ({"method": "omniquant", "loss-weights": "1"}, "--loss-weights is not for --method omniquant"),
    ],
)
def test_bad_flags_are_refused(
    flags: dict[str, object], sentence: str, full: Path, text: Path, tmp_path: Path
):
    method = {"method": "gptq"} if "length" in flags else {}
    with pytest.raises(ValueError, match=sentence):
        main(words(full, tmp_path / "low", text, **{**method, **flags}))
    assert not any(tmp_path.iterdir())


def test_bad_texts_are_refused(full: Path, tmp_path: Path):
    short, empty = tmp_path / "short.txt", tmp_path / "empty.txt"
    short.write_text("The ants.")
    empty.write_text(" \n")
    for text, sentence in (
        (short, r"gives \d+ tokens, fewer than a sample of 16; give more text or a shorter --length"),
        (empty, "holds no text"),
        (tmp_path / "absent.txt", "absent.txt"),
    ):
        with pytest.raises(ValueError, match=sentence):
            main(words(full, tmp_path / "low", text, method="gptq"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.txt", "short.txt"]


def test_bad_models_are_refused(full: Path, text: Path, tmp_path: Path):
    trained, low = save_tiny(tmp_path / "trained", grid_for_bits(2)), tmp_path / "low"
    with pytest.raises(ValueError, match="is quantised already, at 2 bits; give the full-precision model"):
        main(words(trained, low, text))
    other = save_tiny(tmp_path / "other", vocab_size=600)
    with pytest.raises(ValueError, match="do not belong together"):
        main(words(other, low, text, method="gptq"))
    (other / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="has no tokenizer, which --calibration needs"):
        main(words(other, low, text, method="gptq"))
    with pytest.raises(ValueError, match="is the model that is read; choose another directory"):
        main(words(full, full, text))
    checkpoint = tiny_checkpoint()
    with torch.no_grad():
        checkpoint.weights["layers.1.mlp.up_proj.weight"][3, 4] = 1e38  # what comes of it is not finite
    save_checkpoint(checkpoint, tmp_path / "huge")
    for method in ("gptq", "omniquant"):
        with pytest.raises(ValueError, match=r"layers.1.*(NaN or infinite|not positive)"):
            main(words(tmp_path / "huge", low, text, method=method, group="row"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["huge", "other", "trained"]


def test_training_starts_from_it(full: Path, text: Path, tmp_path: Path):
    """Tests that learned scales go on from a scale a row, and that other grids start as their values."""
    for group, bits in (("row", 2), ("32", 3)):
        start, out = tmp_path / f"start-{group}", tmp_path / f"trained-{group}"
        main(words(full, start, text, group=group, bits=bits))
        assert training(command(out, text, model=start, bits=2, steps=1, learning_rate=1e-9)) == 0
        assert open_model(out).plan.default is grid_for_bits(2)
        if group == "row":  # the very grid that it was rounded to
            stored = open_model(start).quantized
            again = build_model(open_model(out))
            for name in stored:
                assert torch.equal(again.get_submodule(name).quantized().codes, stored[name].codes)


def test_config_json_says_how(full: Path, text: Path, tmp_path: Path):
    main(words(full, tmp_path / "low", text, method="gptq", group="row"))
    said = json.loads((tmp_path / "low" / "config.json").read_text())
    assert said["w_bits"] == 4
    assert {
        "method": "gptq",
        "bits": "4",
        "group": "row",
        "samples": 4,
        "length": 16,
        "seed": 0,
    }.items() <= said["post_training"].items()


def test_rtn_reads_no_data_and_rounds_each_weight_by_itself(full: Path, text: Path, tmp_path: Path):
    main(words(full, tmp_path / "low", text, calibration=None))
    weights, target = open_model(full).weights, Target(BY_NAME["int4"], 32)
    for name, stored in open_model(tmp_path / "low").quantized.items():
        assert stored.equals(round_to_nearest(weights[f"{name}.weight"], target))
