"""The latency reports that the project keeps, and one whose runs cost what a test says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import edge.latency
from edge.latency.schema import DecodeSample, Report, Run, read_report
from edge.scaling.plan.amounts import (
    decode_amounts,
    known_bytes,
    prefill_amounts,
    start_amounts,
)
from edge.scaling.plan.programs import measured_programs

REPORTS = Path(edge.latency.__file__).parent / "reports"
ZEN5, ZEN3 = (REPORTS / f"epyc-{name}" / "report.json" for name in ("zen5", "zen3"))


def total(costs: Mapping[str, float], amounts: Mapping[str, float]) -> float:
    return sum(costs[name] * amount for name, amount in amounts.items())


def report_of_costs(costs: Mapping[str, Mapping[str, float]]) -> Report:
    """The kept report of Zen 3 with one round of 1 thread that has exactly these costs."""
    report = read_report(ZEN3)
    settings = report.settings.model_copy(update={"threads": [1], "rounds": 1})
    report = report.model_copy(update={"settings": settings})
    prompt, positions = max(settings.prompts), max(settings.contexts) + settings.generated
    for p in measured_programs(report, "report"):

        def prefill(length: int, p=p) -> float:
            return total(costs["prefill"], prefill_amounts(p.config, p.grid, length))

        decode = {}
        for context in settings.contexts:
            position = context + settings.generated / 2
            amounts = decode_amounts(p.config, p.grid, p.linear_bytes, p.head_bytes, position)
            decode[context] = DecodeSample(tokens_per_second=1 / total(costs["decode"], amounts))
        known = known_bytes(p.config, p.record.file_bytes, p.kv_cache, prompt, positions)
        unpacked = total(costs["memory"], start_amounts(p.grid, p.linear_bytes))
        start = total(costs["start"], start_amounts(p.grid, p.linear_bytes))
        p.record.runs = [
            Run(
                round=0, threads=1, prefill={n: n / prefill(n) for n in settings.prompts}, decode=decode,
                first_token_ms=1e3 * (start + prefill(settings.prompts[0])),
                peak_resident_bytes=round(known + unpacked),
            )
        ]  # fmt: skip
    return report
