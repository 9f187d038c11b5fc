"""config.json of a Hugging Face Llama directory, to a ModelConfig and back.

Absent keys mean what they mean to transformers' ``LlamaConfig``. What this project cannot run
(biases, other activations, rope that follows the text's length) is refused rather than ignored.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from edge.checkpoints.tensor_files import hf_name
from edge.formats import (
    EMBEDDING_BITS_CHOICES,
    FULL_PRECISION,
    MODEL_FORMATS,
    WeightFormat,
    format_for_bits,
)
from edge.model.config import ModelConfig, is_positive_number
from edge.quantizers.plan import Plan
from edge.text import first_of

CONFIG_NAME = "config.json"
#: Keys beside ParetoQ's ``w_bits``: w_bits by linear where they differ from it, and bits of quantised tables.
MIXED_KEY = "w_bits_by_linear"
TABLES_KEY = "embedding_w_bits"
MODEL_TYPES = ("llama", "mobilellm")
ARCHITECTURES = ("LlamaForCausalLM", "MobileLLMForCausalLM")
#: Keys and the one value (besides null and absent) that this project implements.
_ONLY_VALUES: dict[str, Any] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "partial_rotary_factor": 1,
    "sliding_window": None,
    "quantization_config": None,
}


def read_hf_config(directory: Path) -> dict[str, Any]:
    """config.json of a directory as a dictionary; ValueError when it is absent or no JSON object."""
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise ValueError(f"{directory} is not a model directory: it has no {CONFIG_NAME}")
    try:
        hf = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError, brackets without end
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(hf, dict):
        raise ValueError(f"{path} must hold one JSON object, not {type(hf).__name__}")
    return hf


def config_from_hf(hf: dict[str, Any]) -> ModelConfig:
    """The shape that a config.json describes.

    A bos or eos that is null is taken to be the other: text without begin marker starts behind an end marker.

    Raises:
        ValueError: another architecture, a missing key, a value of the wrong type, or sizes that do not fit.
    """
    _check_architecture(hf)
    heads, dim = _integer(hf, "num_attention_heads"), _integer(hf, "hidden_size")
    max_seq_len = _integer(hf, "max_position_embeddings", 2048)
    rope_theta, rope_scaling = _rope(hf, max_seq_len)
    bos_id, eos_ids = _special_tokens(hf)
    return ModelConfig(
        vocab_size=_integer(hf, "vocab_size"),
        dim=dim,
        n_layers=_integer(hf, "num_hidden_layers"),
        n_heads=heads,
        n_kv_heads=_integer(hf, "num_key_value_heads", heads),
        ffn_dim=_integer(hf, "intermediate_size"),
        head_dim=_head_dim(hf, dim, heads),
        max_seq_len=max_seq_len,
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        norm_eps=_number(hf, "rms_norm_eps", 1e-6),
        tied_embedding=_boolean(hf, "tie_word_embeddings") or _boolean(hf, "share_embedding"),
        layer_sharing=_boolean(hf, "layer_sharing"),
        bos_id=bos_id,
        eos_ids=eos_ids,
    )


def format_from_hf(hf: dict[str, Any]) -> WeightFormat | None:
    """The format behind ParetoQ's ``w_bits`` (0 is ternary, 16 is none); None without such a key."""
    return None if hf.get("w_bits") is None else _format_of("w_bits", hf["w_bits"])


def plan_from_hf(hf: dict[str, Any], linears: Collection[str]) -> Plan | None:
    """The formats that a config.json gives the linears of these full names; None where it says nothing.

    Raises:
        ValueError: an unknown width or linear, or widths beside a ``w_bits`` that is absent or 16.
    """
    default, others, tables = format_from_hf(hf), hf.get(MIXED_KEY) or {}, hf.get(TABLES_KEY)
    if default is None or not default.is_quantized:
        given = [key for key in (MIXED_KEY, TABLES_KEY) if hf.get(key)]
        if given:
            raise ValueError(f"{given[0]} needs a w_bits of 0 to 4 beside it, not {_short(hf.get('w_bits'))}")
        return None if default is None else Plan(default)
    if not isinstance(others, dict):
        raise ValueError(f"{MIXED_KEY} must be an object, not {_short(others)}")
    by_name = {hf_name(name): name for name in linears}
    unknown = others.keys() - by_name.keys()
    if unknown:
        raise ValueError(f"{MIXED_KEY} names linears that the model has not: {first_of(unknown)}")
    formats = {by_name[name]: _format_of(f"{MIXED_KEY}: {name}:", bits) for name, bits in others.items()}
    return Plan.from_formats(formats, default, _tables_format(tables))


def _tables_format(bits: Any) -> WeightFormat:
    if bits is None:
        return FULL_PRECISION
    if type(bits) is not int:
        raise ValueError(f"{TABLES_KEY} must be an integer, not {_short(bits)}")
    return format_for_bits(bits, EMBEDDING_BITS_CHOICES)


