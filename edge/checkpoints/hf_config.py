"""Read and write the model's shape in the config.json of a Hugging Face directory.

Absent keys have the defaults of transformers' config class of the family. A model that this project cannot
run (biases, another activation, RoPE that depends on the text's length) is refused.

Those classes do not parse the file, because they accept values that must be refused here (sizes of 0,
key/value heads that do not divide the heads, a rope_theta that is text), and refuse a hidden_size that the
heads do not divide even if there is a head_dim.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from edge.model.config import ModelConfig, is_positive_number

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        model_type, architecture: as config.json names them.
        defaults: transformers' config class, which has the values of absent keys.
        qkv_bias, qk_norm: see ``ModelConfig``.
    """

    model_type: str
    architecture: str
    defaults: type[LlamaConfig] | type[MistralConfig] | type[Qwen2Config] | type[Qwen3Config]
    qkv_bias: bool = False
    qk_norm: bool = False


LLAMA = Family("llama", "LlamaForCausalLM", LlamaConfig)
MOBILELLM = Family("mobilellm", "MobileLLMForCausalLM", LlamaConfig)
QWEN2 = Family("qwen2", "Qwen2ForCausalLM", Qwen2Config, qkv_bias=True)
QWEN3 = Family("qwen3", "Qwen3ForCausalLM", Qwen3Config, qk_norm=True)
#: A model type that can be run is one row.
FAMILIES = (LLAMA, MOBILELLM, Family("mistral", "MistralForCausalLM", MistralConfig), QWEN2, QWEN3)
#: What this project lacks for other model types, by how they begin; the first match counts.
_LACKING = {
    "mixtral": "a mixture of experts",
    "qwen2_moe": "a mixture of experts",
    "qwen3_moe": "a mixture of experts",
    "gpt_oss": "a mixture of experts",
    "deepseek": "multi-head latent attention and a mixture of experts",
    "mamba": "a state space",
    "falcon_mamba": "a state space",
    "jamba": "a state space and a mixture of experts",
    "rwkv": "a recurrent state",
    "smollm3": "layers without RoPE",
    "gemma": "its norms, scaled embedding and GELU",
    "olmo2": "norms behind attention and feed-forward",
    "phi": "a rotation of part of each head",
    "gpt2": "learned positions",
}
#: Field of ModelConfig to key of config.json.
_SIZES = {
    "vocab_size": "vocab_size",
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "ffn_dim": "intermediate_size",
    "head_dim": "head_dim",
    "max_seq_len": "max_position_embeddings",
}
_OTHER_KEYS = {
    "rope_theta": "rope_theta",
    "rope_scaling": "rope_scaling",
    "norm_eps": "rms_norm_eps",
    "tied_embedding": "tie_word_embeddings",
}
#: The only value, besides null and absent, of keys that stand for parts this project does not have.
_ONLY_VALUES: dict[str, Any] = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "partial_rotary_factor": 1,
    "quantization_config": None,
}


def read_hf_config(directory: Path) -> dict[str, Any]:
    """Read a directory's config.json; ValueError if it is absent or not a JSON object."""
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise ValueError(f"{directory} is not a model directory: it has no {CONFIG_NAME}")
    try:
        hf = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # JSONDecodeError, UnicodeDecodeError, endless brackets
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(hf, dict):
        raise ValueError(f"{path} must hold one JSON object, not {type(hf).__name__}")
    return hf


