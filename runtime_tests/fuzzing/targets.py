"""The fuzz targets: C++ ones by libFuzzer with sanitizers, Python ones by ``readers.py``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export import to_pte
from runtime_tests.fuzzing.readers import READERS
from runtime_tests.native_builds import CSRC, compile_target, configure, find_clang
from runtime_tests.ops.programs import TinyBlock, write_program
from runtime_tests.tiny import save_tiny

_ROOT = Path(__file__).resolve().parents[2]
#: Of one input. Sanitizers and a busy machine make it slow, but no input is large.
_LONGEST_SECONDS = 120
_MEMORY_MB = 8192


@dataclass(frozen=True)
class Limits:
    """When a target ends: after so many inputs or seconds, whichever is first; its inputs follow a seed."""

    seconds: int
    inputs: int | None
    seed: int


@dataclass(frozen=True)
class Target:
    """Describe one fuzz target: how to prepare it, and the command that runs it.

    Attributes:
        prepare: builds or writes what the target needs into a folder.
        command: for that folder, a folder that keeps findings and corpus, and limits.
    """

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path, Path, Limits], list[object]]

    def run(self, built: Path, kept: Path, limits: Limits) -> str:
        """Fuzz; returns what the target says at its end.

        Raises:
            AssertionError: there was a finding; what the target printed is in ``kept``/NAME.log.
        """
        kept.mkdir(parents=True, exist_ok=True)
        log = kept / f"{self.name}.log"
        with log.open("w") as file:
            command = [str(word) for word in self.command(built, kept, limits)]
            ended = subprocess.run(command, cwd=_ROOT, stdout=file, stderr=subprocess.STDOUT, check=False)
        lines = log.read_text(errors="replace").strip().splitlines()
        assert ended.returncode == 0, f"{self.name}: see {log}; it ends with:\n" + "\n".join(lines[-12:])
        return lines[-1]


def build_native(folder: Path) -> None:
    """Build the C++ targets, and write programs that their inputs start from."""
    configure(CSRC, folder, "-DEDGE_FUZZ=ON", "-DEDGE_CORE_ONLY=ON", f"-DCMAKE_CXX_COMPILER={find_clang()}")
    compile_target(folder, "fuzz_targets")
    seeds = folder / "seeds"
    seeds.mkdir(exist_ok=True)
    write_program(TinyBlock(), seeds / "block.pte")
    save_tiny(folder / "model", n_layers=1)
    to_pte.main(["--bits", "2", "--model", str(folder / "model"), "--output", str(folder / "program")])
    (folder / "program/model.pte").replace(seeds / "model.pte")


def _libfuzzer(name: str, *options: str, seeds: bool = False) -> Callable[[Path, Path, Limits], list[object]]:
    def command(built: Path, kept: Path, limits: Limits) -> list[object]:
        corpus = kept / f"{name}-corpus"
        corpus.mkdir(exist_ok=True)
        return [
            built / f"fuzz_{name}",
            f"-max_total_time={limits.seconds}",
            f"-runs={-1 if limits.inputs is None else limits.inputs}",
            f"-seed={limits.seed + 1}",  # 0 would be another seed each time
            f"-timeout={_LONGEST_SECONDS}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-artifact_prefix={kept / name}-",
            *options,
            corpus,
            *([built / "seeds"] if seeds else []),
        ]

    return command


def _reader(name: str) -> Callable[[Path, Path, Limits], list[object]]:
    def command(built: Path, kept: Path, limits: Limits) -> list[object]:
        inputs = [] if limits.inputs is None else ["--inputs", limits.inputs]
        module = [sys.executable, "-m", "runtime_tests.fuzzing.readers"]
        return [*module, name, "--seconds", limits.seconds, "--seed", limits.seed, *inputs]

    return command


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("tables", build_native, _libfuzzer("tables")),
        Target("ops", build_native, _libfuzzer("ops")),
        Target("program", build_native, _libfuzzer("program", "-max_len=40000", seeds=True)),
        *(Target(name, lambda folder: None, _reader(name)) for name in READERS),
    )
}
