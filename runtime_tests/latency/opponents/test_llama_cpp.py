"""llama.cpp's files and reports, from output of its programs that is kept here."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import pytest

from edge.latency.candidate import ProgramFailed
from edge.latency.devices.host import HostDevice
from edge.latency.opponents.llama_cpp import build as building
from edge.latency.opponents.llama_cpp import models
from edge.latency.opponents.llama_cpp import run as running
from edge.latency.opponents.llama_cpp.user_build import find_build
from edge.latency.schema import Settings
from edge.model.config import MOBILELLM, ModelConfig
from runtime_tests.tiny import tiny_config

#: llama-quantize of one layer at the 125M widths to TQ2_0.
QUANTIZE_LOG = """\
llama_quantize: quantizing 't-F16.gguf' to 't-TQ2_0.gguf' as TQ2_0
llama_model_loader: - type  f32:    3 tensors
llama_model_loader: - type  f16:    8 tensors
warning: blk.0.attn_k.weight                  - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
warning: blk.0.attn_output.weight             - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
warning: blk.0.attn_q.weight                  - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
warning: blk.0.attn_v.weight                  - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
warning: blk.0.ffn_gate.weight                - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
warning: blk.0.ffn_up.weight                  - ncols    576 not divisible by 256 (required for type   tq2_0) -> falling back to    q4_0
[   1/  11] output_norm.weight                   - [   576,      1,      1,      1], type =    f32, size =    0.002 MiB
[   2/  11] token_embd.weight                    - [   576,    320,      1,      1], type =    f16, converting to q8_0 .. size =     0.35 MiB ->     0.19 MiB
[   3/  11] blk.0.attn_k.weight                  - [   576,    192,      1,      1], type =    f16, converting to q4_0 .. size =     0.21 MiB ->     0.06 MiB
[   4/  11] blk.0.attn_norm.weight               - [   576,      1,      1,      1], type =    f32, size =    0.002 MiB
[   5/  11] blk.0.attn_output.weight             - [   576,    576,      1,      1], type =    f16, converting to q4_0 .. size =     0.63 MiB ->     0.18 MiB
[   6/  11] blk.0.attn_q.weight                  - [   576,    576,      1,      1], type =    f16, converting to q4_0 .. size =     0.63 MiB ->     0.18 MiB
[   7/  11] blk.0.attn_v.weight                  - [   576,    192,      1,      1], type =    f16, converting to q4_0 .. size =     0.21 MiB ->     0.06 MiB
[   8/  11] blk.0.ffn_down.weight                - [  1536,    576,      1,      1], type =    f16, converting to tq2_0 .. size =     1.69 MiB ->     0.22 MiB
[   9/  11] blk.0.ffn_gate.weight                - [   576,   1536,      1,      1], type =    f16, converting to q4_0 .. size =     1.69 MiB ->     0.47 MiB
[  10/  11] blk.0.ffn_norm.weight                - [   576,      1,      1,      1], type =    f32, size =    0.002 MiB
[  11/  11] blk.0.ffn_up.weight                  - [   576,   1536,      1,      1], type =    f16, converting to q4_0 .. size =     1.69 MiB ->     0.47 MiB
llama_model_quantize_impl: model size  =     7.11 MiB (16.01 BPW)
llama_model_quantize_impl: quant size  =     1.83 MiB (4.13 BPW)
llama_model_quantize_impl: WARNING: 6 of 11 tensor(s) required fallback quantization

