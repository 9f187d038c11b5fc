"""Shapes of the models this project runs: one frozen dataclass, and the published MobileLLM sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: rope types whose frequencies do not depend on the length of the running text
ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a Llama-shaped decoder; checked once, here.

    Attributes:
        rope_scaling: Hugging Face's dictionary, at least ``{"rope_type": ...}``; None is plain RoPE.
        tied_embedding: the head is the transposed token embedding.
        layer_sharing: run every layer twice in a row (MobileLLM-LS, arXiv 2402.14905 section 3.3).

    Raises:
        ValueError: a size is not positive, or two sizes do not fit each other.
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
    layer_sharing: bool = False
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads", "ffn_dim", "head_dim", "max_seq_len")
        for name in sizes:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"model config: {name} must be a positive integer, not {value!r}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"model config: {self.n_heads} heads cannot share {self.n_kv_heads} key/value heads evenly"
            )
        if self.head_dim % 2:
            raise ValueError(f"model config: RoPE rotates pairs, so head_dim must be even, not {self.head_dim}")
        if not self.norm_eps > 0 or not self.rope_theta > 0:
            raise ValueError("model config: norm_eps and rope_theta must be positive")
        if self.rope_type not in ROPE_TYPES:
            raise ValueError(
                f"model config: rope type {self.rope_type!r} is not supported; supported are {', '.join(ROPE_TYPES)}"
            )

    @property
    def rope_type(self) -> str:
        scaling = self.rope_scaling or {}
        return scaling.get("rope_type") or scaling.get("type") or "default"

    @property
    def passes_per_layer(self) -> int:
        return 2 if self.layer_sharing else 1

    @property
    def linear_parameters(self) -> int:
        """Weights in q, k, v, o, gate, up and down of all layers: what the low-bit formats apply to."""
        attention = self.dim * self.head_dim * 2 * (self.n_heads + self.n_kv_heads)
        return self.n_layers * (attention + 3 * self.dim * self.ffn_dim)

    @property
    def parameters(self) -> int:
        embeddings = self.vocab_size * self.dim * (1 if self.tied_embedding else 2)
        norms = self.dim * (2 * self.n_layers + 1)
        return self.linear_parameters + embeddings + norms


def _mobilellm(dim: int, n_layers: int, n_heads: int, n_kv_heads: int, ffn_dim: int) -> ModelConfig:
    return ModelConfig(32000, dim, n_layers, n_heads, n_kv_heads, ffn_dim)


#: arXiv 2402.14905, and the published config.json files for 600M to 1.5B.
MOBILELLM: dict[str, ModelConfig] = {
    "125M": _mobilellm(576, 30, 9, 3, 1536),
    "350M": _mobilellm(960, 32, 15, 5, 2560),
    "600M": _mobilellm(1152, 40, 18, 6, 3072),
    "1B": _mobilellm(1280, 54, 20, 5, 3584),
    "1.5B": _mobilellm(1600, 54, 25, 5, 4352),
}

#: The embedded default model: trained here on children's stories, see edge/assets/TRAINING.md.
DEFAULT_MODEL = ModelConfig(
    vocab_size=4096, dim=256, n_layers=6, n_heads=4, n_kv_heads=2, ffn_dim=704, max_seq_len=512
)
#: Every name that ``--model`` and ``--shape`` understand.
NAMED_MODELS: dict[str, ModelConfig] = {"default": DEFAULT_MODEL, **MOBILELLM}
