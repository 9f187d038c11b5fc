"""A Llama-like decoder, as MobileLLM is (arXiv 2402.14905); the config says which parts it has.

RMSNorm before, after or around each half of a layer, grouped-query attention with RoPE, SwiGLU or GeGLU.
Optionally queries, keys and values have a bias, queries and keys a norm, some layers a window or no RoPE,
scores and logits a cap, the head shares the token embedding, and each layer is run twice in a row. Nothing
here is quantised. Parameter names are those of Hugging Face's ``LlamaForCausalLM`` without the leading
``model.``; a bias is beside its projection (``q_bias``) instead of in it, because the projections are what is
quantised.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.model.config import ModelConfig
from edge.model.kv_cache import KVCache
from edge.model.rope import Rope, apply_rope, ropes


class RMSNorm(nn.Module):
    """x [..., dim] / sqrt(mean(x^2) + eps) * weight [dim]."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class AttentionCore(nn.Module):
    """RoPE, causal softmax attention, and the KV cache if there is one.

    q is [B, T, H, D]; k and v are [B, T, Hkv, D]; the result is [B, T, H, D].
    ``start`` is the position of the first of the T tokens.

    Args:
        window: positions that a token sees, its own included; 0 for all.
        cap: scores s become cap * tanh(s / cap); 0 for none.
    """

    def __init__(self, window: int = 0, cap: float = 0.0) -> None:
        super().__init__()
        self.window, self.cap = window, cap
        self.cache: KVCache | None = None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, start: int) -> Tensor:
        t = q.shape[1]
        if start < 0 or start + t > cos.shape[0]:
            raise ValueError(f"positions {start}..{start + t - 1} are beyond the model's {cos.shape[0]}")
        cos, sin = cos[start : start + t], sin[start : start + t]  # [T, D/2]
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
        if self.cache is not None:
            k, v = self.cache.update(k, v, start)  # [B, S, Hkv, D], S = start + T
        return self.attend(q, k, v, start)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """Attend to k and v [B, start + T, Hkv, D] of all positions so far."""
        t, grouped = q.shape[1], q.shape[2] != k.shape[2]
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [B, H or Hkv, T or S, D]
        if self.cap:
            out = self._capped(q, k, v, start)
        elif start == 0 and not self.window:
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        else:
            mask = self._seen(t, start, q.device)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
        return out.transpose(1, 2)  # [B, T, H, D]

    def _capped(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        shared = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # [B, H, T, S]
        scores = self.cap * torch.tanh(scores / self.cap)
        seen = self._seen(q.shape[2], start, q.device)
        return scores.masked_fill(~seen, float("-inf")).softmax(dim=-1) @ v

    def _seen(self, t: int, start: int, device: torch.device) -> Tensor:
        """The positions that each token sees, bool [T, start + T]."""
        seen = torch.ones(t, start + t, dtype=torch.bool, device=device).tril(start)
        return seen.triu(start + 1 - self.window) if self.window else seen


class Attention(nn.Module):
    """Grouped-query attention of x [B, T, dim], with its four projections."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.head_dim, self.norms_heads = config.head_dim, config.qk_norm == "head"
        q_dim, kv_dim = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.dim, q_dim, bias=False)
        self.k_proj = nn.Linear(config.dim, kv_dim, bias=False)
        self.v_proj = nn.Linear(config.dim, kv_dim, bias=False)
        self.o_proj = nn.Linear(q_dim, config.dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(q_dim)) if config.qkv_bias else None
        self.k_bias = nn.Parameter(torch.zeros(kv_dim)) if config.qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(kv_dim)) if config.qkv_bias else None
        widths = {"none": (), "head": (config.head_dim,) * 2, "whole": (q_dim, kv_dim)}[config.qk_norm]
        norms: list[nn.Module] = [RMSNorm(width, config.norm_eps) for width in widths]
        self.q_norm, self.k_norm = norms or [nn.Identity(), nn.Identity()]
        # One core, and so one cache, per pass: a layer that is run twice has other keys in its second pass.
        self.cores = nn.ModuleList(
            AttentionCore(config.window_of(layer), config.attention_cap)
            for _ in range(config.passes_per_layer)
        )

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, start: int, pass_index: int) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_bias is not None:
            q, k, v = q + self.q_bias, k + self.k_bias, v + self.v_bias
        if not self.norms_heads:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (x.view(b, t, -1, self.head_dim) for x in (q, k, v))  # [B, T, H or Hkv, D]
        if self.norms_heads:
            q, k = self.q_norm(q), self.k_norm(k)
        out = self.cores[pass_index](q, k, v, cos, sin, start)
        return self.o_proj(out.reshape(b, t, -1))

    def qkv_bias(self) -> Tensor | None:
        """The biases of queries, keys and values in a row [(H + 2 Hkv) * D]; None if there are none."""
        if self.q_bias is None or self.k_bias is None or self.v_bias is None:
            return None
        return torch.cat((self.q_bias, self.k_bias, self.v_bias)).detach()


class GateMul(nn.Module):
    """activation(gate) * up, both [..., ffn].

    Args:
        activation: "silu", or "gelu" by its tanh form.
    """

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return (F.silu(gate) if self.activation == "silu" else F.gelu(gate, approximate="tanh")) * up


class MLP(nn.Module):
    """SwiGLU, or GeGLU, of x [B, T, dim]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.up_proj = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.down_proj = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.activation = GateMul(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x), self.up_proj(x)))