llama_quantize: quantize time =    60.52 ms
"""  # noqa: E501  (as printed)

#: llama-bench of the 125M shape, -p 0 -n 32 -d 240 -r 3 -t 1; fields that nothing reads are left out.
BENCH_TEST = {
    "build_commit": "0c1e570",
    "build_number": 1,
    "cpu_info": "AMD EPYC",
    "backends": "CPU",
    "model_type": "llama 256M TQ2_0 - 2.06 bpw ternary",
    "model_size": 71357184,
    "model_n_params": 124635456,
    "n_threads": 1,
    "type_k": "f16",
    "type_v": "f16",
    "flash_attn": -1,
    "repack": True,
    "n_prompt": 0,
    "n_gen": 32,
    "n_depth": 240,
    "avg_ts": 91.367424,
    "samples_ns": [357933159, 366552558, 328541388],
    "samples_ts": [89.4022, 87.2999, 97.4002],
}


def test_what_fell_back_is_counted_in_matrices_and_in_weights():
    matrices, fell_back, share, types = models.parse_quantize_log(QUANTIZE_LOG, "TQ2_0")
    assert (matrices, fell_back, types) == (7, 6, ("q4_0",))
    attention, mlp = 576 * (576 * 2 + 192 * 2), 576 * 1536
    assert share == (attention + 2 * mlp) / (attention + 3 * mlp)  # all but ffn_down


def test_nothing_fell_back():
    log = "\n".join(line for line in QUANTIZE_LOG.splitlines() if "WARNING" not in line)
    log = log.replace("converting to tq2_0", "converting to q4_0")
    assert models.parse_quantize_log(log, "Q4_0") == (7, 0, 0.0, ())


@pytest.mark.parametrize(
    "log",
    [
        "",
        QUANTIZE_LOG.replace("converting to q4_0", "converting to tq2_0"),
        QUANTIZE_LOG.replace("6 of", "5 of"),
    ],
    ids=["empty", "types", "summary"],
)
def test_a_log_that_does_not_add_up_is_refused(log):
    with pytest.raises(OSError, match="not understood"):
        models.parse_quantize_log(log, "TQ2_0")


def test_reports_of_llama_bench():
    deeper = BENCH_TEST | {"n_depth": 1008, "samples_ts": [70.5]}
    speeds = running.parse_bench_report(json.dumps([BENCH_TEST, deeper], indent=2), "n_depth")
    assert speeds.tokens_per_second == {240: 89.4022, 1008: 70.5}
    assert (speeds.threads, speeds.cache_type, speeds.commit) == (1, "f16", "0c1e570")
    assert speeds.parameters == MOBILELLM["125M"].parameters


@pytest.mark.parametrize(
    "report", ["", "[]", "[{}]", "[\n\n]", json.dumps([BENCH_TEST | {"samples_ts": None}])]
)
def test_a_report_of_another_form_is_refused(report):
    with pytest.raises(OSError, match="not understood"):
        running.parse_bench_report(report, "n_depth")


def test_gguf_holds_every_tensor_and_number_of_the_shape(tmp_path):
    gguf = pytest.importorskip("gguf")
    config = tiny_config()
    path = models.write_random_model(config, tmp_path / "deep" / "model.gguf")
    reader = gguf.GGUFReader(path)
    assert {t.name: tuple(int(n) for n in t.shape[::-1]) for t in reader.tensors} == models.tensor_shapes(
        config
    )
    for tensor in reader.tensors:
        assert tensor.tensor_type.name == ("F32" if len(tensor.shape) == 1 else "F16")
    assert sum(int(t.n_elements) for t in reader.tensors) == config.parameters
    metadata = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "no_vocab",
        "llama.vocab_size": config.vocab_size,
        "llama.context_length": config.max_seq_len,
        "llama.embedding_length": config.dim,
        "llama.block_count": config.n_layers,
        "llama.feed_forward_length": config.ffn_dim,
        "llama.attention.head_count": config.n_heads,
        "llama.attention.head_count_kv": config.n_kv_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": config.rope_theta,
    }
    assert expected.items() <= metadata.items()
    assert metadata["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(config.norm_eps, rel=1e-6)
    assert [p.name for p in path.parent.iterdir()] == ["model.gguf"]


def test_gguf_weights_are_small_random_and_follow_the_seed(tmp_path):
    gguf = pytest.importorskip("gguf")
    first, same, other = (
        models.write_random_model(tiny_config(), tmp_path / str(i), seed) for i, seed in enumerate((7, 7, 8))
    )
    assert first.read_bytes() == same.read_bytes() != other.read_bytes()
    table = next(t for t in gguf.GGUFReader(first).tensors if t.name == "token_embd.weight").data
    assert table.astype("float64").std() == pytest.approx(models.SPREAD, rel=0.05)  # 10,944 values: 0.7 %


def test_an_untied_head_is_stored(tmp_path):
    gguf = pytest.importorskip("gguf")
    path = models.write_random_model(tiny_config(tied_embedding=False), tmp_path / "model.gguf")
    assert "output.weight" in {t.name for t in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize("size", MOBILELLM)
def test_tensors_add_up_to_the_published_shapes(size):
    shapes = models.tensor_shapes(MOBILELLM[size]).values()
    assert (
        sum(shape[0] * (shape[1] if len(shape) == 2 else 1) for shape in shapes) == MOBILELLM[size].parameters
    )


@pytest.mark.parametrize(
    "changes",
    [{"layer_sharing": True}, {"qkv_bias": True}, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}],
)
def test_shapes_that_llama_cpp_would_run_otherwise_are_refused(changes, tmp_path):
    with pytest.raises(ValueError, match="compare a shape without"):
        models.write_random_model(tiny_config(**changes), tmp_path / "model.gguf")


def test_without_gguf_the_cure_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(OSError, match=r"edge-lowbit\[peers\]"):
        models.write_random_model(tiny_config(), tmp_path / "model.gguf")


def _stand_in(binaries, name, script):
    """A program of llama.cpp's name that runs ``script``."""
    binaries.mkdir(exist_ok=True)
    (binaries / name).write_text(f"#!/bin/sh\n{script}\n")
    (binaries / name).chmod(0o755)
    return binaries


