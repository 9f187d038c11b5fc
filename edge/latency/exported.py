"""Programs of our exporter: found or exported, and measured with our runner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.files import only_writer
from edge.latency.candidate import ProgramFailed, note_on_positions, usable
from edge.latency.devices.device import Device, Ended, Tool
from edge.latency.devices.host import HostDevice
from edge.latency.devices.open import DEVICES
from edge.latency.opponents.recipes import RECIPES
from edge.latency.schema import OWN_RECIPE, DecodeSample, ProgramRecord, Quality, Run, Settings, Trace
from edge.latency.trace import read_trace
from edge.model.config import NAMED_MODELS, ModelConfig
from edge.ops.source_hash import source_hash
from edge.runtime.manifest import Manifest, read_manifest

#: A short prompt and a few greedy tokens check that a program is right on a device.
CHECK_PROMPT, CHECK_TOKENS = (1, 15, 7, 29, 3), 4
_NO_END_TOKEN = 2**31 - 1


@dataclass(frozen=True)
class Variant:
    """Exporter options that tell programs of one shape apart."""

    bits: float
    recipe: str = OWN_RECIPE
    kv_cache: str = "auto"


@dataclass(frozen=True)
class ExportedProgram:
    """A directory that ``export.to_pte`` wrote, its manifest read and its hashes checked."""

    directory: Path
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.directory / self.manifest.program.name

    @property
    def config(self) -> ModelConfig:
        return self.manifest.config


def open_exported(directory: Path) -> ExportedProgram:
    """Read a directory. Raises ValueError for one without a program, of another version, or altered."""
    return ExportedProgram(directory, read_manifest(directory))


def export_named(model: str, variant: Variant, directory: Path) -> ExportedProgram:
    """Export a named model below ``directory``, unless these sources have done so already.

    The embedded model keeps its trained weights; the published shapes get random ones.

    Raises:
        OSError: the exporter failed; its own words.
    """
    if model not in NAMED_MODELS:
        raise ValueError(f"size {model!r} is unknown; choose from {', '.join(NAMED_MODELS)}")
    name = f"{model}-{variant.bits:g}bit-{variant.recipe}-{variant.kv_cache}-{source_hash()[:12]}"
    output = directory / name
    with only_writer(directory, wait=True):  # two reports at once export each program once
        if not output.exists():
            _export(model, variant, output)
    return open_exported(output)


def _export(model: str, variant: Variant, output: Path) -> None:
    options = f"--bits {variant.bits:g} --recipe {variant.recipe} --kv-cache {variant.kv_cache}".split()
    command = [sys.executable, "-m", "export.to_pte", "--model", model, *options, "--output", str(output)]
    command += [] if model == "default" else ["--random-weights"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        reason = result.stderr.strip()[-500:] or f"exit code {result.returncode}"
        raise OSError(f"export of {model} at {variant.bits:g} bits ({variant.recipe}) failed: {reason}")


class ExportedCandidate:
    """A ``Candidate`` for our runner. Lengths that the program's KV cache does not hold are left out."""

    def __init__(self, program: ExportedProgram, model: str, label: str) -> None:
        manifest = program.manifest
        opponent = RECIPES.get(manifest.recipe)
        self.program = program
        self.record = ProgramRecord(
            name=f"{model} {label}",
            model=model,
            label=label,
            recipe=manifest.recipe,
            format=manifest.format if manifest.recipe == OWN_RECIPE else manifest.recipe,
            bits=opponent.shown_bits if opponent else manifest.bits,
            weights=manifest.weights,
            parameters=manifest.parameters,
            config=manifest.config,
            head_bytes=_head_bytes(manifest),
            file_bytes=manifest.program.bytes,
            sha256=manifest.program.sha256,
            linear_bits_per_weight=manifest.linear_bits_per_weight,
            kv_cache=manifest.kv_cache,
            kv_bytes_per_position=manifest.kv_cache_bytes // manifest.max_seq_len,
            quality=exporters_quality(manifest),
        )
        self._paths: dict[Device, str] = {}

    def prepare(self, device: Device, settings: Settings) -> str:
        self.record.note = note_on_positions(settings, self.program.manifest.max_seq_len)
        self._paths[device] = device.install(self.program.path)
        logits = self._check_logits(device)
        if DEVICES[device.record.kind].is_this_computer:
            return "by its exporter, and every kernel by the portable one on this CPU, bit for bit"
        with HostDevice() as host:
            self._paths[host] = host.install(self.program.path)
            return self._agreement(logits, self._check_logits(host))

    def run(self, device: Device, settings: Settings, threads: int, index: int) -> Run:
        fitting = usable(settings, self.program.manifest.max_seq_len)
        got = json.loads(self._benchmark(device, fitting, threads).stdout)
        read = self._tool(
            device, "lowbit_kernel_bench", ["--read", self._paths[device], "--threads", str(threads)]
        )
        decode = {
            context: DecodeSample(
                tokens_per_second=sample["tokens_per_second"][0],
                ms_p50=sample["ms_per_token_p50"][0],
                ms_p90=sample["ms_per_token_p90"][0],
            )
            for context, sample in got["decode"].items()
        }
        return Run(
            round=index,
            threads=threads,
            kernel=got["kernel"],
            load_ms=got["load_ms"],
            first_token_ms=got["time_to_first_token_ms"],
            prefill={prompt: rates[0] for prompt, rates in got["prefill_tokens_per_second"].items()},
            decode=decode,
            peak_resident_bytes=got["memory"]["peak_resident_bytes"],
            read_seconds=float(read.stdout),
            khz=device.current_khz(),
        )

    def trace(self, device: Device, settings: Settings, threads: int) -> Trace | None:
        fitting = usable(settings, self.program.manifest.max_seq_len)
        headline = fitting.model_copy(
            update={"prompts": fitting.prompts[:1], "contexts": fitting.contexts[:1]}
        )
        remote = device.output_path("trace.etdump")
        self._benchmark(device, headline, threads, "--etdump", remote)
        return read_trace(device.fetch(remote), settings.generated, threads, headline.contexts[0])

    def _benchmark(self, device: Device, settings: Settings, threads: int, *more: str) -> Ended:
        options = {
            "--prompt-length": ",".join(map(str, settings.prompts)),
            "--context": ",".join(map(str, settings.contexts)),
            "--generate": settings.generated,
            "--threads": threads,
            "--warmup": 0,  # the first token, timed by itself, has run everything once
            "--runs": 1,
        }
        arguments = [str(part) for option in options.items() for part in option]
        return self._tool(
            device, "lowbit_runner", ["--model", self._paths[device], "--benchmark", *arguments, *more]
        )

    def _tool(self, device: Device, tool: Tool, arguments: Sequence[str]) -> Ended:
        ended = device.run(tool, arguments)
        if ended.failure is not None:
            raise ProgramFailed(ended.failure)
        return ended

    def _check_logits(self, device: Device) -> np.ndarray:
        """Logits of all new tokens of a short greedy run, one thread: float32 [CHECK_TOKENS * vocabulary]."""
        remote = device.output_path("logits.bin")
        tokens = ",".join(map(str, CHECK_PROMPT))
        options = ["--tokens", tokens, "--max-new-tokens", str(CHECK_TOKENS), "--eos", str(_NO_END_TOKEN)]
        self._tool(
            device,
            "lowbit_runner",
            ["--model", self._paths[device], *options, "--threads", "1", "--logits", remote],
        )
        return np.frombuffer(device.fetch(remote), dtype="<f4")

    def _agreement(self, logits: np.ndarray, expected: np.ndarray) -> str:
        """Compare this device's logits with this computer's. Raises ProgramFailed where they differ too much.

        Our own ops give the same bits everywhere. XNNPACK does not promise that, so its programs are held to
        the bound that their exporter derived for them (``Verification.program_rms_bound``).
        """
        where = f"logits of {CHECK_TOKENS} tokens"
        if logits.tobytes() == expected.tobytes():
            return f"{where} equal to this computer's, bit for bit"
        if logits.shape != expected.shape or self.record.is_own:
            raise ProgramFailed(f"its {where} differ from this computer's: it is not right on this device")
        off = float(np.sqrt(np.mean((logits - expected) ** 2, dtype=np.float64)))
        bound = self.program.manifest.verification.program_rms_bound
        if not off <= bound:
            raise ProgramFailed(f"its {where} are off by {off:.2g} from this computer's, beyond {bound:.2g}")
        return f"{where} within {off:.1g} of this computer's (rms; bound {bound:.1g})"


def _head_bytes(manifest: Manifest) -> int | None:
    """Bytes of the head's table, which may be the embedding's; None where XNNPACK holds it."""
    parts = manifest.part_bytes
    return parts["head"] or parts["embedding"] or None


def exporters_quality(manifest: Manifest) -> Quality | None:
    """Perplexity that the exporter measured on its own short text; None for random weights."""
    proof = manifest.verification
    if manifest.weights == "random":
        return None
    predicted = proof.tokens - 1
    return Quality(text=proof.text, tokens=predicted, block=predicted, perplexity=proof.perplexity_program)
