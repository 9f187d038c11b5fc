"""Export and run the embedded model at every bit width, in every runtime."""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge.formats import BITS_CHOICES
from edge.ops import runner_environment, runner_path
from edge.runtime.load import open_program
from edge.runtime.manifest import read_manifest
from export import to_pte
from runtime_tests.greedy import greedy_tokens
from runtime_tests.stock_runner import stock_text

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "Once upon a time, there was a little"
NEW_TOKENS = 40
#: Exported, and run by the stock runner, in processes of their own; the others in this process, to save time.
IN_A_PROCESS = "1.58"


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Export the embedded model once per session and choice: ``programs(1.58, "int8")`` is a directory."""
    directory = tmp_path_factory.mktemp("programs-whose-path-is-longer-than-a-line-of-a-terminal")

    def export(bits: float, kv_cache: str = "fp32") -> Path:
        output = directory / (f"{bits:g}" if kv_cache == "fp32" else f"{bits:g}-{kv_cache}")
        if not output.exists():
            arguments = ["--bits", f"{bits:g}", "--kv-cache", kv_cache, "--output", str(output)]
            printed = _run_export(arguments) if output.name == IN_A_PROCESS else _call_export(arguments)
            output.with_name(output.name + ".txt").write_text(printed)
        return output

    return export


def _run_export(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "export.to_pte", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _call_export(arguments: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert to_pte.main(arguments) == 0
    return printed.getvalue()


@pytest.fixture(params=[*((bits, "fp32") for bits in BITS_CHOICES), (1.58, "int8")], ids=str)
def exported(request, programs):
    return programs(*request.param)


def test_every_runtime_gives_the_same_greedy_text(exported):
    manifest, program, tokenizer = open_program(exported)
    prompt = [manifest.config.bos_id, *tokenizer.encode(PROMPT)]
    tokens = greedy_tokens(program, prompt, NEW_TOKENS, manifest.config.eos_id)
    text = tokenizer.decode(tokens)
    assert len(re.findall(r"[a-z]+", text)) >= 15, text  # words, not noise
    assert _cpp_runner(exported, prompt, manifest.config.eos_id)[: len(tokens)] == tokens
    assert stock_text(exported, PROMPT, NEW_TOKENS, own_process=exported.name == IN_A_PROCESS) == text


@pytest.mark.parametrize("kv_cache", ["fp32", "int8"])
def test_the_command_prints_what_it_proved(programs, kv_cache):
    output = programs(1.58, kv_cache)
    printed = output.with_name(output.name + ".txt").read_text()
    manifest = read_manifest(output)
    assert str(output / "model.pte") in re.sub(r"\s", "", printed)  # wrapped, but whole
    for fact in (
        f"{manifest.program.bytes:,}",
        f"{manifest.verification.exact_tables} packed tables equal",
        f"{manifest.verification.perplexity_program:.3f}",
        f"{kv_cache}, {manifest.kv_cache_bytes:,} bytes",
        "tok/s",
        "Once upon a time",
    ):
        assert fact in printed


def test_export_stays_below_three_gigabytes(programs):
    programs(1.58)
    largest_child_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert largest_child_kib < 3 * 1024**2


def test_fewer_bits_make_smaller_files(programs):
    sizes = [read_manifest(programs(bits)).part_bytes["linears"] for bits in sorted(BITS_CHOICES)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] < sizes[3] < sizes[4] < sizes[5]


def test_generate_streams_text_and_speed(programs):
    command = [
        sys.executable, "-m", "edge.runtime",
        "--program", str(programs(2)), "--prompt", PROMPT, "--max-new-tokens", "20",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.startswith(PROMPT)
    assert len(result.stdout.split()) > len(PROMPT.split()) + 8
    assert re.search(r"prefill \d+ tok/s \(\d+ tokens\), decode \d+ tok/s \(\d+ tokens\)", result.stderr)


def test_a_process_without_the_ops_fails_in_executorch_alone(programs):
    program = str(programs(2) / "model.pte")
    code = (
        "import torch\n"
        "from executorch.runtime import Runtime\n"
        f"Runtime.get().load_program({program!r}).load_method('forward')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 1
    assert "error: 0x:14" in result.stderr  # OperatorMissing, without a name


def _cpp_runner(directory: Path, prompt: list[int], eos: int) -> list[int]:
    command = [
        str(runner_path()), "--model", str(directory / "model.pte"), "--tokens", ",".join(map(str, prompt)),
        "--max-new-tokens", str(NEW_TOKENS), "--eos", str(eos), "--threads", "2",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, env=runner_environment(), check=True)
    stats = json.loads(re.search(r"PyTorchObserver (\{.*\})", result.stderr).group(1))
    assert stats["prompt_tokens"] == len(prompt)
    return [int(token) for token in result.stdout.strip().split(",")]
