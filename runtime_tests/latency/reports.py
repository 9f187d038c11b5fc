"""A made-up report for tests: plausible figures that nobody measured."""

from __future__ import annotations

import random

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
#: (label, recipe, format, bits, bytes per parameter, tokens/s of a small model, trained perplexity)
KINDS = [
    ("1 bit", "lowbit", "binary", 1.0, 0.26, 312.0, 14.7),
    ("1.58 bits", "lowbit", "ternary", 1.58, 0.33, 275.0, 14.2),
    ("2 bits", "lowbit", "int2", 2.0, 0.37, 298.0, 13.9),
    ("3 bits", "lowbit", "int3", 3.0, 0.48, 226.0, 13.3),
    ("4 bits", "lowbit", "int4", 4.0, 0.58, 204.0, 13.1),
    ("xnnpack-8da4w", "xnnpack-8da4w", "8da4w g32", 4.0, 0.63, 118.0, 13.25),
    ("fp32", "fp32", "fp32", 32.0, 4.2, 30.0, 12.9),
    ("llama.cpp TQ2_0", "llama.cpp", "TQ2_0", 2.06, 0.57, 110.0, None),
]


def program(model: str, kind: tuple, parameters: int, seed: int, trained: bool = False) -> ProgramRecord:
    label, recipe, fmt, bits, bytes_per_parameter, speed, perplexity = kind
    noise, scale = random.Random(seed), 125e6 / parameters
    ours = recipe != "llama.cpp"
    runs = []
    for index in range(SETTINGS.rounds):
        for threads in SETTINGS.threads:
            rate = speed * scale * (1 if threads == 1 else 1.6) * noise.uniform(0.93, 1.03)
            tokens = {c: rate * (1 - c / 10000) for c in SETTINGS.contexts}
            runs.append(
                Run(
                    round=index,
                    threads=threads,
                    kernel="avx2" if ours else None,
                    load_ms=1.5 if ours else None,
                    first_token_ms=128e3 / (3 * rate) if ours else None,
                    prefill={p: 3 * rate * (1 - 5 / p) for p in SETTINGS.prompts},
                    decode={
                        c: DecodeSample(
                            tokens_per_second=t,
                            ms_p50=980 / t if ours else None,
                            ms_p90=1100 / t if ours else None,
                        )
                        for c, t in tokens.items()
                    },
                    peak_resident_bytes=int(parameters * bytes_per_parameter * 1.1),
                    read_seconds=parameters * bytes_per_parameter / (16e9 * threads**0.8),
                    khz=None,
                )
            )
    step = 1e3 / (speed * scale)
    shares = {"linears": 0.55, "attention": 0.1, "head": 0.25, "rest": 0.1}
    groups = {name: share * step for name, share in shares.items()}
    trace = Trace(threads=1, context=SETTINGS.contexts[0], token_ms=step, group_ms=groups)
    return ProgramRecord(
        name=f"{model} {label}",
        model=model,
        label=label,
        recipe=recipe,
        format=fmt,
        bits=bits,
        weights="trained" if trained else "random",
        parameters=parameters,
        file_bytes=int(parameters * bytes_per_parameter),
        sha256=f"{seed:064x}",
        linear_bits_per_weight=bits + 0.11 if ours else None,
        kv_cache="fp32" if ours else "f16",
        kv_bytes_per_position=46080,
        quality=Quality(text="heldout.txt", tokens=20000, block=512, perplexity=perplexity)
        if trained and perplexity
        else None,
        note="" if ours else "180 of 210 matrices fell back to q4_0 (75 % of the linear weights)",
        verified="kernels equal to the scalar one, bit for bit",
        runs=runs,
        traces=[trace] if ours else [],
    )


def made_up_report() -> Report:
    """Two random shapes and a trained model, one of whose programs failed."""
    shapes = [("story model", 5_500_000, True), ("125M", 124_640_000, False), ("1B", 1_005_460_000, False)]
    programs = [
        program(model, kind, parameters, 100 * row + column, trained)
        for row, (model, parameters, trained) in enumerate(shapes)
        for column, kind in enumerate(KINDS)
    ]
    failed = next(p for p in programs if p.name == "1B fp32")
    failed.runs, failed.traces = [], []
    failed.failure = "was killed (SIGKILL), as the system does when memory runs out"
    return Report(
        started="2026-01-02T03:04:05Z",
        finished=True,
        versions={"edge-lowbit": "0.1.0", "executorch": "1.5.1", "commit": "0123abc"},
        device=DEVICE,
        settings=SETTINGS,
        programs=programs,
    )
