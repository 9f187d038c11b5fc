"""What a report was measured under, what its words mean, and why its programs compare."""

from __future__ import annotations

from collections.abc import Iterable

from edge.latency.schema import DeviceRecord, ProgramRecord, Report
from edge.latency.report.words import NOTHING, count, listed

_KINDS = {"host": "this computer", "adb": "a phone, over adb", "emulator": "an emulator"}
Facts = list[tuple[str, str]]


def circumstances(report: Report) -> Facts:
    """Everything that a figure depends on, by what it is called."""
    emulated = report.device.kind == "emulator"
    facts = _device(report.device)
    if not emulated:
        facts += [*_clock(report), *_settings(report)]
    facts += [
        ("Versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("Begun", report.started.replace("T", " ").removesuffix("+00:00").removesuffix("Z") + " UTC"),
        ("Weights", _by(report.programs, "weights")),
        ("KV cache", _by(report.programs, "kv_cache")),
        ("Verified" if emulated else "Verified before timing", _by(report.programs, "verified")),
    ]
    failures = [program.name for program in report.programs if program.failure is not None]
    if failures:
        facts.append(("Failed", f"{listed(failures)}; the tables say why"))
    return [(name, text) for name, text in facts if text]


def _device(device: DeviceRecord) -> Facts:
    memory = f"{device.memory_bytes / 2**30:.1f} GiB" if device.memory_bytes else "not readable"
    return [
        ("Device", f"{device.name} ({_KINDS[device.kind]})"),
        ("Processor", f"{device.cpu}; {' '.join(device.features)}".removesuffix("; ")),
        ("Memory", "" if device.kind == "emulator" else memory),
        ("System", device.system),
    ]


def _clock(report: Report) -> Facts:
    device = report.device
    seen = [run.khz for program in report.programs for run in program.runs if run.khz]
    most = f"at most {device.max_khz / 1e6:.2f} GHz" if device.max_khz else "highest frequency not readable"
    after = f"; {min(seen) / 1e6:.2f} to {max(seen) / 1e6:.2f} GHz just after the runs" if seen else ""
    return [
        ("Cores used", f"{len(device.cores)}: {', '.join(map(str, device.cores))}"),
        ("Frequency", most + after),
        ("Governor", ", ".join(device.governors) or "not readable"),
        ("Kernel", ", ".join(kernels(report.programs)) or NOTHING),
    ]


def _settings(report: Report) -> Facts:
    settings = report.settings
    return [
        ("Threads", _or_so(settings.threads)),
        ("Prompts", f"{_or_so(settings.prompts)} tokens, from an empty cache"),
        ("Contexts", f"{_or_so(settings.contexts)} tokens, with {settings.generated} decoded behind each"),
        ("Rounds", f"{settings.rounds}, in each of which the programs of a model take turns"),
    ]


def kernels(programs: Iterable[ProgramRecord]) -> list[str]:
    """Of the low-bit ops, as dispatch picked them."""
    return sorted({run.kernel for program in programs for run in program.runs if run.kernel})


def definitions(report: Report) -> Facts:
    """What the words of the tables and plots mean."""
    settings = report.settings
    return [
        (
            "Decode",
            f"the rate of {settings.generated} tokens, one at a time, behind as many tokens as are "
            "named; p50 and p90 are of the time of one token.",
        ),
        ("Prefill", "the rate of a whole prompt that starts from an empty cache."),
        ("Load", "from the start of loading until the program can run. Its file is in the page cache."),
        (
            "First token",
            "from the start of loading, in a process that has run nothing yet, until the next token of a "
            f"prompt of {settings.prompts[0]} is known.",
        ),
        ("Peak memory", "resident, of the whole process."),
        ("Bits per weight", "as the linears' weights are stored, with scales and padding."),
        (
            "Read share",
            "how much of a token's time a pure read of its bytes would take: the whole file, and the KV "
            "cache up to the mean position. That read was timed on the program's own file just after "
            "each run, with as many threads, so a file that fits the processor's caches is held to "
            "their speed. At 100 % memory is the limit. A kernel that unpacks its weights when it loads "
            "them reads more than this counts.",
        ),
        (
            "Time by group",
            "of a run of its own, because tracing slows a program by some percent. The head is the last "
            "linear, with its norm; rest is what no other group holds.",
        ),
    ]


def fairness() -> list[str]:
    """Why the programs of a model compare."""
    return [
        "Programs of one model have the same shape, and run with the same threads, prompts and contexts "
        "on the same cores. They take turns, round after round, so that a change of the machine's speed "
        "meets all.",
        "Those that our exporter made, XNNPACK's and fp32 among them, run the same embedding, attention "
        "and head ops. llama.cpp runs its own, and its notes say which formats those have.",
        "A figure is the median of the rounds, with the least and the most beside it. A speed-up is the "
        "median of the rounds' own ratios, so that what slowed a whole round cancels: not the ratio of "
        "two medians.",
    ]


def _by(programs: list[ProgramRecord], attribute: str) -> str:
    """What programs say, and how many of them where they differ."""
    groups: dict[str, list[ProgramRecord]] = {}
    for program in programs:
        groups.setdefault(getattr(program, attribute), []).append(program)
    said = {words: group for words, group in groups.items() if words}
    if len(said) == 1 and len(groups) == 1:
        return next(iter(said))
    return "; ".join(f"{words} ({count(len(group), 'program')})" for words, group in said.items())


def _or_so(values: list[int]) -> str:
    return listed([str(value) for value in values])
