"""Read and write the model's shape in the config.json of a Hugging Face directory.

Absent keys have the defaults of transformers' config class of the family. A model that this project cannot
run (a part that its family in ``families.py`` has not, RoPE that depends on the text's length) is refused.

Those classes do not parse the file, because they accept values that must be refused here (sizes of 0,
key/value heads that do not divide the heads, a rope_theta that is text), and refuse a hidden_size that the
heads do not divide even if there is a head_dim.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.checkpoints.families import (
    FAMILIES,
    LACKING,
    Family,
    all_local,
    family_of,
    local_from_a_layer_on,
    without_rope,
)
from edge.checkpoints.hf_values import boolean, integer, number, short_json
from edge.model.config import ModelConfig, check_sizes, is_positive_number

CONFIG_NAME = "config.json"


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
_CAPS = {"attention_cap": "attn_logit_softcapping", "final_cap": "final_logit_softcapping"}
#: The only value, besides null and absent, of keys that stand for parts this project does not have.
_ONLY_VALUES: dict[str, Any] = {
    "attention_bias": False,
    "mlp_bias": False,
    "partial_rotary_factor": 1,
    "use_bidirectional_attention": False,
}
#: Names of activations in config.json, the first for writing.
_ACTIVATIONS = {"silu": ("silu", "swish"), "gelu": ("gelu_pytorch_tanh",)}
_LAYER_TYPES = {"full": "full_attention", "nope": "full_attention", "local": "sliding_attention"}


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

    If only one of bos and eos is null, it is taken to be the other.

    Raises:
        ValueError: another architecture, a missing key, a value of the wrong type, or sizes that do not fit.
    """
    family = _checked_family(hf)
    absent = family.defaults
    defaults = {
        "num_key_value_heads": _default(absent, "num_key_value_heads") or integer(hf, "num_attention_heads"),
        "head_dim": _default(absent, "head_dim") or _default_head_dim(hf),
        "max_position_embeddings": absent.max_position_embeddings,
    }
    sizes: dict[str, Any] = {name: integer(hf, key, defaults.get(key)) for name, key in _SIZES.items()}
    check_sizes(sizes)  # before a list of all layers is made
    kinds, window = _layer_kinds(hf, family, sizes["n_layers"], sizes["max_seq_len"])
    rope_theta, rope_scaling, local_theta = _ropes(hf, family, sizes["max_seq_len"])
    bos_id, eos_ids = _special_tokens(hf, absent)
    tied = boolean(hf, "tie_word_embeddings", _default(absent, "tie_word_embeddings"))
    return ModelConfig(
        **sizes,
        **family.parts,
        **_gemma_numbers(hf, family, sizes),
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        local_rope_theta=local_theta if "local" in kinds else None,
        norm_eps=number(hf, "rms_norm_eps", absent.rms_norm_eps),
        tied_embedding=tied or boolean(hf, "share_embedding"),
        layer_kinds=kinds,
        window=window,
        layer_sharing=boolean(hf, "layer_sharing"),
        bos_id=bos_id,
        eos_ids=eos_ids,
    )


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The keys of config.json for a shape, as transformers 4 and 5 both read them.

    transformers would run a shared layer once instead of twice. So a model with shared layers is written as
    model type mobilellm, which transformers refuses to load.
    """
    family = family_of(config)
    activation = _ACTIVATIONS[config.activation][0]
    hf: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        **{key: getattr(config, name) for name, key in (_SIZES | _OTHER_KEYS).items()},
        "hidden_act": activation,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": config.bos_id,
        "pad_token_id": None,  # absent, some families take an id that may be beyond the vocabulary
        "eos_token_id": config.eos_id if len(config.eos_ids) == 1 else list(config.eos_ids),
    }
    if config.layer_kinds:
        hf["layer_types"] = [_LAYER_TYPES[kind] for kind in config.layer_kinds]
    if config.window or family.kinds is all_local:
        hf["sliding_window"] = config.window or None
    if family.kinds is local_from_a_layer_on and config.window:
        hf |= {"use_sliding_window": True, "max_window_layers": config.layer_kinds.index("local")}
    if family.kinds is without_rope:
        hf["no_rope_layers"] = [int(config.kind(layer) != "nope") for layer in range(config.n_layers)]
    if config.activation == "gelu":
        hf |= {
            "hidden_activation": activation,
            "query_pre_attn_scalar": int(config.query_scale or config.head_dim),
        }
        hf |= {key: getattr(config, name) or None for name, key in _CAPS.items()}
        hf |= {} if config.window else {"sliding_window": None}
    if config.local_rope_theta is not None:
        hf["rope_local_base_freq"] = config.local_rope_theta
    return hf | {"layer_sharing": True} if config.layer_sharing else hf


def _checked_family(hf: dict[str, Any]) -> Family:
    """Find the model's family; ValueError if it is another one, or has parts that this project lacks."""
    model_type, architectures = hf.get("model_type"), hf.get("architectures")
    known = _listed([family.model_type for family in FAMILIES])
    if model_type is None and architectures is None:
        raise ValueError(f"model_type is missing; this project runs {known}")
    found = [family for family in FAMILIES if model_type in (None, family.model_type)]
    if not found:
        lacking = next((part for start, part in LACKING.items() if str(model_type).startswith(start)), None)
        why = f": this project lacks {lacking}" if lacking else ""
        raise ValueError(f"model_type {model_type!r} is not supported{why}; supported are {known}")
    names = [family.architecture for family in FAMILIES]
    if architectures is not None:
        if not isinstance(architectures, list) or not any(name in names for name in architectures):
            raise ValueError(f"architectures {architectures!r} has none of {_listed(names)}")
        if model_type is None:
            found = [family for family in FAMILIES if family.architecture in architectures]
    _check_parts(hf, found[0])
    return found[0]


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _check_parts(hf: dict[str, Any], family: Family) -> None:
    allowed = _ACTIVATIONS[family.parts.get("activation", "silu")]
    for key in ("hidden_act", "hidden_activation"):
        if hf.get(key) is not None and hf[key] not in allowed:
            raise ValueError(
                f"{key} is {short_json(hf[key])}; only {family.model_type} models where it is "
                f"{short_json(allowed[0])} can be run"
            )
    for key, value in _ONLY_VALUES.items():
        if hf.get(key) is not None and hf[key] != value:
            raise ValueError(
                f"{key} is {short_json(hf[key])}; only models where it is {short_json(value)} can be run"
            )


