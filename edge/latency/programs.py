"""Exported programs as they are found or made for a report."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edge.model.config import NAMED_MODELS, ModelConfig
from edge.ops.source_hash import source_hash
from edge.runtime.manifest import Manifest, read_manifest

#: Recipes of the exporter that stand beside ours as opponents, and the bits that each is asked for.
OPPONENT_RECIPES = {"xnnpack-8da4w": 4.0, "fp32": 16.0}


@dataclass(frozen=True)
class Variant:
    """What distinguishes one program of a shape from another: exporter options."""

    bits: float
    recipe: str = "lowbit"
    kv_cache: str = "fp32"


@dataclass(frozen=True)
class ExportedProgram:
    """A directory that ``export.to_pte`` wrote, its manifest read and its hashes checked."""

    directory: Path
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.directory / self.manifest.program.name

    @property
    def config(self) -> ModelConfig:
        fields = self.manifest.config
        return ModelConfig(**{**fields, "eos_ids": tuple(fields["eos_ids"])})


def open_exported(directory: Path) -> ExportedProgram:
    """Raises ValueError, by name: no program, one of another version, or one that was altered."""
    return ExportedProgram(directory, read_manifest(directory))


def export_named(model: str, variant: Variant, directory: Path) -> ExportedProgram:
    """A named model's program below ``directory``: made, and so verified, unless these sources made it.

    The embedded model keeps its trained weights; the published shapes get random ones.

    Raises:
        OSError: the exporter failed; its own words.
    """
    if model not in NAMED_MODELS:
        raise ValueError(f"size {model!r} is unknown; choose from {', '.join(NAMED_MODELS)}")
    name = f"{model}-{variant.bits:g}bit-{variant.recipe}-{variant.kv_cache}-{source_hash()[:12]}"
    output = directory / name
    if not output.exists():
        options = {"--model": model, "--bits": f"{variant.bits:g}", "--recipe": variant.recipe}
        options |= {"--kv-cache": variant.kv_cache, "--output": str(output)}
        command = [
            sys.executable,
            "-m",
            "export.to_pte",
            *(text for pair in options.items() for text in pair),
        ]
        command += [] if model == "default" else ["--random-weights"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            reason = result.stderr.strip()[-500:] or f"exit code {result.returncode}"
            raise OSError(f"export of {model} at {variant.bits:g} bits ({variant.recipe}) failed: {reason}")
    return open_exported(output)