def config_from_hf(hf: dict[str, Any]) -> ModelConfig:
    """The shape that a config.json describes.

    If only one of bos and eos is null, it is taken to be the other. Attention over a sliding window is full
    attention as long as the window; a model that has one gets as many positions and no more.

    Raises:
        ValueError: another architecture, a missing key, a value of the wrong type, or sizes that do not fit.
    """
    family = _checked_family(hf)
    absent = family.defaults
    defaults = {
        "num_key_value_heads": absent.num_key_value_heads or _integer(hf, "num_attention_heads"),
        "head_dim": _default_head_dim(hf),
        "max_position_embeddings": absent.max_position_embeddings,
    }
    sizes = {field: _integer(hf, key, defaults.get(key)) for field, key in _SIZES.items()}
    rope_theta, rope_scaling = _rope(hf, sizes["max_seq_len"])
    sizes["max_seq_len"] = min(sizes["max_seq_len"], _window(hf, absent) or sizes["max_seq_len"])
    bos_id, eos_ids = _special_tokens(hf, absent)
    return ModelConfig(
        **sizes,
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        norm_eps=_number(hf, "rms_norm_eps", absent.rms_norm_eps),
        tied_embedding=_boolean(hf, "tie_word_embeddings") or _boolean(hf, "share_embedding"),
        qkv_bias=family.qkv_bias,
        qk_norm=family.qk_norm,
        layer_sharing=_boolean(hf, "layer_sharing"),
        bos_id=bos_id,
        eos_ids=eos_ids,
    )


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json for a shape, as transformers 4 and 5 both read them.

    transformers would run a shared layer once instead of twice. So a model with shared layers is written as
    model type mobilellm, which transformers refuses to load.
    """
    family = _family_with(config)
    hf: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **{key: getattr(config, field) for field, key in (_SIZES | _OTHER_KEYS).items()},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id if len(config.eos_ids) == 1 else list(config.eos_ids),
    }
    return hf | {"layer_sharing": True} if config.layer_sharing else hf


def _family_with(config: ModelConfig) -> Family:
    """Find the family to write a model as: the one that has exactly its parts."""
    if not config.qkv_bias and not config.qk_norm:
        return MOBILELLM if config.layer_sharing else LLAMA
    parts = (config.qkv_bias, config.qk_norm, config.layer_sharing)
    fitting = [family for family in FAMILIES if (family.qkv_bias, family.qk_norm, False) == parts]
    if not fitting:
        raise ValueError("no model type has these parts together: shared layers, biases, norms of q and k")
    return fitting[0]


def short_json(value: Any) -> str:
    """A value as JSON for a message, cut to 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _checked_family(hf: dict[str, Any]) -> Family:
    """Find the model's family; ValueError if it is another one, or has parts that this project lacks."""
    model_type, architectures = hf.get("model_type"), hf.get("architectures")
    known = _listed([family.model_type for family in FAMILIES])
    if model_type is None and architectures is None:
        raise ValueError(f"model_type is missing; this project runs {known}")
    found = [family for family in FAMILIES if model_type in (None, family.model_type)]
    if not found:
        lacking = next((part for start, part in _LACKING.items() if str(model_type).startswith(start)), None)
        why = f": this project lacks {lacking}" if lacking else ""
        raise ValueError(f"model_type {model_type!r} is not supported{why}; supported are {known}")
    names = [family.architecture for family in FAMILIES]
    if architectures is not None:
        if not isinstance(architectures, list) or not any(name in names for name in architectures):
            raise ValueError(f"architectures {architectures!r} has none of {_listed(names)}")
        if model_type is None:
            found = [family for family in FAMILIES if family.architecture in architectures]
    _check_parts(hf)
    return found[0]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _check_parts(hf: dict[str, Any]) -> None:
    for key, value in _ONLY_VALUES.items():
        if hf.get(key) is not None and hf[key] != value:
            raise ValueError(
                f"{key} is {short_json(hf[key])}; only models where it is {short_json(value)} can be run"
            )


def _window(hf: dict[str, Any], absent: type) -> int | None:
    """The tokens that attention of some layers sees; None where it sees all."""
    window, uses_it = getattr(absent, "sliding_window", None), getattr(absent, "use_sliding_window", True)
    if hf.get("sliding_window", window) is None or not hf.get("use_sliding_window", uses_it):
        return None
    return _integer(hf, "sliding_window", window)


def _rope(hf: dict[str, Any], max_seq_len: int) -> tuple[float, dict[str, Any] | None]:
    """Theta and the scaling dictionary, from ``rope_scaling`` (old and new form) or ``rope_parameters``.

    As in transformers 5, rope_scaling takes precedence over rope_parameters, and a theta inside either over
    the top-level one.
    """
    rope = hf.get("rope_scaling") or hf.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_scaling must be an object, not {short_json(rope)}")
    rope = {key: value for key, value in rope.items() if value is not None}
    if rope.pop("partial_rotary_factor", 1) != 1:
        raise ValueError("partial_rotary_factor must be 1: this project rotates whole heads")
    theta = rope.pop("rope_theta", None) or _number(hf, "rope_theta", LlamaConfig.default_theta)
    if not is_positive_number(theta):
        raise ValueError(f"rope_theta must be a positive number, not {short_json(theta)}")
    old_type = rope.pop("type", "default")
    rope_type = rope.setdefault("rope_type", old_type)
    if rope_type == "default":
        return float(theta), None
    if rope_type in ("llama3", "yarn"):
        top_level = hf.get("original_max_position_embeddings")
        original = rope.get("original_max_position_embeddings") if top_level is None else top_level
        rope["original_max_position_embeddings"] = max_seq_len if original is None else original
    return float(theta), rope


def _special_tokens(hf: dict[str, Any], absent: Any) -> tuple[int, tuple[int, ...]]:
    bos = hf.get("bos_token_id", absent.bos_token_id)
    eos = hf.get("eos_token_id", absent.eos_token_id)
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    if bos is None and not eos_ids:
        bos = LlamaConfig.bos_token_id
    return (eos_ids[0] if bos is None else bos), (eos_ids or (bos,))


def _default_head_dim(hf: dict[str, Any]) -> int:
    heads, dim = _integer(hf, "num_attention_heads"), _integer(hf, "hidden_size")
    if hf.get("head_dim") is None and dim % heads:
        raise ValueError(
            f"head_dim is missing, and hidden_size {dim} does not divide by {heads} attention heads"
        )
    return dim // heads


def _integer(hf: dict[str, Any], key: str, default: int | None = None) -> int:
    value = default if hf.get(key) is None else hf[key]
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} must be a positive integer, not {short_json(value)}")
    return value


def _number(hf: dict[str, Any], key: str, default: float) -> float:
    value = default if hf.get(key) is None else hf[key]
    if not is_positive_number(value):
        raise ValueError(f"{key} must be a positive number, not {short_json(value)}")
    return float(value)


def _boolean(hf: dict[str, Any], key: str) -> bool:
    value = False if hf.get(key) is None else hf[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {short_json(value)}")
    return value
