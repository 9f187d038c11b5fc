"""Our programs for a comparison of speed: random weights of the published shapes, exported and verified."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.manifest import Manifest, read_manifest
from edge.ops import runner_environment, runner_path
from edge.ops.source_hash import source_hash


@dataclass(frozen=True)
class Variant:
    """What distinguishes one program of a shape from another: exporter options."""

    bits: float
    recipe: str = "lowbit"
    kv_cache: str = "fp32"

    @property
    def name(self) -> str:
        if self.recipe != "lowbit":
            return self.recipe
        cache = "" if self.kv_cache == "fp32" else f", {self.kv_cache} cache"
        return f"{self.bits:g} bits{cache}"


@dataclass(frozen=True)
class ExportedProgram:
    """A directory that ``export.to_pte`` wrote, its manifest read and its hashes checked."""

    path: Path
    manifest: Manifest


def export_random(size: str, variant: Variant, directory: Path) -> ExportedProgram:
    """The program of a shape with random weights; made, and so verified, unless these sources made it before.

    Raises:
        OSError: the exporter failed; its own words.
    """
    name = f"{size}-{variant.bits:g}bit-{variant.recipe}-{variant.kv_cache}-{source_hash()[:12]}"
    output = directory / name
    if not output.exists():
        command = [sys.executable, "-m", "export.to_pte", "--model", size, "--random-weights"]
        options = {"--bits": f"{variant.bits:g}", "--recipe": variant.recipe, "--kv-cache": variant.kv_cache}
        arguments = [text for option in options.items() for text in option]
        result = subprocess.run(
            [*command, *arguments, "--output", str(output)], capture_output=True, text=True
        )
        if result.returncode != 0:
            raise OSError(f"export of {size} at {variant.name} failed: {result.stderr.strip()[-500:]}")
    manifest = read_manifest(output)
    return ExportedProgram(output / manifest.program.name, manifest)


def run_benchmark(program: Path, threads: int, prompt: int, context: int, generated: int) -> dict[str, Any]:
    """One process of ``lowbit_runner --benchmark``: a warm-up and one run; its JSON object.

    Args:
        prompt: tokens of the timed prefill, from an empty cache.
        context: positions filled before the first of the ``generated`` timed tokens.

    Raises:
        OSError: the runner refuses the program or dies; its own words.
    """
    counts = {
        "--prompt-length": prompt,
        "--context": context,
        "--generate": generated,
        "--threads": threads,
        "--runs": 1,
        "--warmup": 1,
    }
    arguments = [str(part) for option in counts.items() for part in option]
    result = subprocess.run(
        [str(runner_path()), "--model", str(program), "--benchmark", *arguments],
        capture_output=True,
        text=True,
        env=runner_environment(),
    )
    if result.returncode != 0:
        raise OSError(result.stderr.strip() or f"lowbit_runner ended with {result.returncode}")
    return json.loads(result.stdout)