def _printing(tmp_path, text):
    (tmp_path / "text").write_text(text)
    return f"cat '{tmp_path / 'text'}'"


def _bench(tmp_path, help_line, reports):
    """A llama-bench that writes down what it was asked for and prints reports."""
    script = (
        f'if [ "$1" = --help ]; then echo "{help_line}"; exit; fi; '
        f'echo "$@" > {tmp_path}/asked; echo noise >&2; {_printing(tmp_path, json.dumps(reports))}'
    )
    return _stand_in(tmp_path / "bin", "llama-bench", script)


def test_bench_asks_for_what_it_was_told_and_reads_it(tmp_path):
    reports = [BENCH_TEST | {"n_depth": depth, "samples_ts": [100.0 - depth / 100]} for depth in (240, 1008)]
    binaries = _bench(tmp_path, "  -d, --n-depth <n>", reports)
    speeds = running.bench_decode(binaries, tmp_path / "m", 1, [240, 1008], 32)
    assert speeds.tokens_per_second == {240: 97.6, 1008: 89.92}
    counts = ("-p", "0", "-n", "32", "-d", "240,1008", "-t", "1", "-r", "1", "-o", "json")
    assert (tmp_path / "asked").read_text().split() == ["-m", str(tmp_path / "m"), *counts]
    for threads, contexts in ((2, [240, 1008]), (1, [240])):
        with pytest.raises(OSError, match="other tests or threads"):
            running.bench_decode(binaries, tmp_path / "m", threads, contexts, 32)


def test_a_fork_that_has_no_depth_is_asked_for_pairs(tmp_path):
    """As ik_llama.cpp prints them; its key of the context is that of a prompt."""
    reports = [
        BENCH_TEST | {"n_prompt": n, "test": f"tg32@pp{n}", "samples_ts": [ts]}
        for n, ts in ((240, 97.6), (1008, 89.92))
    ]
    binaries = _bench(tmp_path, "  -gp <pp,tg>", reports)
    speeds = running.bench_decode(binaries, tmp_path / "m", 1, [240, 1008], 32)
    assert speeds.tokens_per_second == {240: 97.6, 1008: 89.92}
    asked = (tmp_path / "asked").read_text().split()
    assert asked[2:10] == ["-p", "0", "-n", "0", "-gp", "240,32", "-gp", "1008,32"]


