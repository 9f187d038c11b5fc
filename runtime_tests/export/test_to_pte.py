"""The export command: the files it writes, and its messages for bad input."""

from __future__ import annotations

import json
import resource
import shutil

import pytest

from edge.checkpoints.write import save_checkpoint
from edge.cli import main_guard
from edge.files import only_writer
from edge.formats import grid_for_bits
from edge.model.config import MOBILELLM, NAMED_MODELS
from edge.ops.packing import packed_nbytes
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.tiny import save_tiny, tiny_checkpoint, tiny_config


def run(*argv: object) -> int:
    """The exit code of the command line, as a shell would see it."""
    with pytest.raises(SystemExit) as exit_info:
        main_guard(lambda: to_pte.main([str(a) for a in argv]))
    return exit_info.value.code


@pytest.fixture(scope="module")
def ternary(tmp_path_factory):
    """A ParetoQ-form directory and its export. Do not change them."""
    directory = tmp_path_factory.mktemp("ternary")
    source = save_tiny(directory / "checkpoint", grid_for_bits(1.58), n_layers=1)
    assert run("--bits", "1.58", "--model", source, "--output", directory / "out") == 0
    return directory


def test_manifest_says_what_is_in_the_directory(ternary):
    manifest = read_manifest(ternary / "out")
    assert sorted(p.name for p in (ternary / "out").iterdir()) == [
        "manifest.json",
        "model.pte",
        "tokenizer.json",
    ]
    assert manifest.weights == "trained"
    assert manifest.format == "ternary"
    assert (
        manifest.program.bytes
        == (ternary / "out/model.pte").stat().st_size
        == sum(manifest.part_bytes.values())
    )
    encoding = grid_for_bits(1.58).encoding
    qkv, out = packed_nbytes(40 + 2 * 20, 36, encoding), packed_nbytes(36, 40, encoding)
    gate, down = (
        packed_nbytes(50, 36, encoding),
        packed_nbytes(36, 50, encoding),
    )  # 50 rows: gate and up stay apart
    assert manifest.part_bytes["linears"] == qkv + out + 2 * gate + down
    assert manifest.part_bytes["head"] == 0  # tied: one table serves both


@pytest.mark.parametrize("bits", ["0", "9", "-1", "two", "nan", "2.5"])
def test_unknown_bits(bits, tmp_path, capsys):
    assert run("--bits", bits, "--output", tmp_path / "out") == 2
    assert "1.58" in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


def test_another_bit_width_than_trained(ternary, tmp_path, capsys):
    assert run("--bits", "2", "--model", ternary / "checkpoint", "--output", tmp_path / "out") == 2
    assert "export it with --bits 1.58" in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("length", [0, -3, 65])
def test_max_seq_len_out_of_range(ternary, tmp_path, capsys, length):
    source, out = ternary / "checkpoint", tmp_path / "out"
    code = run("--bits", "1.58", "--model", source, "--max-seq-len", length, "--output", out)
    assert code == 2
    assert "1..64" in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


def test_output_that_is_not_an_export_is_left_alone(ternary, tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path) == 2
    assert "not an earlier export" in one_sentence(capsys)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]


