"""The recipes: which backend computes the linears and which tables hold the weights.

Every recipe takes the same model and uses the same norm, attention and activation ops, so that a
comparison between two programs is a comparison of their linears.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge.formats import FULL_PRECISION, WeightFormat, format_for_bits
from edge.model.mobilellm import AttentionCore, MobileLLM, RMSNorm, SiluMul, named_linears, replace_module
from edge.ops.packing import pack_codes, pack_half, read_header
from edge.quantizers.convert import qat_linears
from edge.quantizers.packed_checkpoint import quantize_table
from edge.quantizers.paretoq import QATLinear, effective_alpha
from export.modules import OpAttention, OpRMSNorm, OpSiluMul, PackedEmbedding, PackedHead, PackedLinear

XNNPACK_GROUP_SIZE = 32


@dataclass(frozen=True)
class Recipe:
    """How a prepared model becomes a program.

    Attributes:
        lower_linears: changes the model's linears in place.
        keeps_grid: the linears run on the format's own grid, so the model is put on it first.
        uses_xnnpack: linears that are left in ATen are delegated to XNNPACK.
        refuses: why a model and format cannot go through this recipe, or None where they can.
        with_int8_activations: from the float reference and the lowered model, an eager model that rounds
            activations as the program's linears do (``verify.py``).
    """

    name: str
    lower_linears: Callable[[MobileLLM], None]
    keeps_grid: bool
    uses_xnnpack: bool
    refuses: Callable[[MobileLLM, WeightFormat], str | None]
    with_int8_activations: Callable[[MobileLLM, MobileLLM], MobileLLM]


def pack_linear(linear: nn.Linear) -> Tensor:
    """The packed table of a linear: the trained grid where it has one, else half precision."""
    if isinstance(linear, QATLinear):
        return pack_codes(linear.codes(), effective_alpha(linear.weight_clip_val.detach()), linear.fmt)
    return pack_half(linear.weight.detach())


def pack_embedding(weight: Tensor, bits: int) -> Tensor:
    """The packed table of an embedding or head [vocab, dim] at 4, 8 or 16 bits, one scale per row."""
    fmt = format_for_bits(bits)
    if fmt is FULL_PRECISION:
        return pack_half(weight)
    return pack_codes(*quantize_table(weight, fmt), fmt)


def _pack_linears(model: MobileLLM) -> None:
    for name, linear in named_linears(model).items():
        try:
            packed = pack_linear(linear)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        replace_module(model, name, PackedLinear(packed, linear.out_features))


def _xnnpack_8da4w(model: MobileLLM) -> None:
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup, quantize_

    linears = set(named_linears(model).values())
    config = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # torch's stubs lack it
        weight_granularity=PerGroup(XNNPACK_GROUP_SIZE),
    )
    quantize_(model, config, filter_fn=lambda module, _: module in linears)


def _int8_like_lowbit(float_model: MobileLLM, lowered: MobileLLM) -> MobileLLM:
    """The float model with activations rounded to int8 wherever the lowered model's op rounds them."""
    model = clone_structure(float_model)
    for name, module in lowered.named_modules():
        if isinstance(module, PackedLinear) and read_header(module.packed).format.is_quantized:
            model.get_submodule(name).register_forward_pre_hook(_round_first_argument)
    embedding, own_head = packed_tables(lowered)
    if read_header(embedding if own_head is None else own_head).format.is_quantized:
        model.lm_head.register_forward_pre_hook(_round_first_argument)
    return model


def _int8_like_torchao(float_model: MobileLLM, lowered: MobileLLM) -> MobileLLM:
    """The lowered model's own torchao linears, which round activations in eager mode as XNNPACK does."""
    model = _int8_like_lowbit(float_model, lowered)
    for name in named_linears(float_model):
        replace_module(model, name, lowered.get_submodule(name))
    return model


def _round_first_argument(module: nn.Module, args: tuple) -> tuple:
    """x on the int8 grid of its row, as the ops quantise activations: symmetric, 127 steps each way."""
    x, *rest = args
    largest = x.abs().amax(dim=-1, keepdim=True)
    codes = torch.round(x * (127 / largest).nan_to_num(posinf=0.0)).clamp(-127, 127)
    return (codes * (largest / 127), *rest)


def _refuse_for_lowbit(model: MobileLLM, fmt: WeightFormat) -> str | None:
    return None


def _refuse_for_xnnpack(model: MobileLLM, fmt: WeightFormat) -> str | None:
    if fmt.bits != 4 or qat_linears(model):
        return (
            "takes a full-precision checkpoint with --bits 4: its grid is its own, and no learned one is kept"
        )
    ragged = [n for n, linear in named_linears(model).items() if linear.in_features % XNNPACK_GROUP_SIZE]
    if ragged:
        return f"needs widths that divide by its group of {XNNPACK_GROUP_SIZE}, and {ragged[0]} has none"
    return None


def _refuse_for_fp32(model: MobileLLM, fmt: WeightFormat) -> str | None:
    return None if fmt is FULL_PRECISION else "is unquantised; give --bits 16"


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("lowbit", _pack_linears, True, False, _refuse_for_lowbit, _int8_like_lowbit),
        Recipe("xnnpack-8da4w", _xnnpack_8da4w, False, True, _refuse_for_xnnpack, _int8_like_torchao),
        Recipe("fp32", lambda model: None, False, True, _refuse_for_fp32, _int8_like_lowbit),
    )
}


def lower(model: MobileLLM, recipe: Recipe, embedding_bits: int, max_seq_len: int) -> MobileLLM:
    """A copy of the model with caches of ``max_seq_len`` positions whose parts are calls of ops."""
    lowered = clone_structure(model).with_cache(max_seq_len)
    lowered.cos, lowered.sin = lowered.cos[:max_seq_len].clone(), lowered.sin[:max_seq_len].clone()
    recipe.lower_linears(lowered)
    dim, vocab = model.config.dim, model.config.vocab_size
    head = (
        None
        if model.lm_head.weight is None
        else pack_embedding(model.lm_head.weight.detach(), embedding_bits)
    )
    embedding = pack_embedding(model.embed_tokens.weight.detach(), embedding_bits)
    replace_module(lowered, "embed_tokens", PackedEmbedding(embedding, dim))
    replace_module(lowered, "lm_head", PackedHead(vocab, head))
    for name, module in list(lowered.named_modules()):
        if isinstance(module, RMSNorm):
            replace_module(lowered, name, OpRMSNorm(module))
        elif isinstance(module, SiluMul):
            replace_module(lowered, name, OpSiluMul())
        elif isinstance(module, AttentionCore):
            assert module.cache is not None  # with_cache gave every core one
            replace_module(lowered, name, OpAttention(module.cache))
    return lowered.eval()


def packed_tables(lowered: MobileLLM) -> tuple[Tensor, Tensor | None]:
    """The packed tables of a lowered model's embedding and, where it has its own, of its head."""
    embedding, head = lowered.get_submodule("embed_tokens"), lowered.get_submodule("lm_head")
    assert isinstance(embedding, PackedEmbedding)
    assert isinstance(head, PackedHead)
    return embedding.packed, head.packed


def clone_structure(model: MobileLLM) -> MobileLLM:
    """A deep copy of the modules that shares every tensor with the original."""
    memo = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, memo)