#: By ``ModelConfig.norms``: names of the norms before and after attention, before and after feed-forward.
NORMS: dict[str, tuple[str | None, str | None, str | None, str | None]] = {
    "before": ("input_layernorm", None, "post_attention_layernorm", None),
    "after": (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
    "around": (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
}


class Layer(nn.Module):
    """Attention and MLP, each with norms around it and a residual add behind it."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, index)
        self.mlp = MLP(config)
        self.norm_names = NORMS[config.norms]
        for name in filter(None, self.norm_names):
            setattr(self, name, RMSNorm(config.dim, config.norm_eps))

    def norms(self) -> list[RMSNorm | None]:
        """The norms before and after attention, before and after feed-forward; None where there is none."""
        return [None if name is None else self.get_submodule(name) for name in self.norm_names]  # type: ignore[misc]

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, start: int, pass_index: int) -> Tensor:
        before_attention, after_attention, before_mlp, after_mlp = (n or nn.Identity() for n in self.norms())
        x = x + after_attention(self.self_attn(before_attention(x), cos, sin, start, pass_index))
        return x + after_mlp(self.mlp(before_mlp(x)))


class Head(nn.Module):
    """The output head; a tied one has no weight and multiplies by the embedding's."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = (config.vocab_size, config.dim)
        self.weight = None if config.tied_embedding else nn.Parameter(torch.empty(shape))

    def forward(self, x: Tensor, embedding: nn.Embedding) -> Tensor:
        return F.linear(x, embedding.weight if self.weight is None else self.weight)


class Decoder(nn.Module):
    """The decoder; ``forward`` maps token ids to logits.

    Args:
        config: the shape. Weights are not initialised: load them, or call ``reset_parameters``.
        positions: length of the RoPE tables; None is all that the config has, which may take gigabytes.
    """

    def __init__(self, config: ModelConfig, positions: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.lm_head = Head(config)
        self.ropes = ropes(config, config.max_seq_len if positions is None else positions)

    def reset_parameters(self, seed: int) -> Decoder:
        """Draw the matrices from a normal distribution; see ``initial_std``."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=initial_std(self.config, name), generator=generator)
        return self

    def reach(self, positions: int) -> None:
        """Lengthen the RoPE tables to at least so many positions, or to all that the config has."""
        length = self.positions
        if positions > length:
            length = min(max(positions, 2 * length), self.config.max_seq_len)
            self.ropes = ropes(self.config, length).to(self.norm.weight.device)

    @property
    def positions(self) -> int:
        """The length of the RoPE tables."""
        rope = next(iter(self.ropes.values()))
        assert isinstance(rope, Rope)
        return rope.cos.shape[0]

    def hidden(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Final normalised states [B, T, dim] of tokens [B, T] int64 that begin at position ``start``."""
        x = self.scaled(self.embed_tokens(tokens))
        for index, layer in enumerate(self.layers):
            x = self.run_layer(layer, index, x, start)
        return self.norm(x)

    def scaled(self, embedded: Tensor) -> Tensor:
        """Embeddings [B, T, dim] as the first layer takes them."""
        scale = self.config.embedding_scale
        return embedded if scale == 1 else embedded * scale

    def run_layer(self, layer: nn.Module, index: int, x: Tensor, start: int) -> Tensor:
        """The residual stream [B, T, dim] after all passes of the layer of this index."""
        rope = self.ropes[self.config.rope_of(index)]
        for pass_index in range(self.config.passes_per_layer):
            x = layer(x, rope.cos, rope.sin, start, pass_index)
        return x

    def capped(self, logits: Tensor) -> Tensor:
        """Logits with the model's cap, if it has one."""
        cap = self.config.final_cap
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        """Logits [B, T, vocab] of tokens [B, T] int64."""
        return self.capped(self.lm_head(self.hidden(tokens, start), self.embed_tokens))

    def with_cache(self, max_seq_len: int) -> Decoder:
        """Give every attention pass an empty cache of ``max_seq_len`` positions; the batch must be 1 then.

        Raises:
            ValueError: more positions than the model has.
        """
        if not 1 <= max_seq_len <= self.config.max_seq_len:
            raise ValueError(f"a cache must have 1..{self.config.max_seq_len} positions, not {max_seq_len}")
        for module in self.modules():
            if isinstance(module, AttentionCore):
                module.cache = KVCache(max_seq_len, self.config.n_kv_heads, self.config.head_dim)
        return self


def initial_std(config: ModelConfig, name: str) -> float:
    """The standard deviation that a matrix starts with: GPT-2's.

    That is 0.02, divided by sqrt(2 * layers run) for what is added to the residual stream.
    """
    depth = 2 * config.n_layers * config.passes_per_layer
    return 0.02 / depth**0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02


Model = TypeVar("Model", bound=nn.Module)
#: Full names of the token embedding and the output head.
EMBEDDING, HEAD = "embed_tokens", "lm_head"
#: Last names of the linears that a weight format applies to: ParetoQ quantises every linear of a layer.
QUANTIZED_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def is_quantized_linear(name: str) -> bool:
    """Tell whether a weight format applies to the module of this full name."""
    return name.rsplit(".", 1)[-1] in QUANTIZED_LINEARS


def is_norm(name: str) -> bool:
    """Tell whether a parameter of this full name is an RMSNorm's weight."""
    return name.endswith("norm.weight")


def named_linears(model: Decoder) -> dict[str, nn.Linear]:
    """Every linear that a weight format applies to, by its full name."""
    modules = model.named_modules()
    return {
        name: module
        for name, module in modules
        if isinstance(module, nn.Linear) and is_quantized_linear(name)
    }


def clone_structure(model: Model) -> Model:
    """A deep copy of the modules that shares every tensor with the original."""
    memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of a full name by another."""
    parent, _, child = name.rpartition(".")
    model.get_submodule(parent)._modules[child] = module
