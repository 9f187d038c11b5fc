"""The shape of a model: one frozen dataclass, and the published MobileLLM sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: RoPE types whose frequencies do not depend on the text's length, with the numbers they need.
ROPE_NUMBERS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
}
#: Optional numbers of yarn.
_YARN_OPTIONS = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a Llama-like decoder; its values are checked here.

    Attributes:
        rope_scaling: Hugging Face's dictionary with ``rope_type`` (or ``type``) and the numbers that
            ROPE_NUMBERS lists for it; None is plain RoPE.
        tied_embedding: the head is the transposed token embedding.
        qkv_bias: queries, keys and values have a bias, as in Qwen2.
        qk_norm: an RMSNorm of queries and keys precedes RoPE: "head" of each head, as in Qwen3, "whole" of
            all heads together, as in OLMo 2, or "none".
        norms: where a layer has norms: "before" attention and feed-forward, as in Llama, "after" them, as in
            OLMo 2, or "around" them, as in Gemma.
        activation: of the gate: "silu" or "gelu" (by its tanh form).
        layer_kinds: of each layer, "full", "local" (attention sees the last ``window`` positions) or "nope"
            (without RoPE); empty if all are full.
        window: positions that local layers see, the token's own included; 0 if there are none.
        local_rope_theta: of local layers, with plain RoPE; None if they rotate like the others.
        embedding_scale: embeddings are multiplied by it.
        query_scale: attention scores are divided by its square root; None is head_dim.
        attention_cap, final_cap: scores s of attention, and logits, become cap * tanh(s / cap); 0 is no cap.
        layer_sharing: run every layer twice in a row (MobileLLM-LS, arXiv 2402.14905 section 3.3).
        bos_id: first token of every text.
        eos_ids: any of them ends a text; the first separates documents in training.

    Raises:
        ValueError: a value has the wrong type or range, or two sizes do not fit together.
    """

    vocab_size: int
    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    ffn_dim: int
    head_dim: int = 64
    max_seq_len: int = 2048
    rope_theta: float = 10000.0
    rope_scaling: dict[str, Any] | None = None
    norm_eps: float = 1e-5
    tied_embedding: bool = True
    qkv_bias: bool = False
    qk_norm: str = "none"
    norms: str = "before"
    activation: str = "silu"
    layer_kinds: tuple[str, ...] = ()
    window: int = 0
    local_rope_theta: float | None = None
    embedding_scale: float = 1.0
    query_scale: float | None = None
    attention_cap: float = 0.0
    final_cap: float = 0.0
    layer_sharing: bool = False
    bos_id: int = 1
    eos_ids: tuple[int, ...] = (2,)

    def __post_init__(self) -> None:
        check_sizes({name: getattr(self, name) for name in _LARGEST_SIZES})
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model config: {self.n_heads} heads cannot share {self.n_kv_heads} key/value heads evenly"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"model config: RoPE rotates pairs, so head_dim must be even, not {self.head_dim}"
            )
        for name in ("norm_eps", "rope_theta", "embedding_scale", *self._optional_numbers()):
            if not is_positive_number(getattr(self, name)):
                raise ValueError(
                    f"model config: {name} must be a positive number, not {getattr(self, name)!r}"
                )
        for name in ("tied_embedding", "qkv_bias", "layer_sharing"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"model config: {name} must be true or false, not {getattr(self, name)!r}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"model config: {name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        self._check_layers()
        self._check_tokens()
        self._check_rope()

    def _optional_numbers(self) -> list[str]:
        """The fields of numbers that may be absent, and are not."""
        absent = {"local_rope_theta": None, "query_scale": None, "attention_cap": 0, "final_cap": 0}
        return [name for name, value in absent.items() if getattr(self, name) != value]

    def _check_layers(self) -> None:
        kinds = self.layer_kinds
        if not isinstance(kinds, tuple) or len(kinds) not in (0, self.n_layers):
            raise ValueError(f"model config: layer_kinds must name each of {self.n_layers} layers, or none")
        if unknown := [kind for kind in kinds if kind not in LAYER_KINDS]:
            raise ValueError(f"model config: layers are {', '.join(LAYER_KINDS)}, not {unknown[0]!r}")
        if not isinstance(self.window, int) or isinstance(self.window, bool) or self.window < 0:
            raise ValueError(f"model config: window must be a number of positions, not {self.window!r}")
        if (self.window > 0) != ("local" in kinds):
            raise ValueError("model config: a window is for local layers, and they need one")

    def _check_tokens(self) -> None:
        if not self.eos_ids:
            raise ValueError("model config: eos_ids needs at least one token id")
        for token in (self.bos_id, *self.eos_ids):
            if not isinstance(token, int) or isinstance(token, bool) or not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"model config: bos and eos must be token ids in 0..{self.vocab_size - 1}, not {token!r}"
                )

    def _check_rope(self) -> None:
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, dict):
            raise ValueError(f"model config: rope_scaling must be a dictionary, not {self.rope_scaling!r}")
        if self.rope_type not in tuple(ROPE_NUMBERS):  # a tuple: JSON values may not be hashable
            raise ValueError(
                f"model config: rope type {self.rope_type!r} is not supported; "
                f"supported are {', '.join(ROPE_NUMBERS)}"
            )
        scaling = self.rope_scaling or {}
        options = [n for n in _YARN_OPTIONS if scaling.get(n) is not None] if self.rope_type == "yarn" else []
        for name in (*ROPE_NUMBERS[self.rope_type], *options):
            if not is_positive_number(scaling.get(name)):
                raise ValueError(
                    f"model config: rope type {self.rope_type} needs a positive number {name}, "
                    f"not {scaling.get(name)!r}"
                )
        if self.rope_type == "llama3" and not scaling["low_freq_factor"] < scaling["high_freq_factor"]:
            raise ValueError("model config: rope type llama3 needs low_freq_factor < high_freq_factor")

    @property
    def eos_id(self) -> int:
        """The first end token, which separates documents in training."""
        return self.eos_ids[0]

    @property
    def rope_type(self) -> str:
        """A key of ROPE_NUMBERS."""
        scaling = self.rope_scaling or {}
        return scaling.get("rope_type") or scaling.get("type") or "default"

    def kind(self, layer: int) -> str:
        """The kind of a layer: one of LAYER_KINDS."""
        return self.layer_kinds[layer] if self.layer_kinds else "full"

    def rope_of(self, layer: int) -> str:
        """Find the RoPE tables of a layer: "full", "local" where those are others, or "nope" for none."""
        kind = self.kind(layer)
        return "full" if kind == "local" and self.local_rope_theta is None else kind

    def window_of(self, layer: int) -> int:
        """The positions that a layer sees; 0 for all."""
        return self.window if self.kind(layer) == "local" else 0

    @property
    def passes_per_layer(self) -> int:
        """Number of times that each layer is run in a row."""
        return 2 if self.layer_sharing else 1

    @property
    def has_only_llamas_parts(self) -> bool:
        """No part that Llama lacks, besides layers that are run twice."""
        return all(getattr(self, name) == getattr(ModelConfig, name) for name in _OTHER_PARTS)

    @property
    def linear_parameters(self) -> int:
        """Number of weights in q, k, v, o, gate, up and down of all layers: those that are quantised."""
        attention = self.dim * self.head_dim * 2 * (self.n_heads + self.n_kv_heads)
        return self.n_layers * (attention + 3 * self.dim * self.ffn_dim)

    @property
    def parameters(self) -> int:
        """Number of all weights, a shared embedding counted once."""
        embeddings = self.vocab_size * self.dim * (1 if self.tied_embedding else 2)
        norms = self.dim * ((4 if self.norms == "around" else 2) * self.n_layers + 1)
        biases = self.n_layers * self.head_dim * (self.n_heads + 2 * self.n_kv_heads) if self.qkv_bias else 0
        heads = {"none": 0, "head": 2, "whole": self.n_heads + self.n_kv_heads}[self.qk_norm]
        head_norms = self.n_layers * self.head_dim * heads
        return self.linear_parameters + embeddings + norms + biases + head_norms


