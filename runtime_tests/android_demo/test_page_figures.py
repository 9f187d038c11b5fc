"""The figures that the page shows of a report: those that edge.latency finds in it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import edge
from edge.latency.schema import ProgramRecord, Report, Run
from runtime_tests.android_demo.node import run_in_node

MEASURED = Path(edge.__file__).resolve().parent / "latency" / "reports" / "epyc-zen5" / "report.json"


@pytest.fixture(scope="module")
def report() -> Report:
    """Of the story model: our widths and XNNPACK's 4 bits."""
    report = Report.model_validate(json.loads(MEASURED.read_bytes()))
    known = ("lowbit", "xnnpack-8da4w")
    report.programs = [p for p in report.programs if p.model == "default" and p.recipe in known]
    return report


def shown(page: Path, report: Report) -> dict[str, Any]:
    return run_in_node("figures.mjs", page, report=report.model_dump(mode="json"))


def runs(program: ProgramRecord) -> list[Run]:
    """Select the runs with one thread, which the page shows; the report has runs with two as well."""
    return [run for run in program.runs if run.threads == 1]


def decode(program: ProgramRecord) -> float:
    return median(run.decode[256].tokens_per_second for run in runs(program))


def front(programs: list[ProgramRecord], cost: str) -> list[str]:
    """Names of programs that no other is at least as good as in both, and better in one."""

    def value(program: ProgramRecord) -> float:
        return program.quality.perplexity if cost == "perplexity" else program.file_bytes

    def beats(a: ProgramRecord, b: ProgramRecord) -> bool:
        differ = (decode(a), value(a)) != (decode(b), value(b))
        return differ and decode(a) >= decode(b) and value(a) <= value(b)

    return [p.name for p in programs if not any(beats(other, p) for other in programs)]


def test_medians_and_fronts(page_in_node: Path, report: Report) -> None:
    found = shown(page_in_node, report)
    for row, program in zip(found["rows"], report.programs, strict=True):
        rates = [run.decode[256].tokens_per_second for run in runs(program)]
        assert row["decode"] == {"median": median(rates), "least": min(rates), "most": max(rates)}
        assert row["prefill"]["median"] == median(run.prefill[128] for run in runs(program))
        assert (row["context"], row["prompt"]) == (256, 128)
    names = ["1 bit", "1.58 bits", "2 bits", "3 bits", "4 bits", "XNNPACK 4 bits"]
    assert [row["name"] for row in found["rows"]] == names
    for cost in ("bytes", "perplexity"):
        assert found["fronts"][cost] == front(report.programs, cost)


def test_the_verdict_compares_with_xnnpack(page_in_node: Path, report: Report) -> None:
    found = shown(page_in_node, report)
    base, best = report.programs[-1], max(report.programs[:-1], key=decode)
    assert found["base"] == base.name
    assert f"{round(decode(best)):,} tokens a second" in found["verdict"]
    assert f"{decode(best) / decode(base):.2f} times as many as XNNPACK 4 bits" in found["verdict"]
    assert found["verdict"].endswith(f"from {round(100 * best.file_bytes / base.file_bytes)} % of its bytes.")


def test_our_own_4_bits_are_the_base_where_there_is_no_opponent(page_in_node: Path, report: Report) -> None:
    alone = report.model_copy(update={"programs": report.programs[:5]})
    assert shown(page_in_node, alone)["base"] == "default 4 bits, int8 cache"


def test_programs_of_equal_width_are_told_apart(page_in_node: Path, report: Report) -> None:
    twin = report.programs[0].model_copy(
        update={"name": "default 1 bit, fp32 cache", "label": "1 bit, fp32 cache"}
    )
    two = report.model_copy(update={"programs": [report.programs[0], twin, report.programs[4]]})
    names = [row["name"] for row in shown(page_in_node, two)["rows"]]
    assert names == ["1 bit, int8 cache", "1 bit, fp32 cache", "4 bits"]


def test_an_elastic_program_is_told_from_one_of_8_bits(page_in_node: Path, report: Report) -> None:
    wide = report.programs[0].model_copy(update={"format": "int8", "bits": 8.0})
    elastic = report.programs[1].model_copy(update={"format": "elastic", "bits": 8.0})
    three = report.model_copy(update={"programs": [wide, elastic, report.programs[4]]})
    assert [row["name"] for row in shown(page_in_node, three)["rows"]] == [
        "8 bits",
        "8 bits elastic",
        "4 bits",
    ]
