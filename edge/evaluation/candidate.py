"""Open a model to evaluate: a checkpoint of any bit width or an exported program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.evaluation.bounds import ErrorBounds, error_bounds
from edge.evaluation.language_model import EagerModel, LanguageModel, ProgramModel
from edge.model.config import ModelConfig
from edge.model.tokenizer import Tokenizer
from edge.runtime.load import open_program
from edge.runtime.manifest import MANIFEST_NAME, PROGRAM_NAME


@dataclass(frozen=True)
class Facts:
    """Facts about a model for the report.

    Attributes:
        bits: per weight of the linears; the mean if they differ.
        weight_bytes: of the checkpoint's weight files, or of the whole program.
        positions: the most tokens it can read at once.
    """

    model: str
    kind: Literal["checkpoint", "program"]
    bits: float
    weight_bytes: int
    positions: int


@dataclass(frozen=True)
class Candidate:
    """A model to evaluate.

    Attributes:
        bounds: how far a program's figures may lie from its fake-quantised model's; None for a checkpoint,
            and for a program that does not keep that model's weights.
    """

    facts: Facts
    config: ModelConfig
    tokenizer: Tokenizer
    model: LanguageModel
    bounds: ErrorBounds | None = None


def open_candidate(name: str) -> Candidate:
    """Open an embedded model, a directory, a hub id, or a program by its directory or ``.pte`` file.

    Raises:
        ValueError: it cannot be read, was altered since its export, or has no tokenizer.
    """
    path = Path(name)
    if path.suffix == Path(PROGRAM_NAME).suffix and not path.is_dir():
        return _open_program(name, path.parent, path.name)
    if any((path / file).is_file() for file in (MANIFEST_NAME, PROGRAM_NAME)):
        return _open_program(name, path)
    return _open_checkpoint(name)


def _open_program(name: str, directory: Path, file: str | None = None) -> Candidate:
    manifest, program, tokenizer = open_program(directory)
    if file not in (None, manifest.program.name):
        raise ValueError(f"{name} is not {manifest.program.name}, which the manifest beside it describes")
    if tokenizer is None:
        raise ValueError(f"{name} has no tokenizer (its weights are {manifest.weights}); it cannot read text")
    facts = Facts(name, "program", manifest.bits, manifest.program.bytes, program.max_seq_len)
    return Candidate(facts, manifest.config, tokenizer, ProgramModel(program), error_bounds(manifest))


def _open_checkpoint(name: str) -> Candidate:
    checkpoint = open_model(name)
    if checkpoint.tokenizer is None:
        raise ValueError(f"{name} has no tokenizer; it cannot read text")
    files = checkpoint.tokenizer.parent.glob("*.safetensors")  # the tokenizer lies beside the weights
    size = sum(file.stat().st_size for file in files)
    config = checkpoint.config
    facts = Facts(name, "checkpoint", checkpoint.bits, size, config.max_seq_len)
    model = EagerModel(build_model(checkpoint, positions=0))
    return Candidate(facts, config, Tokenizer(checkpoint.tokenizer), model)
