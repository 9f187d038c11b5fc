"""Notes of a report: what it was measured under, what its words mean, and why its programs compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge.latency.devices.core_names import with_core_names
from edge.latency.devices.device import LibraryRecord
from edge.latency.report.words import NOTHING, count, listed
from edge.latency.schema import ProgramRecord, Report, Run

Facts = list[tuple[str, str]]


def circumstances(report: Report) -> Facts:
    """Everything that a figure depends on, by its name."""
    device, settings, programs = report.device, report.settings, report.programs
    runs = [run for program in programs for run in program.runs]
    has_speed = report.device_kind.has_speed
    memory = f"{device.memory_bytes / 2**30:.1f} GiB" if device.memory_bytes else "not readable"
    facts = [
        ("Device", f"{device.name} ({report.device_kind.words})"),
        ("Processor", f"{with_core_names(device.cpu)}; {' '.join(device.features)}".removesuffix("; ")),
        ("Memory", memory if has_speed else ""),
        ("System", device.system),
        ("Libraries", _libraries(device.libraries)),
    ]
    if has_speed:
        facts += [
            ("Cores used", f"{len(device.cores)}: {_listed(device.cores)}"),
            ("Frequency", _frequency(report)),
            ("Governor", ", ".join(device.governors) or "not readable"),
            ("Temperature", _range([run.temperature_c for run in runs], "°C")),
            ("Battery", _range([run.battery_percent for run in runs], "%") + _charging(runs)),
            ("Kernel", ", ".join(kernels(programs)) or NOTHING),
            ("Threads", _listed(settings.threads)),
            ("Prompts", f"{_listed(settings.prompts)} tokens, from an empty cache"),
            ("Contexts", f"{_listed(settings.contexts)} tokens, {settings.generated} decoded behind each"),
            ("Rounds", f"{settings.rounds}; in each, the programs of a model take turns"),
        ]
    facts += [
        ("Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("Begun", report.started.replace("T", " ").removesuffix("+00:00").removesuffix("Z") + " UTC"),
        ("Weights", _by(programs, "weights")),
        ("KV cache", _by(programs, "kv_cache")),
        ("Verified before timing" if has_speed else "Verified", _by(programs, "verified")),
    ]
    failures = [program.name for program in programs if program.failure is not None]
    if failures:
        facts.append(("Failed", f"{listed(failures)}; the tables say why"))
    return [(name, text) for name, text in facts if text]


def _libraries(libraries: Sequence[LibraryRecord]) -> str:
    named = [
        f"{lib.name}{f' of {lib.origin}' if lib.origin else ''} ({lib.sha256[:12]})" for lib in libraries
    ]
    return f"the Android app's, by name and SHA-256: {', '.join(named)}" if named else ""


def _frequency(report: Report) -> str:
    most = report.device.max_khz
    seen = [run.khz for program in report.programs for run in program.runs if run.khz]
    after = f"; {min(seen) / 1e6:.2f} to {max(seen) / 1e6:.2f} GHz just after the runs" if seen else ""
    return (f"at most {most / 1e6:.2f} GHz" if most else "highest frequency not readable") + after


def kernels(programs: Iterable[ProgramRecord]) -> list[str]:
    """Kernels of the low-bit ops that dispatch picked."""
    return sorted({run.kernel for program in programs for run in program.runs if run.kernel})


def _range(values: Iterable[float | None], unit: str) -> str:
    """The least and the most of what is known; nothing where nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    least, most = min(known), max(known)
    return f"{least:g} {unit}" if least == most else f"{least:g} to {most:g} {unit}"


def _charging(runs: Sequence[Run]) -> str:
    known = {run.charging for run in runs if run.charging is not None}
    if len(known) != 1:
        return ""
    return ", charging" if known.pop() else ", not charging"


_MEANINGS = """
Turns: programs of a model have one shape, and run in turns with the same threads, cores and lengths.
Ops: programs of our exporter share embedding, attention and head; other runtimes have their own.
Figure: the median of the rounds, with the least and the most beside it.
Speed-up: the median of the rounds' own ratios, so that what slowed a whole round cancels.
Decode: the rate of tokens, one at a time, behind a context; p50 and p90 are of one token's time.
Prefill: the rate of a whole prompt from an empty cache.
Load: from the start of loading until the program can run; its file is in the page cache.
First token: from the start of loading in a fresh process to the token behind the first prompt.
Peak memory: resident memory of the whole process.
Bits per weight: of the linears as stored, with scales and padding.
Read share: the time of a pure read of a token's bytes (the file, and the KV cache up to the mean position)
 over the token's time. The read was timed on the program's own file after each run, with as many threads.
 At 100 % memory is the limit. Kernels that unpack weights on loading read more.
Time by group: from traced runs, some percent slower. The head is the last linear with its norm;
 rest is everything else.
"""


def meanings() -> Facts:
    """Meanings of the words in tables and plots, and why programs compare."""
    lines = _MEANINGS.replace("\n ", " ").strip().splitlines()
    return [(name, text) for name, _, text in (line.partition(": ") for line in lines)]


def _by(programs: list[ProgramRecord], attribute: str) -> str:
    """Values of an attribute, with the number of programs where they differ."""
    groups: dict[str, list[ProgramRecord]] = {}
    for program in programs:
        groups.setdefault(getattr(program, attribute), []).append(program)
    if len(groups) == 1:
        return next(iter(groups))
    return "; ".join(f"{words} ({count(len(group), 'program')})" for words, group in groups.items() if words)


def _listed(values: list[int]) -> str:
    return listed([str(value) for value in values])