def test_an_export_with_other_files_in_it_is_left_alone(ternary, tmp_path, capsys):
    for name in ("manifest.json", "precious.txt"):
        (tmp_path / name).write_text("mine")
    assert run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path) == 2
    assert "not an earlier export" in one_sentence(capsys)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_output_where_the_command_runs(ternary, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", ".") == 2
    assert "the directory this runs in" in one_sentence(capsys)


def test_output_through_a_link(ternary, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        assert run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path / "link") == 0
    assert (tmp_path / "link").is_symlink()
    assert read_manifest(tmp_path / "real").format == "ternary"


def test_an_export_is_named_after_its_directory(ternary, tmp_path, monkeypatch):
    monkeypatch.chdir(ternary / "checkpoint")
    assert run("--bits", "1.58", "--model", ".", "--output", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").model == "checkpoint"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_caches(ternary, tmp_path, length):
    """torch.export takes lengths of 1 for special, and ranges that end at 2 for constants."""
    source, out = ternary / "checkpoint", tmp_path / "out"
    assert run("--bits", "1.58", "--model", source, "--max-seq-len", length, "--output", out) == 0
    assert read_manifest(out).verification.tokens == length


def test_output_below_a_file(ternary, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert (
        run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path / "file" / "out") == 2
    )
    one_sentence(capsys)


def test_a_full_disk_leaves_nothing(ternary, tmp_path, capsys):
    """A limit on file size acts like a full disk: writing the program fails half way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        code = run("--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert "File too large" in one_sentence(capsys)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_export_leaves_the_earlier_one(ternary, tmp_path, monkeypatch):
    output = tmp_path / "out"
    arguments = ("--bits", "1.58", "--model", ternary / "checkpoint", "--output", output)
    shutil.copytree(ternary / "out", output)
    before = (output / "manifest.json").read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(to_pte, "verify", interrupt)
    assert run(*arguments) == 130
    assert (output / "manifest.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_one_export_at_a_time_and_other_directories_are_left_alone(ternary, tmp_path, capsys):
    for name in ("out.partial", "out.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_bytes(b"years of work")
    arguments = ["--bits", "1.58", "--model", ternary / "checkpoint", "--output", tmp_path / "out"]
    with only_writer(tmp_path / "out"):
        assert run(*arguments) == 2
    assert "another process is writing" in capsys.readouterr().err
    assert run(*arguments) == 0
    assert (tmp_path / "out.partial/thesis.tex").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "out.partial", "out.replaced"]


def test_rounding_after_training_warns_and_says_what_it_costs(tmp_path, capsys):
    source = save_tiny(tmp_path / "full")
    assert run("--bits", "3", "--model", source, "--output", tmp_path / "out") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "was not trained at 3 bits" in printed
    manifest = read_manifest(tmp_path / "out")
    assert manifest.weights == "rounded after training"
    assert f"{manifest.verification.perplexity_full_precision:.3f}" in printed


@pytest.mark.parametrize(
    ("recipe", "bits", "words"),
    [
        ("fp32", "4", "give --bits 16"),
        ("xnnpack-8da4w", "2", "--bits 4"),
        ("xnnpack-8da4w", "4", "group of 32"),
    ],
)
def test_recipes_refuse_what_they_cannot_do(tmp_path, capsys, recipe, bits, words):
    source = save_tiny(tmp_path / "full")
    assert run("--bits", bits, "--recipe", recipe, "--model", source, "--output", tmp_path / "out") == 2
    assert words in one_sentence(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("recipe", "bits"), [("fp32", "16"), ("xnnpack-8da4w", "4")])
def test_other_recipes_export_and_verify(tmp_path, recipe, bits):
    source = save_tiny(tmp_path / "full", n_layers=1, dim=64, ffn_dim=96, head_dim=16)
    assert run("--bits", bits, "--recipe", recipe, "--model", source, "--output", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").recipe == recipe


@pytest.mark.parametrize("embedding_bits", [4, 8, 16])
@pytest.mark.parametrize("tied", [True, False])
def test_embedding_and_head_tables(tmp_path, embedding_bits, tied):
    source = save_tiny(tmp_path / "model", grid_for_bits(2), n_layers=1, tied_embedding=tied)
    out = tmp_path / "out"
    assert run("--bits", 2, "--model", source, "--embedding-bits", embedding_bits, "--output", out) == 0
    parts = read_manifest(out).part_bytes
    group = 32 if embedding_bits == 4 else None
    assert parts["embedding"] == packed_nbytes(304, 36, grid_for_bits(embedding_bits).encoding, group)
    assert parts["head"] == (0 if tied else parts["embedding"])


@pytest.mark.parametrize(("embedding_bits", "head_bits"), [(4, 8), (8, 4), (16, 4), (8, 16), (4, 4)])
@pytest.mark.parametrize("tied", [True, False])
def test_embedding_and_head_of_different_widths(tmp_path, capsys, embedding_bits, head_bits, tied):
    source = save_tiny(tmp_path / "model", grid_for_bits(2), n_layers=1, tied_embedding=tied)
    widths = ("--embedding-bits", embedding_bits, "--head-bits", head_bits)
    assert run("--bits", 2, "--model", source, *widths, "--output", tmp_path / "out") == 0
    manifest, shared = read_manifest(tmp_path / "out"), tied and embedding_bits == head_bits
    for part, bits in (("embedding", embedding_bits), ("head", head_bits)):
        size = packed_nbytes(304, 36, grid_for_bits(bits).encoding, 32 if bits == 4 else None)
        assert manifest.part_bytes[part] == (0 if shared and part == "head" else size)
    assert (manifest.embedding_bits, manifest.head_bits) == (embedding_bits, head_bits)
    before = manifest.verification.perplexity_tables
    assert (before is not None) == (4 in (embedding_bits, head_bits))
    if before is not None:
        assert f"rounding it took perplexity there from {before:.3f} to" in " ".join(
            capsys.readouterr().out.split()
        )


def test_a_large_vocabulary_is_4_bits_unless_asked_otherwise(tmp_path):
    """Without a tokenizer, so that the vocabulary may be of any size."""
    for name, vocab in (("small", 65535), ("large", 65536)):
        source = save_tiny(tmp_path / name, n_layers=1, vocab_size=vocab, dim=8, ffn_dim=16)
        (source / "tokenizer.json").unlink()
        assert run("--bits", 4, "--model", source, "--output", tmp_path / f"{name}-out") == 0
    assert read_manifest(tmp_path / "small-out").embedding_bits == 8
    assert read_manifest(tmp_path / "large-out").embedding_bits == 4
    large = ("--model", tmp_path / "large", "--embedding-bits", 8)
    assert run("--bits", 4, *large, "--output", tmp_path / "large-out") == 0
    assert read_manifest(tmp_path / "large-out").embedding_bits == 8


def test_manifest_says_which_weights_are_in_which_table(tmp_path):
    source = save_tiny(tmp_path / "model", grid_for_bits(2), ffn_dim=48, tied_embedding=False)
    assert run("--bits", 2, "--model", source, "--output", tmp_path / "out") == 0
    tables = read_manifest(tmp_path / "out").tables
    layers = {
        f"layers.{layer}.{table}": [f"layers.{layer}.{weight}" for weight in weights]
        for layer in range(tiny_config().n_layers)
        for table, weights in {
            "qkv": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            "out": ["self_attn.o_proj"],
            "gate_up": ["mlp.gate_proj", "mlp.up_proj"],
            "down": ["mlp.down_proj"],
        }.items()
    }
    assert tables == layers | {"embed_tokens": ["embed_tokens"], "lm_head": ["lm_head"]}


@pytest.mark.parametrize(
    ("recipe", "bits", "kv_cache"),
    [
        ("lowbit", "1.58", "int8"),
        ("lowbit", "16", "int8"),
        ("xnnpack-8da4w", "4", "int8"),
        ("lowbit", "1.58", "int4"),
    ],
)
def test_integer_caches_export_and_verify(tmp_path, capsys, recipe, bits, kv_cache):
    fmt = grid_for_bits(bits if bits == "1.58" else 16)
    source = save_tiny(tmp_path / "model", fmt, n_layers=1, dim=64, ffn_dim=96, head_dim=16)
    arguments = ("--bits", bits, "--recipe", recipe, "--model", source, "--kv-cache", kv_cache)
    assert run(*arguments, "--output", tmp_path / "out") == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest.kv_cache == kv_cache
    row = 16 + 4 if kv_cache == "int8" else 8 + 4  # 16 values and their scale
    assert manifest.kv_cache_bytes == 2 * 2 * 64 * row  # K and V, two heads of 64 positions
    cost = manifest.verification.cache
    assert 0 < cost.rms < cost.rms_bound
    assert cost.perplexity != manifest.verification.perplexity_eager
    assert f"{cost.perplexity:.3f}" in capsys.readouterr().out


def test_a_float_cache_where_int8_keys_do_not_lie_evenly(ternary):
    manifest = read_manifest(ternary / "out")  # head_dim 10
    assert manifest.kv_cache == "fp32"
    assert manifest.verification.cache is None
    assert manifest.kv_cache_bytes >= 2 * 2 * 64 * 10 * 4


def test_an_int8_cache_is_the_default(tmp_path):
    source = save_tiny(tmp_path / "model", n_layers=1, head_dim=12)
    assert run("--bits", 4, "--model", source, "--output", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").kv_cache == "int8"
    assert run("--bits", 4, "--model", source, "--kv-cache", "fp32", "--output", tmp_path / "out") == 0
    assert read_manifest(tmp_path / "out").kv_cache == "fp32"


def test_a_float_cache_where_int8_costs_too_much(tmp_path, capsys):
    """One pair of elements of each key is 1000 times larger, and of each query 1000 times smaller."""
    checkpoint = tiny_checkpoint(n_layers=1, head_dim=12)
    for projection, factor in (("q_proj", 1e-3), ("k_proj", 1e3)):
        weight = checkpoint.weights[f"layers.0.self_attn.{projection}.weight"]
        weight.detach().view(-1, 12, weight.shape[1])[:, [0, 6]] *= factor
    save_checkpoint(checkpoint, tmp_path / "model")
    arguments = ("--bits", 16, "--model", tmp_path / "model")
    assert run(*arguments, "--output", tmp_path / "out") == 0
    manifest = read_manifest(tmp_path / "out")
    refused = manifest.verification.cache_refused
    assert manifest.kv_cache == "fp32"
    assert refused.rms > refused.rms_bound
    assert "int8 would move logits by rms" in " ".join(capsys.readouterr().out.split())
    assert run(*arguments, "--kv-cache", "int8", "--output", tmp_path / "int8") == 2
    assert "export it with --kv-cache fp32" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_unknown_cache(tmp_path):
    assert run("--bits", 2, "--kv-cache", "int2", "--output", tmp_path / "out") == 2


@pytest.mark.parametrize("shape", ["125M", "1B"])
def test_ternary_stays_below_its_bits_per_weight_at_real_widths(shape):
    config, encoding = MOBILELLM[shape], grid_for_bits(1.58).encoding
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    tables = [(q + 2 * kv, config.dim), (config.dim, q), (2 * config.ffn_dim, config.dim)]
    stored = sum(packed_nbytes(n, k, encoding) for n, k in [*tables, (config.dim, config.ffn_dim)])
    assert 8 * config.n_layers * stored / config.linear_parameters <= 1.67


def test_layer_sharing_exports(tmp_path):
    source = save_tiny(tmp_path / "model", grid_for_bits(1), n_layers=1, layer_sharing=True)
    assert run("--bits", 1, "--model", source, "--output", tmp_path / "out") == 0


def test_random_weights_are_named_as_such(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(NAMED_MODELS, "tiny", tiny_config())
    assert run("--bits", 2, "--model", "tiny", "--random-weights", "--output", tmp_path / "out") == 0
    assert "random weights" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["weights"] == "random"
    assert manifest["tokenizer"] is None


def test_named_shape_without_weights(tmp_path, capsys):
    assert run("--bits", 2, "--model", "125M", "--output", tmp_path / "out") == 2
    assert "--random-weights" in one_sentence(capsys)


def one_sentence(capsys) -> str:
    error = capsys.readouterr().err.strip()
    last = error.splitlines()[-1]
    assert last.startswith("error: "), error
    assert "Traceback" not in error
    return last


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for word in ("--bits", "1.58", "--embedding-bits", "--random-weights", "verified"):
        assert word in printed
