"""Runs of llama.cpp's own benchmark, on random weights of the same shape, on this computer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.files import sha256_of
from edge.latency.candidate import Candidate, ProgramFailed, note_on_positions, usable
from edge.latency.devices.device import Device
from edge.latency.devices.open import DEVICES
from edge.latency.opponents.llama_cpp.build import BENCH, build, run_tool
from edge.latency.opponents.llama_cpp.models import HEAD_TYPE, TYPES, QuantizedModel, prepare
from edge.latency.opponents.runtime import Runtime
from edge.latency.schema import DecodeSample, ProgramRecord, Run, Settings, Trace
from edge.model.config import ModelConfig


@dataclass(frozen=True)
class Speeds:
    """Speeds that one run of llama-bench measured.

    Attributes:
        tokens_per_second: by the length of the prompt, or by the depth that decoding began at.
        parameters: of the model as llama.cpp counts them.
        cache_type: of keys and values.
        commit: of llama.cpp.
    """

    tokens_per_second: dict[int, float]
    threads: int
    parameters: int
    cache_type: str
    commit: str


def bench_prefill(binaries: Path, model: Path, threads: int, prompts: list[int]) -> Speeds:
    """Time prefills from an empty cache, each behind a warm-up of llama-bench's own.

    Raises:
        OSError: llama-bench is missing, fails, or reports something else than was asked for.
    """
    return _bench(binaries, model, threads, ["-p", _list(prompts), "-n", "0"], "n_prompt", prompts)


def bench_decode(binaries: Path, model: Path, threads: int, contexts: list[int], generated: int) -> Speeds:
    """Time ``generated`` tokens behind each number of filled positions, without sampling. Raises as above."""
    if "--n-depth" in _help_of(binaries / BENCH):
        counts = ["-p", "0", "-n", str(generated), "-d", _list(contexts)]
        return _bench(binaries, model, threads, counts, "n_depth", contexts)
    pairs = [text for context in contexts for text in ("-gp", f"{context},{generated}")]  # ik_llama.cpp
    return _bench(binaries, model, threads, ["-p", "0", "-n", "0", *pairs], "n_prompt", contexts)


def parse_bench_report(report: str, key: str) -> Speeds:
    """Parse ``llama-bench -o json`` of one repetition; ``key`` names the field that tells its tests apart.

    Raises:
        OSError: it is not the JSON this module knows.
    """
    try:
        tests = json.loads(report)
        first = tests[0]
        return Speeds(
            tokens_per_second={int(test[key]): float(test["samples_ts"][0]) for test in tests},
            threads=int(first["n_threads"]),
            parameters=int(first["model_n_params"]),
            cache_type=str(first["type_k"]),
            commit=str(first["build_commit"]),
        )
    except (ValueError, LookupError, TypeError) as error:
        raise OSError(f"llama-bench's report is not understood: {error!r}") from error


class LlamaCandidate:
    """A ``Candidate`` for llama-bench. Its file was made here and only its shape is verified.

    Args:
        runtime: whose llama-bench it is, in the report.
    """

    def __init__(
        self,
        binaries: Path,
        quantized: QuantizedModel,
        config: ModelConfig,
        model: str,
        runtime: str = "llama.cpp",
    ) -> None:
        self.binaries, self.quantized, self.config = binaries, quantized, config
        label = f"{runtime} {quantized.type_name}"
        self.record = ProgramRecord(
            name=f"{model} {label}",
            model=model,
            label=label,
            recipe=runtime,
            format=quantized.type_name,
            bits=TYPES.get(quantized.type_name) or _stored_bits(quantized, config),
            weights="random",
            parameters=config.parameters,
            file_bytes=quantized.file_bytes,
            sha256=sha256_of(quantized.path),
            kv_cache="f16",
            kv_bytes_per_position=2 * 2 * config.n_layers * config.n_kv_heads * config.head_dim,
            note=_fallback_words(quantized),
        )

    def prepare(self, device: Device, settings: Settings) -> str:
        if not DEVICES[device.record.kind].is_this_computer:
            raise ProgramFailed("llama.cpp is measured on the computer that built it only")
        speeds = self._run(bench_prefill, 1, [1])
        notes = [
            f"commit {speeds.commit}",
            _fallback_words(self.quantized),
            note_on_positions(settings, self.config.max_seq_len),
        ]
        self.record.note = "; ".join(note for note in notes if note)
        head = self.config.vocab_size * self.config.dim * self.config.tied_embedding
        sizes = {self.config.parameters, self.config.parameters + head}  # some count a tied head again
        if speeds.parameters not in sizes or speeds.cache_type != self.record.kv_cache:
            raise ProgramFailed(
                f"{self.quantized.path} has another shape than its name says: delete it to make it anew"
            )
        return "its shape only, by its number of parameters"

    def run(self, device: Device, settings: Settings, threads: int, index: int) -> Run:
        fitting = usable(settings, self.config.max_seq_len)
        prefill = self._run(bench_prefill, threads, fitting.prompts)
        decode = self._run(bench_decode, threads, fitting.contexts, fitting.generated)
        return Run(
            round=index,
            threads=threads,
            prefill=prefill.tokens_per_second,
            decode={c: DecodeSample(tokens_per_second=s) for c, s in decode.tokens_per_second.items()},
            khz=device.current_khz(),
        )

    def trace(self, device: Device, settings: Settings, threads: int) -> Trace | None:
        return None

    def _run(self, measure: Callable[..., Speeds], threads: int, *counts: Any) -> Speeds:
        try:
            return measure(self.binaries, self.quantized.path, threads, *counts)
        except OSError as error:
            raise ProgramFailed(str(error)) from error


def _bench(
    binaries: Path, model: Path, threads: int, counts: list[str], key: str, asked: list[int]
) -> Speeds:
    options = [*counts, "-t", str(threads), "-r", "1", "-o", "json"]
    command: list[str | Path] = [binaries / BENCH, "-m", model, *options]
    speeds = parse_bench_report(run_tool(command, stdout_only=True), key)
    if sorted(speeds.tokens_per_second) != sorted(asked) or speeds.threads != threads:
        raise OSError("llama-bench reports other tests or threads than were asked for")
    return speeds


@functools.cache
def _help_of(bench: Path) -> str:
    return run_tool([bench, "--help"])


def _list(numbers: list[int]) -> str:
    return ",".join(str(number) for number in numbers)


def _fallback_words(model: QuantizedModel) -> str:
    head = f"embedding and head {HEAD_TYPE}"
    if not model.fell_back:
        return head
    return (
        f"{head}; {model.fell_back} of {model.matrices} matrices fell back to "
        f"{', '.join(model.fallback_types)} ({model.fell_back_share:.0%} of the linear weights)"
    )


def _stored_bits(quantized: QuantizedModel, config: ModelConfig) -> float:
    """Bits a linear weight takes in the file, whose embedding has 34 bytes for 32 weights."""
    embedding = config.vocab_size * config.dim * (1 if config.tied_embedding else 2)
    linear = config.parameters - embedding
    return round(8 * (quantized.file_bytes - embedding * 34 / 32) / linear, 2)


def _candidates(
    model: str, config: ModelConfig, shape: str, types: Sequence[str], cache: Path
) -> list[Candidate]:
    binaries = build(cache / "llama.cpp")
    quantized = prepare(binaries, cache / "llama.cpp" / "models", shape, config, types)
    return [LlamaCandidate(binaries, each, config, model) for each in quantized]


LLAMA_CPP = Runtime(tuple(TYPES), "gguf", "llama.cpp's types", _candidates)
