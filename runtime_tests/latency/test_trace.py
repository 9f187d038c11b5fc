"""Traces of real programs, group by group."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge.latency import trace as tracing
from edge.latency.trace import read_trace
from edge.ops import runner_environment, runner_path
from edge.ops.schema import _SCHEMAS

STEPS = 3


def traced(program: Path, directory: Path, *arguments: str) -> bytes:
    path = directory / "trace.etdump"
    counts = [
        "--prompt-length",
        "4",
        "--context",
        "8",
        "--generate",
        str(STEPS),
        "--warmup",
        "0",
        "--runs",
        "1",
    ]
    command = [str(runner_path()), "--model", str(program / "model.pte"), "--benchmark", *counts]
    subprocess.run(
        [*command, *arguments, "--threads", "1", "--etdump", str(path)],
        check=True,
        capture_output=True,
        env=runner_environment(),
    )
    return path.read_bytes()


def names_by_group(etdump: bytes) -> dict[str, list[str]]:
    """Find the events of each group in the last step, by making one event at a time long."""
    (events,) = tracing._executes(etdump)[-1:]
    _, before = tracing._grouped(events)
    found: dict[str, list[str]] = {group: [] for group in before}
    for event in events:
        event.end_time += 1_000_000_000
        _, after = tracing._grouped(events)
        event.end_time -= 1_000_000_000
        for group in ("linears", "attention", "head"):
            if after[group] > before[group] + 999:
                found[group].append(event.name)
    return found


def test_our_own_program(exported, tmp_path):
    """The tiny model's two layers; its 50 rows of gate and up do not fit one table, so they are two ops."""
    etdump = traced(exported["two"], tmp_path)
    trace = read_trace(etdump, STEPS, threads=1, context=8)
    assert (trace.threads, trace.context) == (1, 8)
    assert set(trace.group_ms) == {"linears", "attention", "head", "rest"}
    assert all(ms > 0 for ms in trace.group_ms.values())
    assert sum(trace.group_ms.values()) == pytest.approx(trace.token_ms)
    groups = names_by_group(etdump)
    assert groups["attention"] == ["lowbit::attention.out"] * 2
    assert groups["head"] == ["lowbit::norm_linear.out"]
    assert all(name.startswith("lowbit::") for name in groups["linears"])
    assert groups["linears"].count("lowbit::linear_add.out") == 2 * 2  # o and down


def test_a_program_of_delegates(exported, tmp_path):
    etdump = traced(exported["full"], tmp_path)
    groups = names_by_group(etdump)
    assert set(groups["linears"]) == {"DELEGATE_CALL"}
    assert groups["head"] == ["lowbit::norm_linear.out"]
    assert read_trace(etdump, STEPS, 1, 8).group_ms["linears"] > 0


def test_the_step_of_median_length(monkeypatch):
    steps = iter([(5.0, {"rest": 5.0}), (9.0, {"rest": 9.0}), (6.0, {"rest": 6.0})])
    monkeypatch.setattr(tracing, "_executes", lambda etdump: [["prefill"]] * 4 + [[]] * 3)
    monkeypatch.setattr(tracing, "_grouped", lambda events: next(steps))
    assert read_trace(b"", 3, 1, 8).token_ms == 6.0


def test_every_op_has_its_group():
    """A new op belongs in a group, or in this list of what is rest."""
    named = {name.removeprefix("lowbit::").removesuffix(".") for name in tracing.LINEARS + tracing.ATTENTION}
    assert named | {"embedding", "rms_norm", "gate_mul"} == set(_SCHEMAS)


def test_prefills_are_not_counted(exported, tmp_path):
    executes = tracing._executes(traced(exported["two"], tmp_path))
    assert len(executes) == 2 + 1 + STEPS  # the first token, the run's prefill, what the context lacks


def test_traces_that_cannot_be_read(exported, tmp_path):
    etdump = traced(exported["two"], tmp_path)
    with pytest.raises(ValueError, match="has 6 steps where 7 tokens"):
        read_trace(etdump, 7, 1, 8)
    for broken in (b"", b"not a trace", etdump[: len(etdump) // 2]):
        with pytest.raises(ValueError, match="cannot be read"):
            read_trace(broken, STEPS, 1, 8)