def test_a_users_build_needs_both_programs_and_offers_what_it_knows(tmp_path):
    folder = _stand_in(tmp_path / "bin", "llama-bench", "exit 0")
    with pytest.raises(ValueError, match="has no llama-quantize: build both"):
        find_build(str(folder / "llama-bench"))
    _stand_in(
        folder, "llama-quantize", "echo '  137  or  IQ2_BN  :  2.00 bpw'; echo '  2 or Q4_0 : 4.5'; exit 1"
    )
    build = find_build(str(folder / "llama-bench"))
    assert build == find_build(str(folder))
    assert (build.name, find_build(f"ik_llama.cpp={folder}").name) == ("llama-bench", "ik_llama.cpp")
    assert build.offered() == ["bench:IQ2_BN", "bench:Q4_0"]
    runtime = build.runtime(["bench:IQ2_BN"])
    assert runtime.types == ("bench:IQ2_BN",)


def test_the_bits_of_an_unknown_type_are_those_of_the_file(tmp_path):
    config = MOBILELLM["125M"]
    head = config.vocab_size * config.dim
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x")
    file_bytes = (config.parameters - head) * 2 // 8 + head * 34 // 32
    quantized = models.QuantizedModel(path, "IQ2_BN", 210, 0, 0.0, (), file_bytes)
    record = running.LlamaCandidate(tmp_path, quantized, config, "125M", "llama-bench").record
    assert (record.label, record.bits) == ("llama-bench IQ2_BN", 2.0)


def test_failures_of_llama_cpp_are_one_sentence(tmp_path):
    with pytest.raises(OSError, match="llama-bench is missing"):
        running.bench_prefill(tmp_path, tmp_path / "m", 1, [1])
    script = "echo '['; echo \"llama_bench: error: failed to load model 'm'\" >&2; exit 1"
    binaries = _stand_in(tmp_path / "bin", "llama-bench", script)
    with pytest.raises(
        OSError, match="llama-bench failed with exit code 1: llama_bench: error: failed to load"
    ):
        running.bench_prefill(binaries, tmp_path / "m", 1, [1])
    _stand_in(tmp_path / "bin", "llama-bench", "kill -ILL $$")
    with pytest.raises(OSError, match="llama-bench was ended by SIGILL: no output"):
        running.bench_prefill(binaries, tmp_path / "m", 1, [1])


def test_quantize_writes_both_files_or_neither(tmp_path):
    log = _printing(tmp_path, QUANTIZE_LOG)
    binaries = _stand_in(tmp_path / "bin", "llama-quantize", f'{log} >&2; echo weights > "$6"')
    output = tmp_path / "model-TQ2_0.gguf"
    model = models.quantize(binaries, tmp_path / "m", "TQ2_0", output)
    assert (model.fell_back, model.file_bytes, model.path) == (6, 8, output)
    assert models.read_quantized(output, "TQ2_0") == model
    output.unlink()
    _stand_in(tmp_path / "bin", "llama-quantize", 'echo half > "$6"; exit 1')
    with pytest.raises(OSError, match="llama-quantize failed"):
        models.quantize(binaries, tmp_path / "m", "TQ2_0", output)
    assert not list(tmp_path.glob("*.gguf*"))


def test_prepare_makes_only_what_is_missing_and_leaves_no_float_model(tmp_path):
    pytest.importorskip("gguf")
    config = ModelConfig(320, 64, 1, 1, 1, 96)
    log = _printing(tmp_path, QUANTIZE_LOG)
    binaries = _stand_in(tmp_path / "bin", "llama-quantize", f'{log} >&2; cp "$5" "$6"')
    (first,) = models.prepare(binaries, tmp_path / "models", "tiny", config, ["TQ2_0"])
    _stand_in(tmp_path / "bin", "llama-quantize", "exit 1")
    assert models.prepare(binaries, tmp_path / "models", "tiny", config, ["TQ2_0"]) == [first]
    assert sorted(p.suffix for p in (tmp_path / "models").iterdir()) == [".gguf", ".log"]