#: Fields of parts that Llama lacks.
_OTHER_PARTS = (
    "qkv_bias",
    "qk_norm",
    "norms",
    "activation",
    "layer_kinds",
    "window",
    "local_rope_theta",
    "embedding_scale",
    "query_scale",
    "attention_cap",
    "final_cap",
)
LAYER_KINDS = ("full", "local", "nope")
_CHOICES = {
    "qk_norm": ("none", "head", "whole"),
    "norms": ("before", "after", "around"),
    "activation": ("silu", "gelu"),
}
#: Beyond any model, and within the packed layout: larger sizes are refused before memory is allocated.
_LARGEST_SIZES = {
    "vocab_size": 1 << 24,
    "dim": 1 << 16,
    "n_layers": 1 << 12,
    "n_heads": 1 << 12,
    "n_kv_heads": 1 << 12,
    "ffn_dim": 1 << 16,
    "head_dim": 1 << 12,
    "max_seq_len": 1 << 24,
}
#: Of float32's normal numbers; int64 holds the largest int.
_SMALLEST, _LARGEST, _LARGEST_INT = 1.2e-38, 3.4e38, 2**63 - 1


def check_sizes(sizes: dict[str, Any]) -> None:
    """Raise ValueError for a size, by its field's name, that is no positive integer or beyond any model."""
    for name, value in sizes.items():
        largest = _LARGEST_SIZES[name]
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= largest:
            raise ValueError(
                f"model config: {name} must be a positive integer up to {largest}, not {value!r}"
            )


