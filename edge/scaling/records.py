"""Keep one record of every trained or quantised model, as JSON Lines: append only, merged across machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edge.schema import Strict, first_fault

SCHEMA: Literal["edge.scaling/1"] = "edge.scaling/1"
UNIT: Literal["nats per token"] = "nats per token"

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bits = Annotated[float, Field(ge=1, le=16)]


class Shape(Strict):
    """Shape of a Llama-like decoder."""

    dim: Count
    layers: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn_dim: Count
    vocab_size: Count


class Training(Strict):
    """How a model was trained.

    Attributes:
        tokens: predicted in all stages together.
        low_bit_tokens: how many of them were at the bits below: 0 in full precision, all from scratch.
        weight_bits, activation_bits, kv_bits: while these were trained; 16 is full precision.
        weight_group: columns that share a weight's scale; None is a row.
        method: of ``edge.training`` for the weights; "full" in full precision.
        schedule: of the learning rate, in a word.
        learning_rate: peak rate, of the full-precision stage where there is one.
        low_bit_learning_rate: of the last stage; None where there is one stage.
        context: tokens that an example predicts.
        batch_tokens: predicted in a step.
    """

    tokens: Count
    low_bit_tokens: Whole = 0
    weight_bits: Bits = 16.0
    activation_bits: Bits = 16.0
    kv_bits: Bits = 16.0
    weight_group: Count | None = None
    method: str = "full"
    schedule: str
    learning_rate: Positive
    low_bit_learning_rate: Positive | None = None
    context: Count
    batch_tokens: Count
    seed: Whole

    @model_validator(mode="after")
    def _check_bits(self) -> Training:
        is_full = self.weight_bits == self.activation_bits == self.kv_bits == 16
        if is_full != (self.low_bit_tokens == 0):
            raise ValueError("low_bit_tokens is 0 in full precision, and only there")
        if self.low_bit_tokens > self.tokens:
            raise ValueError("low_bit_tokens are some of tokens, so they cannot be more")
        return self

    @property
    def low_bit_share(self) -> float:
        """Share of the tokens that were trained at low bits, 0 to 1."""
        return self.low_bit_tokens / self.tokens


class Quantizer(Strict):
    """How a trained model is quantised afterwards.

    Attributes:
        method: of ``edge.quantize``.
        group: columns that share a scale; None is a row.
    """

    method: str
    weight_bits: Bits
    group: Count | None = None

    @property
    def way(self) -> str:
        """All but the bits, in words: "GPTQ per channel" or "RTN in groups of 32"."""
        scales = "per channel" if self.group is None else f"in groups of {self.group}"
        return f"{self.method.upper()} {scales}"


class PostQuantization(Quantizer):
    """A quantisation that was done; ``trained_loss`` is of the model before it, on the same text."""

    trained_loss: Positive


class Record(Strict):
    """One model and its held-out loss.

    Attributes:
        unit: of every loss; perplexities and losses in bits are not taken.
        text: name and hash of the tokens that were trained on and measured; losses on others do not compare.
        parameters: N, without embedding and head.
        embedding_parameters: of both.
        loss: held out; ``loss_tokens`` is how many tokens were predicted.
        seconds: of training, since it last went on from a checkpoint, or of quantising and measuring.
        machine: the processor, and threads.
        commit: of this project when it ran.
    """

    schema_version: Literal["edge.scaling/1"]
    unit: Literal["nats per token"]
    text: str
    shape: Shape
    parameters: Count
    embedding_parameters: Count
    training: Training
    post: PostQuantization | None = None
    loss: Positive
    loss_tokens: Count
    seconds: Positive
    machine: str
    commit: str

    @property
    def key(self) -> str:
        """Everything that decides the loss, as text: two records with one key are the same run."""
        return run_key(self.text, self.shape, self.training, self.post)

    @property
    def damage(self) -> float:
        """What quantising afterwards added to the loss; an error where nothing was quantised."""
        assert self.post is not None
        return self.loss - self.post.trained_loss


def commonest_schedule(records: Iterable[Record]) -> str:
    """Find the schedule of the learning rate of most records; empty without records."""
    counts = Counter(record.training.schedule for record in records).most_common(1)
    return counts[0][0] if counts else ""


def run_key(text: str, shape: Shape, training: Training, post: Quantizer | None) -> str:
    """Name a run by everything that decides its loss."""
    quantizer = None if post is None else post.model_dump(include=set(Quantizer.model_fields))
    decides = [text, shape.model_dump(), training.model_dump(), quantizer]
    return json.dumps(decides, sort_keys=True)


def read_records(paths: Sequence[Path]) -> list[Record]:
    """Read files of records as one; a line that is in two files counts once.

    Raises:
        ValueError: a file is missing, a line is no record of this schema and unit, or two runs that are the
            same have other losses.
    """
    found: dict[str, tuple[Record, str]] = {}
    for path in paths:
        for place, record in _lines(path):
            known, where = found.setdefault(record.key, (record, place))
            if known.loss != record.loss:
                raise ValueError(
                    f"{place} is the run of {where} with another loss ({record.loss:g}, {known.loss:g}); "
                    "remove one of them"
                )
            if where != place and where.rpartition(":")[0] == str(path):
                raise ValueError(f"{place} repeats {where}; remove one of them")
    return [record for record, _ in found.values()]


def _lines(path: Path) -> Iterable[tuple[str, Record]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"there is no file of records {path}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a file of records: it is not text in UTF-8") from error
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}:{number}"
        try:
            yield place, Record.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(
                f"{place} is not a record of {SCHEMA} in {UNIT}: {first_fault(error)}"
            ) from error


def append_record(path: Path, record: Record) -> None:
    """Append a record in one write; several processes may append.

    Raises:
        OSError: the disk is full; what was written of the line is taken back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = record.model_dump_json(exclude_defaults=True).encode() + b"\n"
    with path.open("ab", buffering=0) as file:
        start = file.tell()
        if file.write(line) != len(line):
            file.truncate(start)
            raise OSError(f"{path} could not be written: the disk is full")
