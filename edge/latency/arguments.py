"""Command line of ``python -m edge.latency``: flags, defaults and checks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from edge.formats import BITS_CHOICES, grid_for_bits
from edge.latency.devices.cores import parse_cores
from edge.latency.devices.open import DEVICES
from edge.latency.opponents.llama_cpp.user_build import BENCH_PREFIX, BENCH_TYPES, UserBuild, find_build
from edge.latency.opponents.recipes import RECIPES
from edge.latency.opponents.table import OPPONENTS, default_opponents
from edge.latency.schema import Settings
from edge.model.config import NAMED_MODELS
from edge.runtime.load import MAX_THREADS

DESCRIPTION = """\
Measures exported programs side by side on one device and writes a report: report.json with every sample,
report.md, and report.html, one page that needs no other file.

  python -m edge.latency exported/two-bit exported/four-bit         programs that you have
  python -m edge.latency --sizes 125M --bits 1.58,2,4 --random-weights
                                                 published shapes, exported first; speed and size only
  python -m edge.latency ... --device adb        on a phone (--device adb:SERIAL where several are connected)
  python -m edge.latency ... --device emulator   shows that they are right on ARM; has no speed
  python -m edge.latency --compare old.json new.json                exit code 1 on a regression

Interrupt it when you like: the same command continues. Close other programs first; what else runs, slows.
"""


@dataclass(frozen=True)
class Request:
    """A checked request to measure."""

    programs: list[Path]
    sizes: list[str]
    bits: list[float]
    opponents: list[str] | None
    build: UserBuild | None
    cache: Path
    device: str
    cores: list[int] | None
    settings: Settings
    eval_data: str | None
    output: Path


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m edge.latency",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("programs", nargs="*", type=Path, help="directories that export.to_pte wrote")
    export = result.add_argument_group("export first")
    export.add_argument(
        "--sizes", default="", help=f"of {', '.join(NAMED_MODELS)}; 'default' is the trained one"
    )
    export.add_argument("--bits", default="1,1.58,2,3,4", help="of our own programs (default %(default)s)")
    export.add_argument(
        "--random-weights", action="store_true", help="required for sizes that are not trained"
    )
    export.add_argument(
        "--opponents",
        help=f"of {', '.join(OPPONENTS)}, or none; our own 4 bits is one in any case (default: what "
        "can be had; llama.cpp's types, which are built from source, where the extra 'peers' is installed)",
    )
    export.add_argument(
        "--llama-bench",
        metavar="[NAME=]PATH",
        help="a build of llama.cpp, or of a fork such as ik_llama.cpp, to compare too: its llama-bench, with "
        f"llama-quantize beside it; --opponents {BENCH_PREFIX}TYPE,... chooses its types (default: "
        f"those of {', '.join(BENCH_TYPES)} that it knows)",
    )
    export.add_argument(
        "--cache", type=Path, default=Path("runs"), help="keeps exports (default %(default)s)"
    )
    measure = result.add_argument_group("measure")
    measure.add_argument(
        "--device", default="host", help="host, adb[:SERIAL], emulator[:CORE] (default host)"
    )
    measure.add_argument("--cores", help="cores to run on, such as 4-7 (default: all that are allowed)")
    measure.add_argument(
        "--threads", default="1", help="thread counts; the first is the headline (default 1)"
    )
    measure.add_argument("--prompts", default="128,512", help="prefill lengths (default %(default)s)")
    measure.add_argument(
        "--contexts", default="256,1024", help="positions before decode (default %(default)s)"
    )
    measure.add_argument("--generated", type=int, default=32, help="tokens decoded at each (default 32)")
    measure.add_argument("--rounds", type=int, default=5, help="times that all take turns (default 5)")
    measure.add_argument(
        "--eval-data", metavar="FILE[:TOKENS]", help="text for the perplexity of trained programs"
    )
    measure.add_argument("--output", type=Path, default=Path("latency-report"), help="(default %(default)s)")
    read = result.add_argument_group("reports that exist")
    read.add_argument(
        "--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="what changed; 1 on a regression"
    )
    read.add_argument(
        "--bound", type=float, default=0.05, help="how much worse is a regression (default 0.05)"
    )
    read.add_argument(
        "--render", type=Path, metavar="REPORT", help="write the Markdown and the page of a report anew"
    )
    return result


def checked(args: argparse.Namespace) -> Request:
    """Check the arguments. Raises ValueError, with the cure, for what cannot be measured."""
    sizes = _list(args.sizes)
    if not args.programs and not sizes:
        raise ValueError("there is nothing to measure: give exported directories or --sizes; see --help")
    unknown = [size for size in sizes if size not in NAMED_MODELS]
    if unknown:
        raise ValueError(f"--sizes {unknown[0]} is unknown; choose from {', '.join(NAMED_MODELS)}")
    untrained = [size for size in sizes if size != "default"]
    if untrained and not args.random_weights:
        raise ValueError(
            f"no trained weights of MobileLLM {untrained[0]} come with the package: add --random-weights to "
            "measure speed and size, or give directories of your own exports"
        )
    return Request(
        programs=args.programs,
        sizes=sizes,
        bits=[grid_for_bits(text, BITS_CHOICES).bits for text in _list(args.bits)] if sizes else [],
        opponents=_opponents(args.opponents, args.device, args.llama_bench is not None),
        build=_user_build(args.llama_bench, args.device),
        cache=args.cache,
        device=args.device,
        cores=None if args.cores is None else parse_cores(args.cores),
        settings=_settings(args),
        eval_data=args.eval_data,
        output=args.output,
    )


def _opponents(text: str | None, device: str, has_build: bool) -> list[str] | None:
    """Names given, None for the defaults. Other runtimes are built for this computer only."""
    names = default_opponents() if text is None else _list(text.replace("none", ""))
    of_build = [name for name in names if name.startswith(BENCH_PREFIX)]
    if of_build and not has_build:
        raise ValueError(f"--opponents {of_build[0]} is a type of your own build: give its --llama-bench")
    strange = [name for name in names if name not in OPPONENTS and name not in of_build]
    if strange:
        raise ValueError(f"--opponents {strange[0]} is unknown; choose from {', '.join(OPPONENTS)}, or none")
    if not _is_this_computer(device):
        return [name for name in names if name in RECIPES]
    return None if text is None else names


def _user_build(text: str | None, device: str) -> UserBuild | None:
    if text is None:
        return None
    if not _is_this_computer(device):
        raise ValueError("--llama-bench runs on this computer only: leave out --device")
    return find_build(text)


def _is_this_computer(device: str) -> bool:
    kind = DEVICES.get(device.partition(":")[0])
    return kind is not None and kind.is_this_computer


def _settings(args: argparse.Namespace) -> Settings:
    lists = {name: _counts(getattr(args, name), f"--{name}") for name in ("threads", "prompts", "contexts")}
    if max(lists["threads"]) > MAX_THREADS:
        raise ValueError(f"--threads must lie in 1..{MAX_THREADS}, not {max(lists['threads'])}")
    for name in ("generated", "rounds"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} must be at least 1, not {getattr(args, name)}")
    return Settings(**lists, generated=args.generated, rounds=args.rounds)


def _counts(text: str, flag: str) -> list[int]:
    try:
        counts = [int(part) for part in _list(text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
        raise ValueError(f"{flag} takes positive integers, each once, such as 1,2; not {text!r}")
    return counts


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