def _layer_kinds(
    hf: dict[str, Any], family: Family, layers: int, positions: int
) -> tuple[tuple[str, ...], int]:
    """The kinds of the layers, none if all are full, and the window of local ones."""
    kinds = family.kinds(hf, layers)
    types = hf.get("layer_types")
    if types is not None:
        known = list(_LAYER_TYPES.values())
        if not isinstance(types, list) or len(types) != layers or any(kind not in known for kind in types):
            allowed = " or ".join(sorted(set(known)))
            raise ValueError(f"layer_types must be {layers} times {allowed}, not {short_json(types)}")
        from_types = ["local" if kind == "sliding_attention" else "full" for kind in types]
        kinds = ["nope" if kind == "nope" else other for kind, other in zip(kinds, from_types, strict=True)]
        if any(a == "nope" and b == "local" for a, b in zip(kinds, from_types, strict=True)):
            raise ValueError("layer_types has a window for layers without RoPE, which this project lacks")
    window = None
    if "local" in kinds and hf.get("sliding_window", _default(family.defaults, "sliding_window")) is not None:
        window = integer(hf, "sliding_window", _default(family.defaults, "sliding_window"))
    if window is None or window >= positions:  # every token sees all before it
        kinds, window = ["full" if kind == "local" else kind for kind in kinds], 0
    return () if set(kinds) == {"full"} else tuple(kinds), window


def _gemma_numbers(hf: dict[str, Any], family: Family, sizes: dict[str, int]) -> dict[str, Any]:
    """The numbers that only Gemma has; none for other families."""
    if family.parts.get("activation") != "gelu":
        return {}
    scale = number(hf, "query_pre_attn_scalar", _default(family.defaults, "query_pre_attn_scalar"))
    numbers = {"embedding_scale": sizes["dim"] ** 0.5}
    if scale != sizes["head_dim"]:
        numbers["query_scale"] = scale
    for name, key in _CAPS.items():
        if hf.get(key, _default(family.defaults, key)) is not None:
            numbers[name] = number(hf, key, _default(family.defaults, key))
    return numbers


def _default(absent: type, key: str) -> Any:
    """The value of an absent key; None where the config class has none."""
    return getattr(absent, key, None)


def _ropes(
    hf: dict[str, Any], family: Family, max_seq_len: int
) -> tuple[float, dict[str, Any] | None, float | None]:
    """Theta and scaling of the layers, and theta of the local ones if they have their own."""
    thetas = family.defaults.default_theta
    if not isinstance(thetas, dict):
        return *_rope(hf, max_seq_len, thetas), None
    nested = hf.get("rope_parameters")
    if not isinstance(nested, dict) or "full_attention" not in nested:
        local = {"rope_theta": hf.get("rope_local_base_freq")}
        return *_rope(hf, max_seq_len, thetas["global"]), _rope(local, max_seq_len, thetas["local"])[0]
    full, local = ({"rope_parameters": nested.get(f"{kind}_attention")} for kind in ("full", "sliding"))
    local_theta, local_scaling = _rope(local, max_seq_len, thetas["local"])
    if local_scaling is not None:
        raise ValueError("rope_parameters scales the RoPE of sliding_attention, which this project lacks")
    return *_rope(full, max_seq_len, thetas["global"]), local_theta


def _rope(hf: dict[str, Any], max_seq_len: int, default_theta: float) -> tuple[float, dict[str, Any] | None]:
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
    theta = rope.pop("rope_theta", None) or number(hf, "rope_theta", default_theta)
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
        bos = FAMILIES[0].defaults.bos_token_id
    return (eos_ids[0] if bos is None else bos), (eos_ids or (bos,))


def _default_head_dim(hf: dict[str, Any]) -> int:
    heads, dim = integer(hf, "num_attention_heads"), integer(hf, "hidden_size")
    if hf.get("head_dim") is None and dim % heads:
        raise ValueError(
            f"head_dim is missing, and hidden_size {dim} does not divide by {heads} attention heads"
        )
    return dim // heads
