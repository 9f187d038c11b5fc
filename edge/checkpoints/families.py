"""List the families of models that can be run: which parts of the decoder each has."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.checkpoints.hf_values import boolean, integer, short_json
from edge.model.config import ModelConfig


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        model_type, architecture: as config.json names them.
        config_class: transformers' class of its configs.
        parts: fields of ``ModelConfig`` that are the same in all of its models.
        kinds: gives the kind of each layer, from config.json and the number of layers.
        norms_add_one: norms multiply by 1 + weight. A ``Decoder`` multiplies by the weight, so it has 1 more.
    """

    model_type: str
    architecture: str
    config_class: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    kinds: Callable[[dict[str, Any], int], list[str]] = lambda hf, layers: ["full"] * layers
    norms_add_one: bool = False

    @property
    def defaults(self) -> Any:
        """The config class, which has the values of absent keys."""
        return getattr(importlib.import_module("transformers"), self.config_class)  # slow to import


def all_local(hf: dict[str, Any], layers: int) -> list[str]:
    return ["local"] * layers


def local_from_a_layer_on(hf: dict[str, Any], layers: int) -> list[str]:
    """Qwen's: layers from max_window_layers on have the window, if it is in use."""
    if not boolean(hf, "use_sliding_window"):
        return ["full"] * layers
    first = 0 if hf.get("max_window_layers") == 0 else integer(hf, "max_window_layers", 28)
    return ["local" if index >= first else "full" for index in range(layers)]


def _all_but_every(key: str, default: int, other: str) -> Callable[[dict[str, Any], int], list[str]]:
    """Every so many layers, as a key of config.json says, one is of another kind."""

    def kinds(hf: dict[str, Any], layers: int) -> list[str]:
        every = integer(hf, key, default)
        usual, rare = ("local", "full") if other == "full" else ("full", other)
        return [rare if (index + 1) % every == 0 else usual for index in range(layers)]

    return kinds


def without_rope(hf: dict[str, Any], layers: int) -> list[str]:
    """SmolLM3's: no_rope_layers has a 0 for each layer without RoPE."""
    listed = hf.get("no_rope_layers")
    if listed is None:
        return _all_but_every("no_rope_layer_interval", 4, "nope")(hf, layers)
    if not isinstance(listed, list) or len(listed) != layers or any(value not in (0, 1) for value in listed):
        raise ValueError(f"no_rope_layers must be {layers} times 0 or 1, not {short_json(listed)}")
    return ["full" if value else "nope" for value in listed]


_GEMMA = {"norms": "around", "activation": "gelu"}
MOBILELLM = Family("mobilellm", "MobileLLMForCausalLM", "LlamaConfig")
#: A model type that can be run is one row.
FAMILIES = (
    Family("llama", "LlamaForCausalLM", "LlamaConfig"),
    MOBILELLM,
    Family("mistral", "MistralForCausalLM", "MistralConfig", kinds=all_local),
    Family("qwen2", "Qwen2ForCausalLM", "Qwen2Config", {"qkv_bias": True}, local_from_a_layer_on),
    Family("qwen3", "Qwen3ForCausalLM", "Qwen3Config", {"qk_norm": "head"}, local_from_a_layer_on),
    Family("smollm3", "SmolLM3ForCausalLM", "SmolLM3Config", kinds=without_rope),
    Family("olmo2", "Olmo2ForCausalLM", "Olmo2Config", {"norms": "after", "qk_norm": "whole"}),
    Family(
        "gemma2", "Gemma2ForCausalLM", "Gemma2Config", _GEMMA, _all_but_every("_every", 2, "full"),
        norms_add_one=True,
    ),
    Family(
        "gemma3_text", "Gemma3ForCausalLM", "Gemma3TextConfig", _GEMMA | {"qk_norm": "head"},
        _all_but_every("sliding_window_pattern", 6, "full"), norms_add_one=True,
    ),
)  # fmt: skip
#: What this project lacks for other model types, by how they begin; the first match counts.
LACKING = {
    "mixtral": "a mixture of experts",
    "qwen2_moe": "a mixture of experts",
    "qwen3_moe": "a mixture of experts",
    "gpt_oss": "a mixture of experts",
    "deepseek": "multi-head latent attention and a mixture of experts",
    "mamba": "a state space",
    "falcon_mamba": "a state space",
    "jamba": "a state space and a mixture of experts",
    "rwkv": "a recurrent state",
    "gemma3n": "per-layer embeddings and alternating updates",
    "gemma3": "a vision encoder",
    "gemma": "a GELU that is not its tanh form",
    "phi": "a rotation of part of each head",
    "gpt2": "learned positions",
}


def family_of(config: ModelConfig) -> Family:
    """Find the family to write a model as: the one that has its parts, and layers of its kinds."""
    if config.layer_sharing:
        fitting = [MOBILELLM] if config.has_only_llamas_parts else []
    else:
        parts = {name: getattr(config, name) for name in ("qkv_bias", "qk_norm", "norms", "activation")}
        none = {name: getattr(ModelConfig, name) for name in parts}
        fitting = [family for family in FAMILIES if none | dict(family.parts) == parts]
        has_window, has_nope = "local" in config.layer_kinds, "nope" in config.layer_kinds
        able = {"nope": {without_rope}, "local": {all_local, local_from_a_layer_on}}
        if has_nope:
            fitting = [family for family in fitting if family.kinds in able["nope"]]
        elif has_window and config.activation == "silu":
            fitting = [family for family in fitting if family.kinds in able["local"]]
        if has_window and has_nope:
            fitting = []
    if not fitting:
        raise ValueError("no model type has these parts together; see FAMILIES in families.py")
    return fitting[0]