def test_build_names_the_missing_tool_and_reuses_a_finished_build(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(OSError, match="needs cmake: pip install cmake"):
        building.build(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: name if name in ("cmake", "ninja") else None)
    with pytest.raises(OSError, match=r"needs a C\+\+ compiler"):
        building.build(tmp_path)
    source = tmp_path / f"llama_cpp_python-{building.VERSION}"
    folder = source / f"build-{building._instruction_sets()}" / "bin"
    folder.mkdir(parents=True)
    for name in ("llama-bench", "llama-quantize"):
        (folder / name).touch()
    assert building.build(tmp_path) == folder


def test_the_reason_of_a_failed_build_is_its_first_error(tmp_path):
    script = "echo 'a.cpp:1: error: no such thing'; echo 'ninja: build stopped: subcommand failed.'; exit 1"
    binaries = _stand_in(tmp_path / "bin", "cmake", script)
    with pytest.raises(OSError, match=r"cmake failed with exit code 1: a\.cpp:1: error: no such thing"):
        building.run_tool([binaries / "cmake"])


def _candidate(tmp_path, fell_back=180):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"weights")
    types = ("q4_0",) if fell_back else ()
    quantized = models.QuantizedModel(path, "TQ2_0", 210, fell_back, fell_back / 240, types, 71359104)
    return running.LlamaCandidate(tmp_path, quantized, MOBILELLM["125M"], "125M")


SETTINGS = Settings(threads=[2], prompts=[128, 32], contexts=[256, 1024], generated=16, rounds=1)


def test_a_candidate_says_what_its_file_is(tmp_path):
    record = _candidate(tmp_path).record
    assert (record.name, record.recipe, record.weights, record.bits) == (
        *("125M llama.cpp TQ2_0", "llama.cpp", "random", 2.0625),
    )
    assert "180 of 210 matrices fell back to q4_0 (75% of the linear weights)" in record.note
    assert "fell back" not in _candidate(tmp_path, fell_back=0).record.note
    assert record.kv_bytes_per_position == 30 * 3 * 64 * 2 * 2  # layers, heads, width, keys and values, f16
    assert record.sha256 == hashlib.sha256(b"weights").hexdigest()


def test_a_run_measures_every_prompt_and_context(tmp_path, monkeypatch):
    def bench(command, stdout_only=False):
        if command[1:] == ["--help"]:
            return "-d, --n-depth <n>"
        options = dict(zip(command[1::2], command[2::2], strict=True))
        assert options["-t"] == "2"
        key, lengths = ("n_depth", options["-d"]) if "-d" in options else ("n_prompt", options["-p"])
        return json.dumps(
            [
                BENCH_TEST | {"n_threads": 2, key: int(n), "samples_ts": [1e4 / int(n)]}
                for n in lengths.split(",")
            ]
        )

    monkeypatch.setattr(running, "run_tool", bench)
    with HostDevice() as host:
        run = _candidate(tmp_path).run(host, SETTINGS, threads=2, index=3)
    assert run.prefill == {128: 78.125, 32: 312.5}
    assert {context: sample.tokens_per_second for context, sample in run.decode.items()} == {
        256: 39.0625,
        1024: 9.765625,
    }
    assert (run.round, run.threads, run.load_ms, run.peak_resident_bytes) == (3, 2, None, None)


def test_another_shape_under_the_name_is_a_failure_of_its_row(tmp_path, monkeypatch):
    report = [BENCH_TEST | {"n_prompt": 1, "model_n_params": 5}]
    monkeypatch.setattr(running, "run_tool", lambda command, stdout_only: json.dumps(report))
    with HostDevice() as host, pytest.raises(ProgramFailed, match="another shape than its name says"):
        _candidate(tmp_path).prepare(host, SETTINGS)
    broken = _candidate(tmp_path)
    monkeypatch.undo()
    with HostDevice() as host, pytest.raises(ProgramFailed, match="llama-bench is missing"):
        broken.prepare(host, SETTINGS)
