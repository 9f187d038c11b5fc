"""Opening programs: a damaged file is refused by name, before anything runs."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct

import pytest

from edge.formats import grid_for_bits
from edge.runtime.load import Program, open_program, set_threads
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.greedy import greedy_tokens
from runtime_tests.tiny import save_tiny


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("program")
    save_tiny(directory / "checkpoint", grid_for_bits(2), n_layers=1)
    to_pte.main(["--bits", "2", "--model", str(directory / "checkpoint"), "--output", str(directory / "out")])
    return directory / "out"


@pytest.fixture
def program(original, tmp_path):
    return shutil.copytree(original, tmp_path / "out")


def test_an_untouched_export_opens(program):
    manifest, opened, tokenizer = open_program(program)
    assert opened.max_seq_len == manifest.max_seq_len == 64
    assert tokenizer.vocab_size == manifest.config.vocab_size


@pytest.mark.parametrize("name", ["model.pte", "tokenizer.json"])
def test_truncated_file(program, name):
    data = (program / name).read_bytes()
    (program / name).write_bytes(data[:-1])
    with pytest.raises(ValueError, match=f"{name} has {len(data) - 1} bytes"):
        read_manifest(program)


@pytest.mark.parametrize("name", ["model.pte", "tokenizer.json"])
def test_altered_file(program, name):
    data = bytearray((program / name).read_bytes())
    data[len(data) // 2] ^= 1
    (program / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} was altered"):
        read_manifest(program)


@pytest.mark.parametrize("name", ["model.pte", "tokenizer.json", "manifest.json"])
def test_missing_file(program, name):
    (program / name).unlink()
    with pytest.raises(ValueError, match=name):
        read_manifest(program)


@pytest.mark.parametrize("change", [{"bits": 4}, {"weights": "random"}, {"max_seq_len": 65}])
def test_altered_manifest(program, change):
    path = program / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match="checksum differs"):
        read_manifest(program)


def reseal(path, *where, value):
    """Change one value of a manifest, and give it the checksum of the changed content."""
    content = json.loads(path.read_text())
    del content["checksum"]
    record = content
    for key in where[:-1]:
        record = record[key]
    record[where[-1]] = value
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "checksum": checksum}))


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("config", "bos_id"), -1, "token ids in 0..303, not -1"),
        (("config", "bos_id"), 10**6, "token ids in 0..303, not 1000000"),
        (("config", "eos_ids"), ["2"], "eos_ids"),
        (("config", "eos_ids"), [2**70], "token ids in 0..303, not 1180"),
        (("config", "eos_ids"), [], "at least one token id"),
        (("config", "vocab_size"), 305, "vocabulary is 304, the manifest says 305"),
        (("config", "n_heads"), 0, "n_heads must be a positive"),
        (("config", "dim"), None, "config.dim: "),
        (("config", "more"), 1, "config.more: "),
        (("config",), [], "config: "),
        (("max_seq_len",), 128, "longest sequence is 64, the manifest says 128"),
        (("max_seq_len",), 0, "max_seq_len: "),
        (("program", "name"), "../out/model.pte", "program.name: "),
        (("program", "name"), "", "program.name: "),
        (("program", "name"), "model\0.pte", "program.name: "),
        (("program", "name"), "..", "is missing"),
        (("program", "name"), "model.pte\n", "program.name: "),
        (("program", "bytes"), -1, "program.bytes: "),
        (("program", "sha256"), "0", "program.sha256: "),
        (("tokenizer", "name"), "manifest.json", "has .* bytes where"),
        (("verification", "tokens"), "many", "verification.tokens: "),
        (("verification", "rounding_rms"), math.nan, "verification.rounding_rms: "),
        (("bits",), -2.0, "bits: "),
        (("parameters",), True, "parameters: "),
        (("part_bytes", "linears"), -1, "part_bytes.linears: "),
    ],
)
def test_a_resealed_manifest_with_odd_values(program, where, value, words):
    """Tests that whoever can compute a checksum gets one sentence, and no wrong program."""
    reseal(program / "manifest.json", "model", value="another")
    open_program(program)
    reseal(program / "manifest.json", *where, value=value)
    with pytest.raises(ValueError, match=words):
        open_program(program)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "manifest of version 5"),
        ('{"schema_version": 1}', "schema_version"),
    ],
)
def test_manifest_of_another_kind(program, text, words):
    (program / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_manifest(program)


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5])
def test_truncated_program_without_manifest(program, keep):
    """Half a file gives an error instead of a crash."""
    path = program / "model.pte"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if keep == 0.5 else keep])
    with pytest.raises(ValueError, match="not a program this runtime can load"):
        Program(path)


def test_a_file_that_is_no_program(program):
    """The wheel's runtime aborts when it quotes bytes that are not text, so it must not read them."""
    (program / "model.pte").write_bytes(bytes(range(128, 256)) * 40)
    with pytest.raises(ValueError, match="not a program this runtime can load"):
        Program(program / "model.pte")


def _damaged(program, offset, replacement):
    """Open the program with a change in the table of its first linear, without the manifest's check."""
    path = program / "model.pte"
    data = bytearray(path.read_bytes())
    first = next(at.start() for at in re.finditer(b"LBW1", data) if data[at.start() + 6] == 2)  # bits2
    data[first + offset : first + offset + len(replacement)] = replacement
    path.write_bytes(data)
    return Program(path)


@pytest.mark.parametrize(
    ("offset", "replacement"),
    [(0, b"XXXX"), (4, b"\x01"), (6, b"\x07"), (8, b"\xff" * 4), (12, b"\0" * 4), (48, b"\xff" * 8)],
    ids=["magic", "version", "format", "rows", "columns", "size"],
)
def test_a_damaged_table_is_an_error_when_it_runs(program, offset, replacement, capfd):
    with pytest.raises(ValueError, match="the program failed at position 0"):
        _damaged(program, offset, replacement).forward([1], 0)
    assert "lowbit::norm_linear: " in capfd.readouterr().err.splitlines()[0]


def test_a_scale_that_is_not_a_number_never_gives_a_token(program):
    with pytest.raises(ValueError, match="logits are not numbers"):
        _damaged(program, 64, struct.pack("<f", math.nan)).forward([1], 0)


@pytest.mark.parametrize("threads", [0, -1, 257, 10**12])
def test_threads_out_of_range(threads):
    with pytest.raises(ValueError, match=r"--threads must lie in 1\.\.256"):
        set_threads(threads)


def test_tokens_and_positions_out_of_range(program):
    _, opened, _ = open_program(program)
    for tokens, position, words in (
        ([304], 0, "outside the vocabulary"),
        ([-1], 0, "outside the vocabulary"),
        ([], 0, "empty"),
        ([1], 64, "beyond the program's 64"),
        ([1] * 65, 0, "beyond the program's 64"),
        ([1], -1, "beyond"),
    ):
        with pytest.raises(ValueError, match=words):
            opened.forward(tokens, position)


def test_generation_fills_the_cache_to_its_last_position(program):
    _, opened, _ = open_program(program)
    assert len(greedy_tokens(opened, [1] * 60, 100)) == 5  # positions 60..63, and one after the last


def test_a_sequence_does_not_see_the_one_before(program):
    _, opened, _ = open_program(program)
    first = greedy_tokens(opened, [1, 2, 3], 20)
    greedy_tokens(opened, [9, 8, 7, 6], 30)
    assert greedy_tokens(opened, [1, 2, 3], 20) == first
