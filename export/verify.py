"""Proof that a written program is the model: weights exactly, logits and perplexity within derived bounds.

A program is compared with two eager models, on real text where there is a tokenizer:

* *float*: the rounded weights in plain PyTorch, activations in float32;
* *int8*: the same, activations rounded to int8 as the ops do, still in plain PyTorch.

Weights may not differ at all: every packed table must be found in the written file; linears must unpack
to the eager model's weights, bit for bit, embedding and head to the model's, rounded to the nearest level.

Logits may differ for one reason. Program and int8 model compute one function, but add in another order.
A float32 rounding apart can move an activation to the next int8 step, and after a few layers nearly all
of them fall independently. Two independent roundings, each of the size that int8 activations have (float
against int8), differ by sqrt(2) of it. So

    rms(program - int8) <= sqrt(2) * rms(int8 - float) + 1e-4 * rms(logits)

where the last term covers float32 summation. Independence is an assumption; with random weights, where it
is put to the test, the difference came to 0.6 to 0.9 of the bound.

A token's negative log-likelihood moves by its own logit error less the softmax-weighted mean of all of
them. Where errors favour neither, each is of the size of the rms error, and mean log-perplexity moves by
at most twice the error between program and float model.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from edge.manifest import Verification
from edge.model.mobilellm import MobileLLM, named_linears, replace_module
from edge.ops.packing import MAGIC, dequantize, read_header, unpack
from edge.program import Program
from edge.quantizers.paretoq import QATLinear, effective_alpha
from export.modules import PackedEmbedding, PackedHead, PackedLinear
from export.recipes import Recipe, clone_structure, packed_tables

FLOAT32_SUMMATION = 1e-4
#: Longest text that is run: long enough for a perplexity, short enough for the largest model.
MAX_TOKENS = 160


class VerificationError(ValueError):
    """The written program is not the model it was exported from."""


@dataclass(frozen=True)
class References:
    """The eager models a program is held against."""

    float_model: MobileLLM
    int8_model: MobileLLM


def reference_models(model: MobileLLM, lowered: MobileLLM, recipe: Recipe) -> References:
    """Plain PyTorch models with the very weights of the lowered one."""
    float_model = clone_structure(model)
    for name, linear in named_linears(model).items():
        plain = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
        _set_weight(plain, _weight_in(lowered.get_submodule(name)))
        replace_module(float_model, name, plain)
    embedding, head = packed_tables(lowered)
    _set_weight(float_model.embed_tokens, dequantize(embedding))
    if head is not None:
        _set_weight(float_model.lm_head, dequantize(head))
    return References(float_model.eval(), recipe.with_int8_activations(float_model, lowered).eval())


def check_tables(model: MobileLLM, lowered: MobileLLM, path: Path) -> int:
    """Every packed table stands in the file and holds the model's weights; returns how many there are.

    Linears must unpack to the trained grid, bit for bit. Embedding and head, which are rounded at export,
    must be within half a step of the model's.

    Raises:
        VerificationError: a table is missing from the file or differs in a single weight.
    """
    in_file = _table_digests(path)
    linears = named_linears(model)
    count = 0
    for name, module in lowered.named_modules():
        if not isinstance(module, PackedLinear | PackedEmbedding | PackedHead) or module.packed is None:
            continue
        count += 1
        if hashlib.sha256(module.packed.numpy().tobytes()).digest() not in in_file:
            raise VerificationError(f"the packed table of {name} is not in {path.name} as it was packed")
        if name in linears:
            if not _holds(module.packed, linears[name]):
                raise VerificationError(f"{name}: unpacking does not give the trained grid back")
        elif not _is_rounded(module.packed, cast(Tensor, model.get_submodule(name).weight).detach()):
            raise VerificationError(f"{name}: the table is not the model's, rounded to the nearest level")
    return count


def verify(path: Path, references: References, tables: int, tokens: list[int], text: str) -> Verification:
    """Runs the program on tokens and compares; raises VerificationError beyond the bounds above."""
    float_logits = eager_logits(references.float_model, tokens)  # [T, V]
    int8_logits = eager_logits(references.int8_model, tokens)  # [T, V]
    program = Program(path)
    stepwise = torch.stack([program.forward([token], i) for i, token in enumerate(tokens)])  # [T, V]
    prefill = program.forward(tokens, 0)  # [V]
    logit_rms, activation_rms = _rms(float_logits), _rms(int8_logits - float_logits)
    bound = math.sqrt(2) * activation_rms + FLOAT32_SUMMATION * logit_rms
    result = Verification(
        exact_tables=tables,
        text=text,
        tokens=len(tokens),
        logit_rms=logit_rms,
        activation_rms=activation_rms,
        program_rms=_rms(stepwise - int8_logits),
        program_rms_bound=bound,
        prefill_rms=_rms(prefill - stepwise[-1]),
        perplexity_program=perplexity(stepwise, tokens),
        perplexity_eager=perplexity(float_logits, tokens),
        perplexity_bound=_exp(2 * (activation_rms + bound)),
    )
    _judge(result)
    return result


def eager_logits(model: MobileLLM, tokens: list[int]) -> Tensor:
    """Logits [T, vocab] of an eager model after each token."""
    with torch.no_grad():
        return model(torch.tensor([tokens]))[0]


def perplexity(logits: Tensor, tokens: list[int]) -> float:
    """exp of the mean negative log-likelihood of each token but the first; 1.0 for a single token."""
    if len(tokens) < 2:
        return 1.0
    loss = nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(tokens[1:]))
    return _exp(loss.item())


def _judge(v: Verification) -> None:
    for what, error in (("token by token", v.program_rms), ("prefill against token by token", v.prefill_rms)):
        if not error <= v.program_rms_bound:  # also refuses NaN
            raise VerificationError(
                f"the program's logits are off, {what}: rms {error:.4g}, at most {v.program_rms_bound:.4g} "
                "can come from int8 activations; nothing was written"
            )
    ratio = v.perplexity_program / v.perplexity_eager
    if not max(ratio, 1 / ratio) <= v.perplexity_bound:
        raise VerificationError(
            f"the program's perplexity is {v.perplexity_program:.4g}, eager's {v.perplexity_eager:.4g}: "
            f"more than a factor {v.perplexity_bound:.4g} apart; nothing was written"
        )


def _holds(packed: Tensor, linear: nn.Linear) -> bool:
    """Whether a table unpacks to a linear's very scales and weights."""
    if not isinstance(linear, QATLinear):
        return torch.equal(dequantize(packed), linear.weight.detach().half().float())
    _, alpha = unpack(packed)
    return torch.equal(alpha[:, None], effective_alpha(linear.weight_clip_val.detach())) and torch.equal(
        dequantize(packed), linear.quantized_weight().detach()
    )