def _format_of(what: str, w_bits: Any) -> WeightFormat:
    for fmt in MODEL_FORMATS:
        if fmt.paretoq_w_bits == w_bits and type(w_bits) is int:
            return fmt
    known = ", ".join(f"{f.paretoq_w_bits} ({f.name})" for f in MODEL_FORMATS)
    raise ValueError(f"{what} {w_bits!r} is unknown; known are {known}")


def config_to_hf(config: ModelConfig, plan: Plan) -> dict[str, Any]:
    """config.json for a shape and its formats, in the keys that transformers 4 and 5 both read.

    transformers would run shared layers once and not twice, so those are written under MobileLLM's own type,
    which it refuses.
    """
    shared = config.layer_sharing
    hf: dict[str, Any] = {
        "architectures": [ARCHITECTURES[shared]],
        "model_type": MODEL_TYPES[shared],
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "intermediate_size": config.ffn_dim,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.max_seq_len,
        "rope_theta": config.rope_theta,
        "rope_scaling": config.rope_scaling,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tied_embedding,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id if len(config.eos_ids) == 1 else list(config.eos_ids),
    }
    if shared:
        hf["layer_sharing"] = True
    if plan.is_quantized:
        hf["w_bits"] = plan.default.paretoq_w_bits
    if plan.others:
        hf[MIXED_KEY] = {hf_name(name): fmt.paretoq_w_bits for name, fmt in plan.others.items()}
    if plan.embedding_format.is_quantized:
        hf[TABLES_KEY] = plan.embedding_format.paretoq_w_bits
    return hf


def _check_architecture(hf: dict[str, Any]) -> None:
    model_type, architectures = hf.get("model_type"), hf.get("architectures")
    if model_type is None and architectures is None:
        raise ValueError(f"model_type is missing; this project runs {' and '.join(MODEL_TYPES)}")
    if model_type is not None and model_type not in MODEL_TYPES:
        raise ValueError(
            f"model_type {model_type!r} is not supported; supported are {' and '.join(MODEL_TYPES)}"
        )
    if architectures is not None and (
        not isinstance(architectures, list) or not any(a in ARCHITECTURES for a in architectures)
    ):
        raise ValueError(f"architectures {architectures!r} has none of {' and '.join(ARCHITECTURES)}")
    for key, value in _ONLY_VALUES.items():
        if hf.get(key) is not None and hf[key] != value:
            raise ValueError(
                f"{key} is {_short(hf[key])}; only models where it is {_short(value)} can be run"
            )


def _rope(hf: dict[str, Any], max_seq_len: int) -> tuple[float, dict[str, Any] | None]:
    """Theta and the scaling dictionary, from ``rope_scaling`` (old and new form) or ``rope_parameters``.

    Precedence is that of transformers 5: rope_scaling before rope_parameters, and theta inside either
    before the one beside it.
    """
    rope = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_scaling must be an object, not {_short(rope)}")
    rope = {key: value for key, value in rope.items() if value is not None}
    if rope.pop("partial_rotary_factor", 1) != 1:
        raise ValueError("partial_rotary_factor must be 1: this project rotates whole heads")
    theta = rope.pop("rope_theta", None) or _number(hf, "rope_theta", 10000.0)
    if not is_positive_number(theta):
        raise ValueError(f"rope_theta must be a positive number, not {_short(theta)}")
    old_type = rope.pop("type", "default")
    rope_type = rope.setdefault("rope_type", old_type)
    if rope_type == "default":
        return float(theta), None
    if rope_type in ("llama3", "yarn"):
        beside = hf.get("original_max_position_embeddings")
        original = rope.get("original_max_position_embeddings") if beside is None else beside
        rope["original_max_position_embeddings"] = max_seq_len if original is None else original
    return float(theta), rope


def _special_tokens(hf: dict[str, Any]) -> tuple[int, tuple[int, ...]]:
    bos, eos = hf.get("bos_token_id", 1), hf.get("eos_token_id", 2)
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    if bos is None and not eos_ids:
        bos = 1  # what the key's absence means
    return (eos_ids[0] if bos is None else bos), (eos_ids or (bos,))


def _head_dim(hf: dict[str, Any], dim: int, heads: int) -> int:
    if hf.get("head_dim") is not None:
        return _integer(hf, "head_dim")
    if dim % heads:
        raise ValueError(
            f"head_dim is missing, and hidden_size {dim} does not divide by {heads} attention heads"
        )
    return dim // heads


def _integer(hf: dict[str, Any], key: str, default: int | None = None) -> int:
    value = default if hf.get(key) is None else hf[key]
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} must be a positive integer, not {_short(value)}")
    return value


def _number(hf: dict[str, Any], key: str, default: float) -> float:
    value = default if hf.get(key) is None else hf[key]
    if not is_positive_number(value):
        raise ValueError(f"{key} must be a positive number, not {_short(value)}")
    return float(value)


def _boolean(hf: dict[str, Any], key: str) -> bool:
    value = False if hf.get(key) is None else hf[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {_short(value)}")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
