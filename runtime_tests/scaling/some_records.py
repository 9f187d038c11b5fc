"""Records for tests, with what a test does not care about filled in."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge.scaling.records import PostQuantization, Record, Shape, Training, append_record

SHAPE = Shape(dim=48, layers=2, heads=3, kv_heads=3, head_dim=16, ffn_dim=128, vocab_size=512)
PARAMETERS = 55_536


def record(
    loss: float = 3.0, parameters: int = PARAMETERS, post: PostQuantization | None = None, **training: Any
) -> Record:
    """A record; keywords are of its training. Other numbers of parameters have other shapes."""
    given = {"tokens": 1_000_000, "schedule": "cosine", "learning_rate": 1e-3, "seed": 0}
    given |= {"context": 128, "batch_tokens": 512}
    return Record(
        schema_version="edge.scaling/1",
        unit="nats per token",
        text="some text",
        shape=SHAPE if parameters == PARAMETERS else SHAPE.model_copy(update={"ffn_dim": parameters // 100}),
        parameters=parameters,
        embedding_parameters=24_576,
        training=Training(**{**given, **training}),
        post=post,
        loss=loss,
        loss_tokens=1000,
        seconds=1.0,
        machine="a computer",
        commit="",
    )


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records to a new file."""
    path.unlink(missing_ok=True)
    for one in records:
        append_record(path, one)
