"""Fuzz for as long as you like; a finding ends its target, with the input that repeats it.

  python -m runtime_tests.fuzzing --seconds 3600                    every target, two at a time
  python -m runtime_tests.fuzzing tables ops --inputs 10000000      two of them

The C++ targets need Clang and its runtime (apt-get install clang-19 libclang-rt-19-dev).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from runtime_tests.fuzzing.targets import TARGETS, Limits, Target, build_native

_DAY = 24 * 60 * 60


def main() -> int:
    """Run the command; returns 1 if there was a finding."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime_tests.fuzzing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)"
    )
    parser.add_argument("--seconds", type=int, help="for each target (default 60, or a day with --inputs)")
    parser.add_argument("--inputs", type=int, help="stop each target after this many")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time (default: cores)")
    parser.add_argument(
        "--keep",
        type=Path,
        default=Path("runs/fuzzing"),
        help="logs, corpora, findings (default %(default)s)",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.targets if name not in TARGETS]
    if unknown:
        parser.error(f"{unknown[0]} is no target; choose from {', '.join(TARGETS)}")
    seconds = arguments.seconds or (_DAY if arguments.inputs else 60)
    limits = Limits(seconds, arguments.inputs, arguments.seed)
    chosen = [TARGETS[name] for name in arguments.targets or TARGETS]
    with tempfile.TemporaryDirectory() as folder:
        if any(target.prepare is build_native for target in chosen):
            build_native(Path(folder))
        return _run(chosen, Path(folder), arguments.keep.resolve(), limits, arguments.jobs)


def _run(chosen: list[Target], built: Path, kept: Path, limits: Limits, jobs: int) -> int:
    findings = 0
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(target.run, built, kept, limits): target for target in chosen}
        for future in as_completed(running):
            try:
                print(f"{running[future].name}: {future.result()}", flush=True)
            except AssertionError as finding:
                findings += 1
                print(finding, flush=True)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
