"""Read JSON files by strict schemas, and say in one sentence what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Part of a schema that refuses fields it does not know, and cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_fault(error: ValidationError) -> str:
    """Say where the first fault is, and what: "programs.0.bits: Field required"."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "JSON"
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def read_json(kind: type[Model], path: Path, what: str) -> Model:
    """Read a file of one JSON object.

    Args:
        what: the file is, with its article left out, as "latency report".

    Raises:
        ValueError: it is missing, or does not follow the schema.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"there is no {what} {path}") from error
    except ValidationError as error:
        raise ValueError(f"{path} is not a {what}: {first_fault(error)}") from error
