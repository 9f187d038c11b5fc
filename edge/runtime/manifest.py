"""The manifest beside an exported program: origin, formats, sizes, and the result of its verification."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.files import sha256_of
from edge.model.config import ModelConfig
from edge.schema import first_fault

MANIFEST_NAME = "manifest.json"
PROGRAM_NAME = "model.pte"
SCHEMA_VERSION = 5
#: Format of the linears of a program whose width is chosen when it runs.
ELASTIC = "elastic"

#: Origin of the program's weights; reports print it beside every figure.
Weights = Literal["trained", "quantised after training", "rounded after training", "sliced", "random"]
#: Type of the keys and values in the cache.
KVCacheFormat = Literal["fp32", "int8", "int4"]

_Count = Annotated[int, Field(ge=0)]
_Positive = Annotated[int, Field(ge=1)]
_Size = Annotated[float, Field(ge=0)]


class _Record(BaseModel):
    """JSON that may come from anyone: no unknown keys, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FileRecord(_Record):
    """A file of the export, by its name in the directory."""

    name: str = Field(pattern=r"^[^/\x00-\x1f\x7f]+$", max_length=255)
    bytes: _Count
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class CacheCost(_Record):
    """Cost of an integer KV cache alone, in eager PyTorch with the program's weights.

    Attributes:
        rms: change of the logits.
        rms_bound: what the cache may not exceed: for int8 the change by int8 inputs of every linear, for int4
            the change that raises perplexity by 1 %.
        perplexity: with the cache; ``Verification.perplexity_eager`` is without.
        perplexity_bound: a ratio, derived from rms.
    """

    rms: _Size
    rms_bound: _Size
    perplexity: _Size
    perplexity_bound: _Size


class ActivationsCost(_Record):
    """Cost of int8 activations alone, in eager PyTorch with the program's weights and a float32 KV cache.

    Attributes:
        rms: change of the logits.
        perplexity: with int8 activations; ``Verification.perplexity_eager`` is with float32 ones.
        perplexity_ratio: the first over the second; 1 where the program rounds no activations.
    """

    rms: _Size
    perplexity: _Size
    perplexity_ratio: _Size


class Verification(_Record):
    """Result of the verification at export; errors of logits are root mean squares.

    Attributes:
        exact_tables: number of packed tables in the written file; all hold the model's weights, bit for bit,
            but an embedding or head without a learned grid is rounded to the nearest level.
        text, tokens: name of the text that was run, and its length.
        logit_rms: size of the logits themselves.
        rounding_rms: change by int8 activations, and by an integer cache, in eager PyTorch.
        program_rms: program against eager PyTorch that rounds the same values, token by token.
        program_rms_bound: limit of program_rms; derived in export/README.md.
        prefill_rms: prefill against token by token in the program; prefill_rms_bound is 0 if our own ops
            compute everything.
        perplexity_program, perplexity_eager, perplexity_bound: on that text; the bound is a ratio.
        activations: the cost of int8 activations; None in programs from before it was measured.
        cache: the cost of an integer KV cache; None for a float32 one.
        cache_refused: the cost of an int8 KV cache, because of which this program has a float32 one.
        perplexity_tables: of the float model with its token embedding and head in full precision, where the
            program has them at 4 bits; ``perplexity_eager`` is with the program's.
        perplexity_full_precision: before rounding; None if the weights were not rounded after training.
    """

    exact_tables: _Count
    text: str
    tokens: _Count
    logit_rms: _Size
    rounding_rms: _Size
    program_rms: _Size
    program_rms_bound: _Size
    prefill_rms: _Size
    prefill_rms_bound: _Size
    perplexity_program: _Size
    perplexity_eager: _Size
    perplexity_bound: _Size
    activations: ActivationsCost | None = None
    cache: CacheCost | None = None
    cache_refused: CacheCost | None = None
    perplexity_tables: _Size | None = None
    perplexity_full_precision: _Size | None = None


class Manifest(_Record):
    """All that a report says about a program; sizes are bytes of the written files.

    Attributes:
        format: of the linears; ``mixed`` if they differ, and then ``formats`` has each one's by full name.
            Otherwise ``formats`` is empty.
        bits: per weight of the linears, as formats are named; of a mixed program the mean over the weights,
            of an elastic one its widest slice.
        slices: of an elastic program, the verification of narrower slices by their bits; ``verification`` is
            that of the widest.
        embedding_learned: embedding and head are on the grid they were trained on.
        kv_cache_bytes: memory for keys and values of ``max_seq_len`` positions.
        chat_template: the model's, in Jinja; None if it has none.
        markers: strings of special tokens that the template uses, by name (``bos_token``).
        tables: full names of the modules whose weights are in each packed table, in the order of their rows.
        part_bytes: bytes by part of the program; they add up to the program's size.
        linear_bits_per_weight: stored bits per weight of the quantised linears, scales and padding included;
            None if they are inside XNNPACK's delegates, and so part of ``rest``.
        effective_bits_per_weight: bits of the whole program per parameter of the model.
    """

    schema_version: Literal[5] = 5
    model: str
    source: str
    weights: Weights
    config: ModelConfig
    parameters: _Positive
    recipe: str
    format: str
    bits: _Size
    formats: dict[str, str]
    embedding_bits: _Positive
    head_bits: _Positive
    embedding_learned: bool
    max_seq_len: _Positive
    kv_cache: KVCacheFormat
    kv_cache_bytes: _Count
    program: FileRecord
    tokenizer: FileRecord | None
    chat_template: FileRecord | None = None
    markers: dict[str, str] = Field(default_factory=dict)
    tables: dict[str, list[str]]
    part_bytes: dict[str, _Count]
    linear_bits_per_weight: _Size | None
    effective_bits_per_weight: _Size
    versions: dict[str, str]
    verification: Verification
    slices: dict[str, Verification] = Field(default_factory=dict)
    #: SHA-256 of everything above, so that an edited manifest is refused
    checksum: str = ""

    def sealed(self) -> Manifest:
        """A copy with its checksum."""
        return self.model_copy(update={"checksum": self._content_sha256()})

    def is_intact(self) -> bool:
        """Tell whether the checksum is that of the content."""
        return self.checksum == self._content_sha256()

    def _content_sha256(self) -> str:
        content = self.model_dump(mode="json", exclude={"checksum"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_file(path: Path) -> FileRecord:
    """Name, size and hash of a file."""
    return FileRecord(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


def read_manifest(directory: Path) -> Manifest:
    """Read a manifest, and check that the files beside it are the ones it describes.

    Raises:
        ValueError: no manifest, another version, not readable, or a file is missing, truncated or altered.
    """
    path = directory / MANIFEST_NAME
    if not path.is_file():
        raise ValueError(f"{directory} is not an exported program: it has no {MANIFEST_NAME}")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        why = first_fault(error)
        raise ValueError(f"{path} is not a manifest of version {SCHEMA_VERSION}: {why}") from error
    if not manifest.is_intact():
        raise ValueError(f"{path} was altered after its export (its checksum differs); export it again")
    for record in filter(None, (manifest.program, manifest.tokenizer, manifest.chat_template)):
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