def _is_rounded(packed: Tensor, weight: Tensor) -> bool:
    """Whether every value of a table [rows, dim] is the weight's, moved by half a step at most."""
    values = dequantize(packed)
    if not read_header(packed).format.is_quantized:
        return torch.equal(values, weight.half().float())
    half_step = unpack(packed)[1][:, None] * (0.5 + 1e-5)  # room for float32 in the quotient and product
    return bool(((values - weight).abs() <= half_step).all())


def _weight_in(lowered: nn.Module) -> Tensor:
    """The float32 weight that a lowered linear computes with."""
    if isinstance(lowered, PackedLinear):
        return dequantize(lowered.packed)
    weight: Any = lowered.weight
    return weight.dequantize() if hasattr(weight, "qdata") else weight.detach()  # torchao's, or a plain one


def _table_digests(path: Path) -> set[bytes]:
    """SHA-256 of every packed table in a file, found by its magic and measured by its header."""
    digests = set()
    magic = MAGIC.to_bytes(4, "little")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(magic)
        while at >= 0:
            size = int.from_bytes(data[at + 40 : at + 48], "little")  # total_bytes of the header
            if 64 <= size <= len(data) - at:
                digests.add(hashlib.sha256(data[at : at + size]).digest())
            at = data.find(magic, at + 4)
    return digests


def _set_weight(module: nn.Module, weight: Tensor) -> None:
    module.weight = nn.Parameter(weight, requires_grad=False)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # a double ends at exp(709.8)


def _rms(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()
