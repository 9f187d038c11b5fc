"""The manifest beside an exported program: what it is, from what, how large, and how it was verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from edge.files import sha256_of

MANIFEST_NAME = "manifest.json"
PROGRAM_NAME = "model.pte"
SCHEMA_VERSION = 3

#: How the program's weights came to be; reports print it beside every figure.
Weights = Literal["trained", "rounded after training", "random"]
#: How a program holds keys and values.
KVCacheFormat = Literal["fp32", "int8"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    """A file of the export, by its name in the directory."""

    name: str
    bytes: int
    sha256: str


class CacheCost(_Record):
    """What an int8 KV cache alone changes, in eager PyTorch with the program's weights.

    Attributes:
        rms: of the change of the logits.
        rms_bound: what int8 inputs of every linear change, which the cache may not exceed.
        perplexity: with the cache; ``Verification.perplexity_eager`` is without.
        perplexity_bound: a ratio, derived from rms.
    """

    rms: float
    rms_bound: float
    perplexity: float
    perplexity_bound: float


class Verification(_Record):
    """What the exporter proved by running the program; logit errors are root mean squares.

    Attributes:
        exact_tables: packed tables in the written file that hold the model's weights: bit for bit for
            linears and for an embedding and head that were trained on a grid, else these are rounded to the
            nearest level.
        tokens: length of the text that was run. ``text`` says which.
        logit_rms: size of the logits themselves.
        rounding_rms: what int8 activations, and an int8 cache, change, measured in eager PyTorch.
        program_rms: program against eager PyTorch that rounds the same values to int8, token by token.
        program_rms_bound: what program_rms may be at most; ``verify.py`` derives it.
        prefill_rms: prefill against token by token in the program; prefill_rms_bound is 0 where our own ops
            compute everything.
        perplexity_program, perplexity_eager, perplexity_bound: on that text; the bound is a ratio.
        cache: the cost of an int8 KV cache; None for a float32 one.
        perplexity_full_precision: before rounding, where the weights were rounded after training.
    """

    exact_tables: int
    text: str
    tokens: int
    logit_rms: float
    rounding_rms: float
    program_rms: float
    program_rms_bound: float
    prefill_rms: float
    prefill_rms_bound: float
    perplexity_program: float
    perplexity_eager: float
    perplexity_bound: float
    cache: CacheCost | None = None
    perplexity_full_precision: float | None = None


class Manifest(_Record):
    """Everything a report needs to say about a program. Sizes are real bytes of the written files.

    Attributes:
        format: of the linears; ``mixed`` where they differ, and then ``formats`` has each one's by its full
            name. Otherwise ``formats`` is empty.
        bits: per weight of the linears, as formats are named; of a mixed program the mean over the weights.
        embedding_learned: embedding and head are on the grid they were trained on, which was kept.
        kv_cache_bytes: what the program holds in memory for keys and values of ``max_seq_len`` positions.
        tables: the weights in each packed table, in the order of their rows, by the names of their modules.
        part_bytes: bytes by part of the program; they add up to the program's size.
        linear_bits_per_weight: stored bits per weight of the quantised linears, scales and padding included;
            None where they are inside XNNPACK's delegates and so part of ``rest``.
        effective_bits_per_weight: the whole program's bits over all parameters of the model.
    """

    schema_version: Literal[3] = 3
    model: str
    source: str
    weights: Weights
    config: dict[str, Any]
    parameters: int
    recipe: str
    format: str
    bits: float
    formats: dict[str, str]
    embedding_bits: int
    embedding_learned: bool
    max_seq_len: int
    kv_cache: KVCacheFormat
    kv_cache_bytes: int
    program: FileRecord
    tokenizer: FileRecord | None
    tables: dict[str, list[str]]
    part_bytes: dict[str, int]
    linear_bits_per_weight: float | None
    effective_bits_per_weight: float
    versions: dict[str, str]
    verification: Verification
    #: of everything above, so that an edited manifest is noticed
    checksum: str = ""

    def sealed(self) -> Manifest:
        return self.model_copy(update={"checksum": self._content_sha256()})

    def is_intact(self) -> bool:
        return self.checksum == self._content_sha256()

    def _content_sha256(self) -> str:
        content = self.model_dump(mode="json", exclude={"checksum"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_file(path: Path) -> FileRecord:
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def read_manifest(directory: Path) -> Manifest:
    """Reads a manifest and checks that the files beside it are the ones it describes.

    Raises:
        ValueError: no manifest, another version, malformed, or a file that is missing, truncated or altered.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(f"{directory} is not an exported program: it has no {MANIFEST_NAME}")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise ValueError(
            f"{path} is not a manifest of version {SCHEMA_VERSION}: {where}: {first['msg']}"
        ) from error
    if not manifest.is_intact():
        raise ValueError(f"{path} was altered after its export (its checksum differs); export it again")
    for record in filter(None, (manifest.program, manifest.tokenizer)):
        _check_file(directory / record.name, record)
    return manifest


def _check_file(path: Path, record: FileRecord) -> None:
    if not path.is_file():
        raise ValueError(f"{path} is missing; export the program again")
    size = path.stat().st_size
    if size != record.bytes:
        raise ValueError(f"{path} has {size} bytes where its manifest says {record.bytes}; export it again")
    if sha256_of(path) != record.sha256:
        raise ValueError(f"{path} was altered after its export (its hash differs); export it again")
