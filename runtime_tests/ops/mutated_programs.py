"""Runs mutated programs in processes of their own and counts those that end by a signal.

python -m runtime_tests.ops.mutated_programs --files 10000 model.pte ...
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge.ops.library import runner_environment, runner_path

HEADER_BYTES = 64
PROGRAM_SIZE_AT = 16  # the size of the flatbuffer in the extended header
MEMORY_BYTES = 16 << 30  # address space of a process; torch alone takes several GB
SECONDS = 10

#: Values that fields of a flatbuffer break at: signs, small counts, limits.
EDGE_WORDS = (0, 1, 2, 4, 7, 16, 255, 256, 65535, 2**16, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1)

# Ends of a process that ran one file; the others are names of signals and exceptions.
RAN, REFUSED, SLOW = "ran", "refused", "out of time"


def flatbuffer_bytes(data: bytes) -> int:
    """Count the bytes of a program's flatbuffer, which its tables lie in."""
    return min(len(data), struct.unpack_from("<Q", data, PROGRAM_SIZE_AT)[0])


def flip_bits(data: bytearray, end: int, dice: random.Random) -> None:
    """Flip one to three bits."""
    for _ in range(dice.randint(1, 3)):
        data[dice.randrange(end)] ^= 1 << dice.randrange(8)


def replace_bytes(data: bytearray, end: int, dice: random.Random) -> None:
    """Replace one byte."""
    data[dice.randrange(end)] = dice.randrange(256)


def edit_word(data: bytearray, end: int, dice: random.Random) -> None:
    """Set a 32-bit word, as most fields are, to a value near its own or to one that fields break at."""
    at = 4 * dice.randrange(end // 4)
    old = struct.unpack_from("<I", data, at)[0]
    near = (old + dice.choice((-8, -4, -2, -1, 1, 2, 4, 8))) % 2**32
    struct.pack_into("<I", data, at, dice.choice((near, *EDGE_WORDS)))


def copy_word(data: bytearray, end: int, dice: random.Random) -> None:
    """Overwrite a word with another one: an index, an offset or a type of something else."""
    source, target = (4 * dice.randrange(end // 4) for _ in range(2))
    data[target : target + 4] = data[source : source + 4]


def splice(data: bytearray, end: int, dice: random.Random) -> None:
    """Overwrite a run of words with another run."""
    length = 4 * dice.randint(2, 16)
    source, target = (4 * dice.randrange((end - length) // 4) for _ in range(2))
    data[target : target + length] = data[source : source + length]


def truncate(data: bytearray, end: int, dice: random.Random) -> None:
    """Cut the file, most often inside its flatbuffer."""
    del data[dice.randrange(end if dice.random() < 0.7 else len(data)) :]


MUTATIONS: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    flip_bits, flip_bits, replace_bytes, edit_word, edit_word, edit_word, copy_word, copy_word, splice,
    truncate,
)  # fmt: skip


def mutate(data: bytes, seed: int) -> bytes:
    """Return a mutated copy; nine of ten change the flatbuffer, the others any byte of the file."""
    dice = random.Random(seed)
    mutated = bytearray(data)
    end = flatbuffer_bytes(data) if dice.random() < 0.9 else len(data)
    for _ in range(1 if dice.random() < 0.8 else 2):
        if len(mutated) > HEADER_BYTES * 2:
            dice.choice(MUTATIONS)(mutated, min(end, len(mutated)), dice)
    return bytes(mutated)


def run_in_runner(program: Path) -> str:
    """Run a program in lowbit_runner; returns how the process ended."""
    command = [
        runner_path(),
        "--model",
        program,
        "--tokens",
        "1,2",
        "--max-new-tokens",
        "2",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        command,
        env=runner_environment(),
        preexec_fn=_limit,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return _ending(process.wait())


def run_in_python(program: Path) -> str:
    """Run a program through edge.runtime in a fork of this process; returns how the fork ended."""
    from edge.runtime import load

    child = os.fork()
    if child == 0:
        _limit()
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        try:
            load.Program(program, threads=1).forward([1, 2], 0)
            os._exit(0)
        except ValueError:
            os._exit(2)
        except BaseException:
            os._exit(3)
    return _ending(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _limit() -> None:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _ending(code: int) -> str:
    if code < 0:
        return SLOW if code == -signal.SIGALRM else signal.Signals(-code).name
    return {0: RAN, 2: REFUSED}.get(code, f"exit code {code}")


RUNTIMES = {"runner": run_in_runner, "python": run_in_python}


def campaign(
    programs: list[Path], seeds: range, runtimes: list[str], keep: Path | None = None
) -> dict[str, Counter[str]]:
    """Run one mutated file per seed, of each program in turn; ``keep`` gets those that neither ran nor were
    refused."""
    originals = [program.read_bytes() for program in programs]
    endings: dict[str, Counter[str]] = {runtime: Counter() for runtime in runtimes}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "mutated.pte"
        for seed in seeds:
            mutated = mutate(originals[seed % len(originals)], seed)
            path.write_bytes(mutated)
            for runtime in runtimes:
                ending = RUNTIMES[runtime](path)
                endings[runtime][ending] += 1
                if keep is not None and ending not in (RAN, REFUSED):
                    stem = programs[seed % len(programs)].stem
                    (keep / f"{runtime}-{ending.replace(' ', '-')}-{stem}-{seed}.pte").write_bytes(mutated)
    return endings


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--runtime", choices=sorted(RUNTIMES), action="append")
    parser.add_argument(
        "--keep", type=Path, help="a folder for the files that end otherwise than by a refusal"
    )
    arguments = parser.parse_args()
    import edge.ops  # noqa: F401  once, before the forks
    from edge.quiet import quiet_libraries

    quiet_libraries()
    from executorch.runtime import Runtime

    Runtime.get()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.files)
    endings = campaign(arguments.programs, seeds, arguments.runtime or sorted(RUNTIMES), arguments.keep)
    for runtime, counts in endings.items():
        print(runtime, json.dumps(dict(counts.most_common())))


if __name__ == "__main__":
    sys.exit(main())
