"""Read and write a shape in words: a published name, or sizes such as dim=576,layers=30,heads=9."""

from __future__ import annotations

from typing import Any

from edge.model.config import MOBILELLM, NAMED_MODELS, ModelConfig

#: Fields of a config by their word. Those that are left out are MobileLLM's.
_FIELDS = {
    "dim": "dim",
    "layers": "n_layers",
    "heads": "n_heads",
    "kv_heads": "n_kv_heads",
    "ffn_dim": "ffn_dim",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
}
_DEFAULTS = {"head_dim": 64, "vocab_size": MOBILELLM["125M"].vocab_size}
_EXAMPLE = "dim=576,layers=30,heads=9,kv_heads=3,ffn_dim=1536"
#: For help texts.
SHAPE_WORDS = f"{', '.join(NAMED_MODELS)}, or sizes as in {_EXAMPLE}"


def parse_shape(text: str) -> ModelConfig:
    """Find a named model, or make a config from sizes.

    Raises:
        ValueError: no such name; a size is missing, unknown, twice or not a whole number.
    """
    if text in NAMED_MODELS:
        return NAMED_MODELS[text]
    if "=" not in text:
        raise ValueError(f"unknown shape {text}; known are {SHAPE_WORDS}")
    sizes: dict[str, int] = {}
    for part in text.split(","):
        word, _, number = part.partition("=")
        if word not in _FIELDS or word in sizes or not number.isdecimal():
            raise ValueError(
                f"the shape {text} has {part!r}, where each of {', '.join(_FIELDS)} may stand once with a "
                f"whole number, as in {_EXAMPLE}"
            )
        sizes[word] = int(number)
    if missing := [word for word in _FIELDS if word not in sizes | _DEFAULTS]:
        raise ValueError(f"the shape {text} lacks {', '.join(missing)}, as in {_EXAMPLE}")
    given: dict[str, Any] = {_FIELDS[word]: size for word, size in (_DEFAULTS | sizes).items()}
    return ModelConfig(**given)


def shape_text(config: ModelConfig) -> str:
    """Write a config of Llama's parts as ``parse_shape`` reads it: its name, or its sizes."""
    for name, named in NAMED_MODELS.items():
        if named == config:
            return name
    sizes = {word: getattr(config, field) for word, field in _FIELDS.items()}
    return ",".join(f"{word}={size}" for word, size in sizes.items() if _DEFAULTS.get(word) != size)
