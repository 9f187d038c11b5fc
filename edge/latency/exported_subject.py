"""An exported program as the subject of a report: every process of it is one of our runner's."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from edge.latency.devices.device import Device, Ended, Tool
from edge.latency.devices.host import HostDevice
from edge.latency.programs import ExportedProgram
from edge.latency.schema import DecodeSample, ProgramRecord, Quality, Run, Settings, Trace
from edge.latency.subject import ProgramFailed, note_on_positions, usable
from edge.latency.trace import read_trace
from edge.runtime.manifest import Manifest

#: The run that shows a program right on a device: a short prompt and a few greedy tokens.
CHECK_PROMPT, CHECK_TOKENS = (1, 15, 7, 29, 3), 4
_NO_END_TOKEN = 2**31 - 1


class ExportedSubject:
    """See ``Subject``. Contexts and prompts that the program's KV cache does not hold are left out."""

    def __init__(self, program: ExportedProgram, model: str, label: str) -> None:
        manifest = program.manifest
        self.program = program
        self.record = ProgramRecord(
            name=f"{model} {label}",
            model=model,
            label=label,
            recipe=manifest.recipe,
            format=manifest.format if manifest.recipe == "lowbit" else manifest.recipe,
            bits=32 if manifest.recipe == "fp32" else manifest.bits,
            weights=manifest.weights,
            parameters=manifest.parameters,
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
        if device.record.kind == "host":
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
        """float32 [CHECK_TOKENS * vocabulary]: behind every new token of a short greedy run, one thread."""
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
        """What two devices' logits have in common; ProgramFailed where that is too little.

        Our own ops give the same bits everywhere. XNNPACK promises no such thing, so its programs are held to
        the bound that their exporter derived for them (``Verification.program_rms_bound``).
        """
        where = f"logits of {CHECK_TOKENS} tokens"
        if logits.tobytes() == expected.tobytes():
            return f"{where} equal to this computer's, bit for bit"
        if logits.shape != expected.shape or self.record.recipe == "lowbit":
            raise ProgramFailed(f"its {where} differ from this computer's: it is not right on this device")
        off = float(np.sqrt(np.mean((logits - expected) ** 2, dtype=np.float64)))
        bound = self.program.manifest.verification.program_rms_bound
        if not off <= bound:
            raise ProgramFailed(f"its {where} are off by {off:.2g} from this computer's, beyond {bound:.2g}")
        return f"{where} within {off:.1g} of this computer's (rms; bound {bound:.1g})"


def exporters_quality(manifest: Manifest) -> Quality | None:
    """What the exporter measured of the program, on its own short text; nothing of random weights."""
    proof = manifest.verification
    if manifest.weights == "random":
        return None
    predicted = proof.tokens - 1
    return Quality(text=proof.text, tokens=predicted, block=predicted, perplexity=proof.perplexity_program)
