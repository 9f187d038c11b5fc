"""A made-up report for tests: plausible figures that nobody measured."""

from __future__ import annotations

import random
from collections.abc import Iterator

from edge.latency.schema import (
    DecodeSample,
    DeviceRecord,
    ProgramRecord,
    Quality,
    Report,
    Run,
    Settings,
    Trace,
)

SETTINGS = Settings(threads=[1, 2], prompts=[128, 32], contexts=[256, 1024], generated=32, rounds=5)
DEVICE = DeviceRecord(
    kind="host",
    name="a made-up machine",
    cpu="Imaginary CPU",
    features=["avx2", "fma"],
    cores=[0, 1],
    max_khz=3_000_000,
    governors=["performance"],
    memory_bytes=8 << 30,
    system="Linux 6.1 x86_64",
)
#: (label, recipe, format, bits, bytes per parameter, tokens/s of the 125M shape, trained perplexity)
KINDS = [
    ("1 bit", "lowbit", "binary", 1.0, 0.26, 312.0, 14.7),
    ("1.58 bits", "lowbit", "ternary", 1.58, 0.33, 275.0, 14.2),
    ("2 bits", "lowbit", "int2", 2.0, 0.37, 298.0, 13.9),
    ("3 bits", "lowbit", "int3", 3.0, 0.48, 226.0, 13.3),
    ("4 bits", "lowbit", "int4", 4.0, 0.58, 204.0, 13.1),
    ("xnnpack-8da4w", "xnnpack-8da4w", "xnnpack-8da4w", 4.0, 0.63, 118.0, 13.25),
    ("fp32", "fp32", "fp32", 32.0, 4.2, 24.0, 12.9),
    ("llama.cpp TQ2_0", "llama.cpp", "TQ2_0", 2.06, 0.57, 110.0, None),
]
MORE_KINDS = [
    ("llama.cpp TQ1_0", "llama.cpp", "TQ1_0", 1.69, 0.56, 102.0, None),
    ("llama.cpp Q4_0", "llama.cpp", "Q4_0", 4.5, 0.64, 104.0, None),
]
#: (model, parameters, trained)
SHAPES = [("story model", 5_500_000, True), ("125M", 124_640_000, False), ("1B", 1_005_460_000, False)]
MORE_SHAPES = [("350M", 345_290_000, False), ("600M", 603_190_000, False)]


def program(model: str, kind: tuple, parameters: int, seed: int, trained: bool = False) -> ProgramRecord:
    label, recipe, fmt, bits, bytes_per_parameter, _, perplexity = kind
    ours = recipe != "llama.cpp"
    file_bytes = int(parameters * bytes_per_parameter)
    quality = Quality(text="heldout.txt", tokens=20480, block=512, perplexity=perplexity or 1)
    return ProgramRecord(
        name=f"{model} {label}",
        model=model,
        label=label,
        recipe=recipe,
        format=fmt,
        bits=bits,
        weights="trained" if trained and ours else "random",
        parameters=parameters,
        file_bytes=file_bytes,
        sha256=f"{seed:064x}",
        linear_bits_per_weight=bits + 0.11 if ours else None,
        kv_cache="fp32" if ours else "f16",
        kv_bytes_per_position=parameters // (3000 if ours else 6000),
        quality=quality if trained and perplexity else None,
        note="" if ours else "180 of 210 matrices fell back to q4_0 (75% of the linear weights)",
        verified="by its exporter, bit for bit" if ours else "its shape only, by its number of parameters",
        runs=list(runs(kind, parameters, file_bytes, random.Random(seed))),
        traces=[trace(kind, parameters, threads) for threads in SETTINGS.threads] if ours else [],
    )


def runs(kind: tuple, parameters: int, file_bytes: int, noise: random.Random) -> Iterator[Run]:
    ours = kind[1] != "llama.cpp"
    for index in range(SETTINGS.rounds):
        for threads in SETTINGS.threads:
            rate = speed(kind, parameters, threads) * noise.uniform(0.93, 1.03)
            tokens = {c: rate * (1 - c / 10000) for c in SETTINGS.contexts}
            decode = {
                c: DecodeSample(tokens_per_second=t, ms_p50=980 / t, ms_p90=1100 / t)
                if ours
                else DecodeSample(tokens_per_second=t)
                for c, t in tokens.items()
            }
            bandwidth = (20e9 if file_bytes > 32e6 else 44e9) * threads**0.8
            known = {
                "kernel": "avx2",
                "load_ms": 1.5 + file_bytes / 1e9,
                "first_token_ms": 1.5 + 128e3 / (3 * rate),
                "peak_resident_bytes": int(file_bytes * 1.1) + 20_000_000,
                "read_seconds": file_bytes / (bandwidth * noise.uniform(0.97, 1.03)),
            }
            prompts = {p: 3 * rate * (1 - 5 / p) for p in SETTINGS.prompts}
            yield Run(round=index, threads=threads, prefill=prompts, decode=decode, **(known if ours else {}))


def speed(kind: tuple, parameters: int, threads: int) -> float:
    """Tokens/s behind an empty context."""
    return kind[5] * 125e6 / parameters * (1 if threads == 1 else 1.6)


def trace(kind: tuple, parameters: int, threads: int) -> Trace:
    """Attention, head and rest cost every format the same."""
    fixed = {"attention": 0.35, "head": 0.9, "rest": 0.15}  # ms, of 125M with one thread
    step = 1e3 / speed(kind, parameters, threads)
    groups = {name: ms * parameters / 125e6 / (1 if threads == 1 else 1.6) for name, ms in fixed.items()}
    groups = {"linears": step - sum(groups.values()), **groups}
    return Trace(threads=threads, context=SETTINGS.contexts[0], token_ms=step, group_ms=groups)


def made_up_report(full: bool = False) -> Report:
    """Random shapes and a trained model, one of whose programs failed; full: as many as a real report has."""
    shapes = [*SHAPES[:2], *MORE_SHAPES, SHAPES[2]] if full else SHAPES
    kinds = [*KINDS, *MORE_KINDS] if full else KINDS
    programs = [
        program(model, kind, parameters, 100 * row + column, trained)
        for row, (model, parameters, trained) in enumerate(shapes)
        for column, kind in enumerate(kinds)
    ]
    failed = next(p for p in programs if p.name == "1B fp32")
    failed.runs, failed.traces = [], []
    failed.failure = "was killed (SIGKILL), as the system does when memory runs out"
    return Report(
        started="2026-01-02T03:04:05+00:00",
        finished=True,
        versions={"edge-lowbit": "0.1.0", "executorch": "1.5.1", "commit": "0123abc"},
        device=DEVICE.model_copy(deep=True),
        settings=SETTINGS.model_copy(deep=True),
        programs=programs,
    )


def emulated_report() -> Report:
    """A report of an emulator, which has no speeds."""
    report = made_up_report()
    for each in report.programs:
        each.runs, each.traces = [], []
    device = DEVICE.model_copy(update={"kind": "emulator", "name": "qemu-aarch64, core max", "cores": []})
    return report.model_copy(update={"device": device})
