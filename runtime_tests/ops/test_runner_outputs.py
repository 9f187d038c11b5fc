"""Tests that lowbit_runner never overwrites what it reads, and replaces a file only by a complete one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runtime_tests.ops.runner_process import ids, refused, run

OUTPUTS = ("--logits", "--etdump")
GOOD = b"an earlier good file"


@pytest.fixture
def model(tiny_program: Path, tmp_path: Path) -> Path:
    """A program that may be overwritten."""
    return Path(shutil.copy(tiny_program, tmp_path / "model.pte"))


def name_of_model(model: Path, kind: str) -> str:
    """Another name of the same file."""
    other = model.parent / kind
    if kind == "symbolic link":
        other.symlink_to(model.name)
    elif kind == "hard link":
        os.link(model, other)
    elif kind == "link to a link":
        (model.parent / "between").symlink_to(model)
        other.symlink_to("between")
    elif kind == "roundabout":
        (model.parent / "folder").mkdir()
        other = model.parent / "folder" / ".." / model.name
    else:
        other = model
    return str(other)


@pytest.mark.parametrize("flag", OUTPUTS)
@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "link to a link", "roundabout"])
def test_the_model_is_never_overwritten(model, kind, flag):
    before, other = model.read_bytes(), name_of_model(model, kind)
    sentence = f"{flag} '{other}' is the file that --model reads and would overwrite it"
    assert sentence in refused("--model", model, "--tokens", "1,2", flag, other)
    assert sentence in refused("--model", other, "--tokens", "1,2", flag, model).replace(str(model), other)
    assert model.read_bytes() == before


def test_files_of_others_that_end_in_partial_are_left_alone(model, tmp_path):
    """Tests the name that an output could have until it is complete: a user's file, and the model itself."""
    before = model.rename(tmp_path / "logits.partial").read_bytes()
    (tmp_path / "trace.partial").write_bytes(GOOD)
    outputs = ("--logits", tmp_path / "logits", "--etdump", tmp_path / "trace")
    run("--model", tmp_path / "logits.partial", "--tokens", "1", "--max-new-tokens", 1, *outputs)
    assert (tmp_path / "logits.partial").read_bytes() == before
    assert (tmp_path / "trace.partial").read_bytes() == GOOD


def test_the_model_is_never_overwritten_by_a_benchmark(model):
    before = model.read_bytes()
    assert "would overwrite it" in refused("--model", model, "--benchmark", "--etdump", model)
    assert model.read_bytes() == before


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("kind", ["same", "symbolic link", "roundabout"])
def test_two_outputs_must_be_two_files(model, tmp_path, kind, exists):
    output = tmp_path / "output"
    if exists:
        output.write_bytes(GOOD)
    other = name_of_model(output, kind)
    message = refused("--model", model, "--tokens", "1", "--logits", output, "--etdump", other)
    assert "--logits and --etdump write the same file" in message
    assert output.exists() == exists
    assert not exists or output.read_bytes() == GOOD


@pytest.mark.parametrize("tokens", ["1,50", "1,2"])
def test_a_failed_run_leaves_an_earlier_file(model, tmp_path, tokens):
    """Bad tokens, and a trace that cannot be written after the logits were."""
    for name in ("logits", "trace"):
        (tmp_path / name).write_bytes(GOOD)
    trace = tmp_path / "trace" if tokens == "1,50" else "/dev/full"
    refused("--model", model, "--tokens", tokens, "--logits", tmp_path / "logits", "--etdump", trace)
    assert (tmp_path / "trace").read_bytes() == GOOD
    assert ((tmp_path / "logits").read_bytes() == GOOD) == (tokens == "1,50")
    assert not list(tmp_path.glob("*.partial"))


def test_a_complete_file_takes_the_place_of_an_earlier_one(model, tmp_path):
    for name in ("logits", "trace"):
        (tmp_path / name).write_bytes(GOOD)
    outputs = ("--logits", tmp_path / "logits", "--etdump", tmp_path / "trace")
    result = run("--model", model, "--tokens", "1", "--max-new-tokens", 2, "--eos", 1000, *outputs)
    assert len(ids(result)) == 2
    assert (tmp_path / "logits").stat().st_size == 2 * 50 * 4
    assert (tmp_path / "trace").stat().st_size > len(GOOD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logits", "model.pte", "trace"]


def test_links_devices_and_pipes_are_written_in_place(model, tmp_path):
    (tmp_path / "target").write_bytes(GOOD)
    (tmp_path / "link").symlink_to("target")
    common = ("--model", model, "--tokens", "1", "--max-new-tokens", 1, "--logits")
    ids(run(*common, tmp_path / "link", "--etdump", "/dev/null"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").stat().st_size == 50 * 4
    ids(run(*common, "/dev/null", "--etdump", "/dev/null"))
    assert run(*common, "/dev/stderr").returncode == 0
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ids(run(*common, tmp_path / "pipe"))
    assert len(os.read(reader, 10000)) == 50 * 4
    os.close(reader)