def is_positive_number(value: Any) -> bool:
    """Tell whether a value is an int64, or a float within float32's range, above 0; a bool is not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and 0 < value <= _LARGEST_INT
    return isinstance(value, float) and _SMALLEST <= value <= _LARGEST


def _mobilellm(dim: int, n_layers: int, n_heads: int, n_kv_heads: int, ffn_dim: int) -> ModelConfig:
    return ModelConfig(32000, dim, n_layers, n_heads, n_kv_heads, ffn_dim)


#: From arXiv 2402.14905, and for 600M to 1.5B from the published config.json files.
MOBILELLM: dict[str, ModelConfig] = {
    "125M": _mobilellm(576, 30, 9, 3, 1536),
    "350M": _mobilellm(960, 32, 15, 5, 2560),
    "600M": _mobilellm(1152, 40, 18, 6, 3072),
    "1B": _mobilellm(1280, 54, 20, 5, 3584),
    "1.5B": _mobilellm(1600, 54, 25, 5, 4352),
}


def _llama3(
    dim: int, n_layers: int, n_heads: int, ffn_dim: int, factor: float | None, tied: bool
) -> ModelConfig:
    rope = None
    if factor is not None:
        rope = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        rope["original_max_position_embeddings"] = 8192
    positions = 8192 if factor is None else 131072
    return ModelConfig(
        128256,
        dim,
        n_layers,
        n_heads,
        8,
        ffn_dim,
        dim // n_heads,
        positions,
        5e5,
        rope,
        tied_embedding=tied,
        bos_id=128000,
        eos_ids=(128001,),
    )


#: From the published config.json files.
LLAMA: dict[str, ModelConfig] = {
    "Llama-3.2-1B": _llama3(2048, 16, 32, 8192, 32.0, tied=True),
    "Llama-3.2-3B": _llama3(3072, 28, 24, 8192, 32.0, tied=True),
    "Llama-3-8B": _llama3(4096, 32, 32, 14336, None, tied=False),
}

#: The embedded default model, trained on children's stories: see edge/assets/TRAINING.md.
DEFAULT_MODEL = ModelConfig(
    vocab_size=4096, dim=256, n_layers=6, n_heads=4, n_kv_heads=2, ffn_dim=704, max_seq_len=512
)
#: Names for ``--model`` and ``--shape``.
NAMED_MODELS: dict[str, ModelConfig] = {"default": DEFAULT_MODEL, **MOBILELLM, **LLAMA}
