"""Grouping and naming of programs, and exports for a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.latency import exported as exporting
from edge.latency import gather as gathering
from edge.latency.exported import ExportedProgram, open_exported
from edge.latency.gather import gather
from edge.latency.opponents.llama_cpp import run as llama_cpp
from edge.latency.opponents.llama_cpp.models import QuantizedModel
from edge.latency.opponents.runtime import Runtime
from edge.model.config import MOBILELLM


def collect(directories=(), sizes=(), bits=(), opponents=(), cache=Path(), announce=lambda what: None):
    return gather(directories, sizes, bits, opponents, cache, announce)


def variation(program: ExportedProgram, name: str, **changes) -> ExportedProgram:
    """The program as if it had been exported into ``name`` with other figures."""
    config = replace(program.manifest.config, **changes.pop("config", {}))
    manifest = program.manifest.model_copy(update={**changes, "config": config})
    return ExportedProgram(program.directory.with_name(name), manifest)


@pytest.fixture
def opened(exported, monkeypatch):
    """Makes gather see variations of one program instead of directories."""
    two = open_exported(exported["two"])

    def see(*variations: dict) -> list[str]:
        found = [variation(two, f"d{i}", **changes) for i, changes in enumerate(variations)]
        monkeypatch.setattr(gathering, "open_exported", lambda directory: found[int(str(directory))])
        return [candidate.record.name for candidate in collect([Path(str(i)) for i in range(len(found))])]

    return see


def test_names_say_what_tells_programs_of_a_model_apart(opened):
    names = opened(
        {},
        {"bits": 1.0},
        {"kv_cache": "int8"},
        {"kv_cache": "int4"},
        {"recipe": "xnnpack-8da4w", "bits": 4.0},
        {"embedding_bits": 4, "head_bits": 4},
        {"bits": 2.37, "format": "mixed", "formats": {"layers.0.mlp.up_proj": "int4"}},
    )
    assert names == [  # ours by bit width, then the others
        "tiny 1 bit",
        "tiny 2 bits",
        "tiny 2 bits, int8 cache",
        "tiny 2 bits, int4 cache",
        "tiny 2 bits, 4-bit embedding",
        "tiny 2.37 bits mixed",
        "tiny xnnpack-8da4w",
    ]


def test_the_same_export_options_are_told_apart_by_directory(opened):
    assert opened({}, {}, {"bits": 4.0}) == ["tiny 2 bits (d0)", "tiny 2 bits (d1)", "tiny 4 bits"]


def test_one_shape_is_one_model_whatever_it_was_called_and_whatever_its_cache(opened):
    names = opened({"model": "first"}, {"model": "second", "bits": 4.0, "config": {"max_seq_len": 32}})
    assert len({name.split()[0] for name in names}) == 1
    assert names[0].endswith("M-2x36 2 bits")


def test_two_shapes_are_two_models_even_under_one_name(opened):
    names = opened({}, {"config": {"n_layers": 3}})
    assert names == ["tiny 2 bits", "tiny (36 wide, 3 layers) 2 bits"]


def test_a_published_shape_has_its_name(opened):
    shape = vars(MOBILELLM["350M"])
    assert opened({"model": "a", "config": shape}, {"model": "b", "bits": 1.0, "config": shape}) == [
        "350M 1 bit",
        "350M 2 bits",
    ]


def test_sizes_are_exported_at_every_width_and_as_every_recipe(exported, monkeypatch, tmp_path):
    asked = []

    def export(model, variant, directory):
        asked.append((model, variant.bits, variant.recipe, directory))
        two = open_exported(exported["two"])
        return variation(two, "d", bits=variant.bits, recipe=variant.recipe, model=model)

    monkeypatch.setattr(gathering, "export_named", export)
    announced: list[str] = []
    collect((), ["125M"], [1.58, 4.0], ["fp32", "xnnpack-8da4w"], tmp_path, announced.append)
    directory = tmp_path / "programs"
    assert asked == [
        ("125M", 1.58, "lowbit", directory),
        ("125M", 4.0, "lowbit", directory),
        ("125M", 16.0, "fp32", directory),
        ("125M", 4.0, "xnnpack-8da4w", directory),
    ]
    assert announced[0] == "preparing 125M at 1.58 bits"


def test_llama_cpp_runs_every_shape_and_says_what_it_cannot(exported, monkeypatch, tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"x")
    monkeypatch.setattr(llama_cpp, "build", lambda cache: tmp_path)
    monkeypatch.setattr(
        llama_cpp,
        "prepare",
        lambda binaries, cache, name, config, types: [
            QuantizedModel(path, t, 1, 0, 0.0, (), 1) for t in types
        ],
    )
    names = [s.record.name for s in collect([exported["two"]], opponents=["TQ2_0", "Q4_0"])]
    assert names == ["tiny 2 bits", "tiny llama.cpp TQ2_0", "tiny llama.cpp Q4_0"]

    def refuse(*_):
        raise ValueError("llama.cpp cannot run a layer twice")

    monkeypatch.setattr(llama_cpp, "prepare", refuse)
    announced: list[str] = []
    monkeypatch.setattr(gathering, "default_opponents", lambda: ["TQ2_0"])
    assert len(collect([exported["two"]], opponents=None, announce=announced.append)) == 1
    assert announced[-1] == "tiny in llama.cpp's types is left out: llama.cpp cannot run a layer twice"
    with pytest.raises(ValueError, match="a layer twice"):  # asked for, it must be there
        collect([exported["two"]], opponents=["TQ2_0"])


def test_a_users_build_is_one_more_opponent(exported, monkeypatch, tmp_path):
    made = []

    class Build:
        def offered(self):
            return ["bench:IQ2_BN", "bench:Q4_0"]

        def runtime(self, names):
            made.append(list(names))
            return Runtime(tuple(names), "gguf", "your types", lambda *_: [])

    gather([exported["two"]], (), (), [], tmp_path, lambda what: None, Build())
    gather([exported["two"]], (), (), ["bench:Q6_K"], tmp_path, lambda what: None, Build())
    assert made == [["bench:IQ2_BN", "bench:Q4_0"], ["bench:Q6_K"]]


def test_an_opponent_whose_export_fails_is_left_out_unless_it_was_asked_for(exported, monkeypatch, tmp_path):
    def export(model, variant, directory):
        if variant.recipe == "fp32":
            raise OSError("export of 125M failed: no memory")
        return variation(open_exported(exported["two"]), "d", bits=variant.bits, recipe=variant.recipe)

    monkeypatch.setattr(gathering, "export_named", export)
    monkeypatch.setattr(gathering, "default_opponents", lambda: ["fp32", "xnnpack-8da4w"])
    announced: list[str] = []
    found = collect((), ["125M"], [2.0], None, tmp_path, announced.append)
    assert [s.record.label for s in found] == ["2 bits", "xnnpack-8da4w"]
    assert "125M as fp32 is left out: export of 125M failed: no memory" in announced
    with pytest.raises(OSError, match="no memory"):
        collect((), ["125M"], [2.0], ["fp32"], tmp_path)


def test_an_export_is_made_once_and_its_failure_is_told(exported, monkeypatch, tmp_path):
    calls = []

    class Failed:
        returncode, stderr = 2, "error: there is no room"

    def fail(command, **_):
        calls.append(command)
        return Failed

    monkeypatch.setattr(exporting.subprocess, "run", fail)
    with pytest.raises(OSError, match=r"export of 125M at 2 bits .* failed: error: there"):
        exporting.export_named("125M", exporting.Variant(2), tmp_path)
    assert "--random-weights" in calls[0]
    with pytest.raises(OSError, match="export of default"):
        exporting.export_named("default", exporting.Variant(2), tmp_path)
    assert "--random-weights" not in calls[1]
    name = calls[0][calls[0].index("--output") + 1]
    Path(name).symlink_to(exported["two"])
    assert exporting.export_named("125M", exporting.Variant(2), tmp_path).manifest.bits == 2
    assert len(calls) == 2


def test_the_shape_survives_the_manifest(exported):
    program = open_exported(exported["two"])
    assert type(program.manifest).model_validate_json(program.manifest.model_dump_json()) == program.manifest
    assert program.config.parameters == program.manifest.parameters
