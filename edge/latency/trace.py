"""Reader of the runner's traces: time of one decoded token by group of ops."""

from __future__ import annotations

from typing import Any

from edge.latency.schema import OpGroup, Trace
from edge.quiet import quiet_libraries

_PLAIN = ("linear.", "norm_linear.", "norm_gate_up.", "linear_add.")
LINEARS = tuple(f"lowbit::{prefix}{name}" for prefix in ("", "elastic_") for name in _PLAIN)
ATTENTION = ("lowbit::attention.", "lowbit::attention_int8.", "lowbit::attention_int4.")
#: A whole step, and a call of XNNPACK with its overhead; events inside them are not counted again.
STEP, DELEGATE = "Method::execute", "DELEGATE_CALL"


def read_trace(etdump: bytes, steps: int, threads: int, context: int) -> Trace:
    """Read the step of median length among the last ``steps`` of a trace; its groups add up.

    The head is the last low-bit linear of a step: every recipe fuses the final norm with it. What no group
    claims, the framework's own time between ops included, is "rest".

    Args:
        etdump: what ``lowbit_runner --benchmark --etdump`` wrote, decoding last.

    Raises:
        ValueError: it is no such trace, or has fewer steps.
    """
    decoded = sorted((_grouped(events) for events in _executes(etdump)[-steps:]), key=lambda step: step[0])
    if len(decoded) < steps:
        raise ValueError(f"the trace has {len(decoded)} steps where {steps} tokens were decoded")
    total, groups = decoded[len(decoded) // 2]
    return Trace(threads=threads, context=context, token_ms=total, group_ms=groups)


def _executes(etdump: bytes) -> list[list[Any]]:
    """The profiling events of each run of the model, in order."""
    quiet_libraries()
    from executorch.devtools.etdump.serialize import deserialize_from_etdump_flatcc

    try:
        runs = deserialize_from_etdump_flatcc(etdump).run_data
    except Exception as error:  # the flatbuffers compiler and the JSON behind it raise many kinds
        raise ValueError(f"the runner's trace cannot be read ({type(error).__name__})") from error
    events = [[e.profile_event for e in run.events or [] if e.profile_event is not None] for run in runs]
    return [run for run in events if any(event.name == STEP for event in run)]


def _grouped(events: list[Any]) -> tuple[float, dict[OpGroup, float]]:
    """Milliseconds of a whole step, and of its groups."""
    linears = [event for event in events if (event.name or "").startswith(LINEARS)]
    head = max(linears, key=lambda event: event.instruction_id, default=None)
    groups: dict[OpGroup, float] = {"linears": 0.0, "attention": 0.0, "head": 0.0}
    total = 0.0
    for event in events:
        name, ms = event.name or "", (event.end_time - event.start_time) / 1e6
        if name == STEP:
            total = ms
        elif event is head:
            groups["head"] += ms
        elif name == DELEGATE or name.startswith(LINEARS):
            groups["linears"] += ms
        elif name.startswith(ATTENTION):
            groups["attention"] += ms
    return total, {**groups, "rest": total - sum(groups.values())}
