"""Train with rounded activations, keys and values, as a program computes with them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from edge.formats import FULL_PRECISION
from edge.model.decoder import AttentionCore, Decoder, named_linears
from edge.model.kv_cache import KVCache
from edge.quantizers.placement import StraightThrough

#: Bits that activations, keys and values are rounded to.
ACTIVATION_BITS = (2, 3, 4, 5, 6, 7, 8)


def check_activation_bits(bits: int, flag: str) -> None:
    """Raise ValueError if values cannot be rounded to so many bits; 16 leaves them as they are."""
    if bits not in (*ACTIVATION_BITS, int(FULL_PRECISION.bits)):
        raise ValueError(f"{flag} must lie in 2..8, or be 16 to round nothing, not {bits}")


def rounded(values: Tensor, bits: int) -> Tensor:
    """Round vectors along the last dimension to 2^bits - 1 even levels; the outermost is the largest value.

    The gradient passes straight through. At 8 bits this is how programs round a token's activations.
    """
    highest = 2 ** (bits - 1) - 1
    scale = values.detach().abs().amax(dim=-1, keepdim=True) / highest
    scale = scale.clamp_min(torch.finfo(values.dtype).tiny)
    return cast(Tensor, StraightThrough.apply(values, torch.round(values.detach() / scale) * scale))


class RoundedKeysAndValues(nn.Module):
    """Stand in for a KV cache while a model is trained: round keys and values, and keep nothing."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def update(self, keys: Tensor, values: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Round keys and values [B, T, Hkv, D], each head's vector by itself; texts begin at position 0."""
        assert start == 0
        return rounded(keys, self.bits), rounded(values, self.bits)


def round_activations(model: Decoder, activation_bits: int, kv_bits: int) -> Decoder:
    """Let a model round what its linears read, and its keys and values, from now on; 16 bits round nothing.

    The head's input is not rounded. The model is changed in place and returned.
    """
    full = int(FULL_PRECISION.bits)
    if activation_bits != full:
        for linear in named_linears(model).values():
            linear.register_forward_pre_hook(lambda _, args: (rounded(args[0], activation_bits), *args[1:]))
    if kv_bits != full:
        for module in model.modules():
            if isinstance(module, AttentionCore):
                module.cache = cast(KVCache, RoundedKeysAndValues(kv_bits))
    return model
