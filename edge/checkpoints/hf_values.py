"""Check single values of a config.json."""

from __future__ import annotations

import json
from typing import Any

from edge.model.config import is_positive_number


def short_json(value: Any) -> str:
    """A value as JSON for a message, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def integer(hf: dict[str, Any], key: str, default: int | None = None) -> int:
    value = default if hf.get(key) is None else hf[key]
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} must be a positive integer, not {short_json(value)}")
    return value


def number(hf: dict[str, Any], key: str, default: float) -> float:
    value = default if hf.get(key) is None else hf[key]
    if not is_positive_number(value):
        raise ValueError(f"{key} must be a positive number, not {short_json(value)}")
    return float(value)


def boolean(hf: dict[str, Any], key: str, default: bool | None = False) -> bool:
    value = bool(default) if hf.get(key) is None else hf[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {short_json(value)}")
    return value
