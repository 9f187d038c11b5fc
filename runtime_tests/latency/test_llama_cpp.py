"""The opponent's files and reports, without the opponent: what its programs printed once is kept here."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from edge.config import MOBILELLM, ModelConfig
from edge.latency import llama_cpp, llama_cpp_build
from edge.latency import llama_cpp_models as models
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
    prompt = BENCH_TEST | {"n_prompt": 128, "n_gen": 0, "samples_ts": [314.585, 345.69]}
    speeds = llama_cpp.parse_bench_report(json.dumps([prompt, BENCH_TEST], indent=2))
    assert speeds.prefill == (314.585, 345.69)
    assert speeds.decode == (89.4022, 87.2999, 97.4002)
    assert (speeds.cpu, speeds.threads, speeds.cache_type) == ("AMD EPYC", 1, "f16/f16")
    assert (speeds.commit, speeds.parameters) == ("0c1e570", MOBILELLM["125M"].parameters)


@pytest.mark.parametrize(
    "report", ["", "[]", "[{}]", "[\n\n]", json.dumps([BENCH_TEST | {"samples_ts": None}])]
)
def test_a_report_of_another_form_is_refused(report):
    with pytest.raises(OSError, match="not understood"):
        llama_cpp.parse_bench_report(report)


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
    "changes", [{"layer_sharing": True}, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}]
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


def test_bench_asks_for_what_it_was_told_and_reads_it(tmp_path):
    script = f'echo "$@" > {tmp_path}/asked; echo noise >&2; {_printing(tmp_path, json.dumps([BENCH_TEST]))}'
    binaries = _stand_in(tmp_path / "bin", "llama-bench", script)
    speeds = llama_cpp.bench(binaries, tmp_path / "m", 1, generated_tokens=32, depth=240, repetitions=3)
    assert speeds.decode == (89.4022, 87.2999, 97.4002)
    assert speeds.prefill == ()
    assert (tmp_path / "asked").read_text().split() == [
        *("-m", str(tmp_path / "m"), "-t", "1", "-p", "0", "-n", "32", "-d", "240", "-r", "3", "-o", "json")
    ]
    with pytest.raises(OSError, match="other repetitions or threads"):
        llama_cpp.bench(binaries, tmp_path / "m", 2, generated_tokens=32, repetitions=3)


@pytest.mark.parametrize(
    "arguments", [{}, {"threads": 0, "prompt_tokens": 1}, {"prompt_tokens": 1, "depth": -1}]
)
def test_bench_refuses_nothing_to_time(arguments, tmp_path):
    with pytest.raises(ValueError, match="llama-bench needs"):
        llama_cpp.bench(tmp_path, tmp_path, **arguments)


def test_failures_of_llama_cpp_are_one_sentence(tmp_path):
    with pytest.raises(OSError, match="llama-bench is missing"):
        llama_cpp.bench(tmp_path, tmp_path / "m", prompt_tokens=1)
    script = "echo '['; echo \"llama_bench: error: failed to load model 'm'\" >&2; exit 1"
    binaries = _stand_in(tmp_path / "bin", "llama-bench", script)
    with pytest.raises(
        OSError, match="llama-bench failed with exit code 1: llama_bench: error: failed to load"
    ):
        llama_cpp.bench(binaries, tmp_path / "m", prompt_tokens=1)
    _stand_in(tmp_path / "bin", "llama-bench", "kill -ILL $$")
    with pytest.raises(OSError, match="llama-bench was ended by SIGILL: no output"):
        llama_cpp.bench(binaries, tmp_path / "m", prompt_tokens=1)


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
    with pytest.raises(ValueError, match="'Q9_9' is not compared; choose from TQ1_0"):
        models.quantize(binaries, tmp_path / "m", "Q9_9", output)


def test_prepare_makes_only_what_is_missing_and_leaves_no_float_model(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.setitem(MOBILELLM, "125M", ModelConfig(320, 64, 1, 1, 1, 96))
    log = _printing(tmp_path, QUANTIZE_LOG)
    binaries = _stand_in(tmp_path / "bin", "llama-quantize", f'{log} >&2; cp "$5" "$6"')
    (first,) = models.prepare(binaries, tmp_path / "models", "125M", ["TQ2_0"])
    _stand_in(tmp_path / "bin", "llama-quantize", "exit 1")
    assert models.prepare(binaries, tmp_path / "models", "125M", ["TQ2_0"]) == [first]
    assert sorted(p.suffix for p in (tmp_path / "models").iterdir()) == [".gguf", ".log"]
    with pytest.raises(ValueError, match="'2M' is not a published shape"):
        models.prepare(binaries, tmp_path / "models", "2M", ["TQ2_0"])


def test_build_names_the_missing_tool_and_reuses_a_finished_build(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    with pytest.raises(OSError, match="needs cmake: pip install cmake"):
        llama_cpp_build.build(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: name if name in ("cmake", "ninja") else None)
    with pytest.raises(OSError, match=r"needs a C\+\+ compiler"):
        llama_cpp_build.build(tmp_path)
    source = tmp_path / f"llama_cpp_python-{llama_cpp_build.VERSION}"
    folder = source / f"build-{llama_cpp_build._instruction_sets()}" / "bin"
    folder.mkdir(parents=True)
    for name in ("llama-bench", "llama-quantize"):
        (folder / name).touch()
    assert llama_cpp_build.build(tmp_path) == folder


def test_the_reason_of_a_failed_build_is_its_first_error(tmp_path):
    script = "echo 'a.cpp:1: error: no such thing'; echo 'ninja: build stopped: subcommand failed.'; exit 1"
    binaries = _stand_in(tmp_path / "bin", "cmake", script)
    with pytest.raises(OSError, match=r"cmake failed with exit code 1: a\.cpp:1: error: no such thing"):
        llama_cpp_build.run_tool([binaries / "cmake"])


def test_plan_decodes_around_the_context_it_names():
    plan = llama_cpp.Plan(context=256, generated=32)
    positions = range(plan.depth + 1, plan.depth + 33)  # what each token attends to, itself included
    assert sum(positions) / len(positions) == 256.5
    with pytest.raises(ValueError, match="--rounds must be at least 1, not 0"):
        llama_cpp.Plan(rounds=0)
    with pytest.raises(ValueError, match="take at least 20"):
        llama_cpp.Plan(context=10, generated=40)


def test_the_table_says_what_its_rows_are(tmp_path, monkeypatch, capsys):
    path = tmp_path / "model.gguf"
    ternary = models.QuantizedModel(path, "TQ2_0", 210, 180, 0.75, ("q4_0",), 71359104)
    four_bit = models.QuantizedModel(path, "Q4_0", 210, 0, 0.0, (), 79000000)
    speeds = iter(float(x) for x in range(100, 200))
    monkeypatch.setattr(llama_cpp, "build", lambda directory: tmp_path)
    monkeypatch.setattr(llama_cpp, "prepare", lambda *args: [ternary, four_bit])
    monkeypatch.setattr(llama_cpp, "run_tool", lambda command, stdout_only: _report_of(command, next(speeds)))
    assert llama_cpp.main(["--rounds", "3", "--directory", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "llama.cpp 0c1e570 (from llama-cpp-python" in printed
    assert "on AMD EPYC, 1 thread; random weights; embedding and head q8_0; KV cache f16/f16" in printed
    assert "| prefill of 128, tok/s | decode at context 256, tok/s |" in printed
    share = "180 of 210 fell back to q4_0 (75% of the linear weights)"
    assert f"| 125M | TQ2_0 | 71359104 | {share} | 104.0 (100.0-108.0) | 105.0 (101.0-109.0) |" in printed
    assert "| 125M | Q4_0 | 79000000 | 0 of 210 | 106.0 (102.0-110.0) | 107.0 (103.0-111.0) |" in printed


def _report_of(command, speed):
    prompt, generated = (int(command[command.index(option) + 1]) for option in ("-p", "-n"))
    return json.dumps([BENCH_TEST | {"n_prompt": prompt, "n_gen": generated, "samples_ts": [speed]}])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--sizes", "125M,7B"], "'7B' is not a published shape"),
        (["--types", "Q2_K"], "'Q2_K' is not compared"),
        (["--threads", "0"], "--threads must be at least 1"),
    ],
)
def test_mistakes_are_found_before_anything_is_built(arguments, match, monkeypatch):
    monkeypatch.setattr(llama_cpp, "build", lambda directory: pytest.fail("built"))
    with pytest.raises(ValueError, match=match):
        llama_cpp.main(arguments)


def test_another_shape_under_the_name_is_refused(tmp_path, monkeypatch):
    row = llama_cpp.Row("350M", models.QuantizedModel(tmp_path, "Q4_0", 1, 0, 0.0, (), 1))
    monkeypatch.setattr(llama_cpp, "run_tool", lambda command, stdout_only: _report_of(command, 1.0))
    with pytest.raises(OSError, match="is not the 350M shape"):
        llama_cpp.measure(tmp_path, [row], llama_cpp.Plan(rounds=1))
