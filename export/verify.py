"""Proof that a written program is the model: weights exactly, logits and perplexity within derived bounds.

A program is compared with two eager models, on real text where there is a tokenizer:

* *float*: the rounded weights in plain PyTorch, activations and KV cache in float32;
* *rounded*: the same, with all that the program rounds to int8 rounded too, still in plain PyTorch:
  activations, and queries, keys and values where the program has an int8 cache.

Weights may not differ at all: every packed table must be found in the written file; each linear's rows of
it must unpack to the eager model's weights, bit for bit, and so must an embedding and head that were trained
on a grid; others to the model's, rounded to the nearest level.

Logits may differ for one reason. Program and rounded model compute one function, but add in another order.
A float32 rounding apart can move a value to the next int8 step, and after a few layers nearly all of them
fall independently. Two independent roundings, each of the size that int8 has (float against rounded),
differ by sqrt(2) of it. So

    rms(program - rounded) <= sqrt(2) * rms(rounded - float) + 1e-4 * rms(logits)

where the last term covers float32 summation. Independence is an assumption; with random weights, where it
is put to the test, the difference came to 0.6 to 0.9 of the bound. Our own ops do the same arithmetic for a
token whatever comes with it, so there a prefill equals token by token to the bit; XNNPACK's products do not.

A token's negative log-likelihood moves by its own logit error less the softmax-weighted mean of all of
them. Where errors favour neither, each is of the size of the rms error, and mean log-perplexity moves by
at most twice the error between program and float model.

An int8 cache is also judged by itself, apart from the program: what rounding queries, keys and values alone
does to the float model's logits and perplexity. It rounds to the steps that activations are rounded to, with
a scale for every head instead of one for the whole row, so each rounding is relatively no larger; and it
rounds three inputs of a layer's arithmetic where activations are four, of qkv, out, gate with up, and down.
So the cache may not cost more than rounding the inputs of every linear, which is measured beside it:

    rms(int8 cache - float) <= rms(int8 inputs - float)
"""

from __future__ import annotations

import hashlib
import math
import mmap
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from edge.checkpoints.convert import build_model, weights_of
from edge.checkpoints.hugging_face import Checkpoint
from edge.model.decoder import Decoder, named_linears
from edge.ops.packing import HEADER_BYTES, MAGIC, dequantize, read_header, unpack
from edge.quantizers.paretoq import LearnedGrid
from edge.runtime.load import Program
from edge.runtime.manifest import CacheCost, Verification
from export.modules import PackedTable, tables, weights_in
from export.recipes import HEAD, Options
from export.rounding import with_int8_cache, with_int8_inputs

FLOAT32_SUMMATION = 1e-4
MAGIC_BYTES = MAGIC.to_bytes(4, "little")
#: Longest text that is run: long enough for a perplexity, short enough for the largest model.
MAX_TOKENS = 160


class VerificationError(ValueError):
    """The written program is not the model it was exported from."""


@dataclass(frozen=True)
class References:
    """The eager models a program is held against.

    Attributes:
        float_model, rounded_model: see above.
        cache_model, inputs_model: the float model with an int8 cache alone, and with the inputs of every
            linear rounded; None where the program's cache is float32.
        splits_exactly: whether a prefill must equal token by token to the bit.
    """

    float_model: Decoder
    rounded_model: Decoder
    cache_model: Decoder | None
    inputs_model: Decoder | None
    splits_exactly: bool


def reference_models(model: Decoder, lowered: Decoder, options: Options) -> References:
    """Plain PyTorch models with the very weights of the lowered one."""
    weights = weights_of(model)
    for _, table in tables(lowered):
        weights |= {f"{name}.weight": weight for name, weight in weights_in(table).items()}
    float_model = build_model(Checkpoint(model.config, weights))
    rounded = options.recipe.with_int8_activations(float_model, lowered).eval()
    exact = not options.recipe.uses_xnnpack
    if options.kv_cache == "fp32":
        return References(float_model, rounded, None, None, exact)
    inputs = with_int8_inputs(float_model, [*named_linears(float_model), HEAD])
    return References(float_model, with_int8_cache(rounded), with_int8_cache(float_model), inputs, exact)


def check_tables(model: Decoder, lowered: Decoder, path: Path) -> int:
    """Every packed table stands in the file and holds the model's weights; returns how many there are.

    What was trained on a grid must unpack to it, bit for bit. Embedding and head that are rounded at export
    must be within half a step of the model's.

    Raises:
        VerificationError: a table is missing from the file or differs in a single weight.
    """
    packed = {name: table for name, table in tables(lowered) if isinstance(table, PackedTable)}
    in_file = _table_digests(path, [table.packed for table in packed.values()])
    for name, table in packed.items():
        if hashlib.sha256(table.packed.numpy()).digest() not in in_file:
            raise VerificationError(f"the packed table {name} is not in {path.name} as it was packed")
        _check_weights(model, table)
    return len(packed)


def _check_weights(model: Decoder, table: PackedTable) -> None:
    """VerificationError unless the rows that a table has of each weight are that weight's."""
    counts = list(table.rows.values())
    codes, alphas = (part.split(counts) for part in unpack(table.packed))
    for name, code, alpha in zip(table.rows, codes, alphas, strict=True):
        source = model.get_submodule(name)
        if isinstance(source, nn.Linear | LearnedGrid):
            if not _holds(code, alpha, source):
                raise VerificationError(f"{name}: unpacking does not give the trained grid back")
        elif not _is_rounded(table.packed, source.get_parameter("weight").detach()):
            raise VerificationError(f"{name}: the table is not the model's, rounded to the nearest level")


def verify(path: Path, references: References, tables: int, tokens: list[int], text: str) -> Verification:
    """Runs the program on tokens and compares; raises VerificationError beyond the bounds above."""
    float_logits = eager_logits(references.float_model, tokens)  # [T, V]
    rounded_logits = eager_logits(references.rounded_model, tokens)  # [T, V]
    cache = _cache_cost(references, float_logits, tokens)  # first, for it needs no program
    program = Program(path)
    stepwise = torch.stack([program.forward([token], i) for i, token in enumerate(tokens)])  # [T, V]
    prefill = program.forward(tokens, 0)  # [V]
    logit_rms, rounding_rms = _rms(float_logits), _rms(rounded_logits - float_logits)
    bound = math.sqrt(2) * rounding_rms + FLOAT32_SUMMATION * logit_rms
    result = Verification(
        exact_tables=tables,
        text=text,
        tokens=len(tokens),
        logit_rms=logit_rms,
        rounding_rms=rounding_rms,
        program_rms=_rms(stepwise - rounded_logits),
        program_rms_bound=bound,
        prefill_rms=_rms(prefill - stepwise[-1]),
        prefill_rms_bound=0.0 if references.splits_exactly else bound,
        perplexity_program=perplexity(stepwise, tokens),
        perplexity_eager=perplexity(float_logits, tokens),
        perplexity_bound=_exp(2 * (rounding_rms + bound)),
        cache=cache,
    )
    _judge(result)
    return result


def eager_logits(model: Decoder, tokens: list[int]) -> Tensor:
    """Logits [T, vocab] of an eager model after each token."""
    with torch.no_grad():
        return model(torch.tensor([tokens]))[0]


def perplexity(logits: Tensor, tokens: list[int]) -> float:
    """exp of the mean negative log-likelihood of each token but the first; 1.0 for a single token."""
    if len(tokens) < 2:
        return 1.0
    loss = nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(tokens[1:]))
    return _exp(loss.item())


def _cache_cost(references: References, float_logits: Tensor, tokens: list[int]) -> CacheCost | None:
    """What an int8 cache alone changes of the float model, with its bounds; None for a float32 cache."""
    if references.cache_model is None or references.inputs_model is None:
        return None
    logits = eager_logits(references.cache_model, tokens)
    rms = _rms(logits - float_logits)
    return CacheCost(
        rms=rms,
        rms_bound=_rms(eager_logits(references.inputs_model, tokens) - float_logits),
        perplexity=perplexity(logits, tokens),
        perplexity_bound=_exp(2 * rms),
    )


def _judge(v: Verification) -> None:
    if not v.program_rms <= v.program_rms_bound:  # also refuses NaN
        raise VerificationError(
            f"the program's logits are off, token by token: rms {v.program_rms:.4g}, at most "
            f"{v.program_rms_bound:.4g} can come from rounding to int8; nothing was written"
        )
    if not v.prefill_rms <= v.prefill_rms_bound:
        raise VerificationError(
            f"the program's logits are off, prefill against token by token: rms {v.prefill_rms:.4g}, "
            f"at most {v.prefill_rms_bound:.4g} is right; nothing was written"
        )
    _judge_perplexity(
        "the program's perplexity", v.perplexity_program, v.perplexity_eager, v.perplexity_bound
    )
    if v.cache is None:
        return
    if not v.cache.rms <= v.cache.rms_bound:
        raise VerificationError(
            f"an int8 KV cache changes this model's logits by rms {v.cache.rms:.4g}, more than the "
            f"{v.cache.rms_bound:.4g} of int8 activations; export it with --kv-cache fp32"
        )
    what = "perplexity with an int8 KV cache"
    _judge_perplexity(what, v.cache.perplexity, v.perplexity_eager, v.cache.perplexity_bound)


def _judge_perplexity(what: str, found: float, eager: float, bound: float) -> None:
    ratio = found / eager
    if not max(ratio, 1 / ratio) <= bound:
        raise VerificationError(
            f"{what} is {found:.4g}, eager's {eager:.4g}: more than a factor {bound:.4g} apart; "
            "nothing was written"
        )


def _holds(codes: Tensor, alpha: Tensor, source: nn.Linear | LearnedGrid) -> bool:
    """Whether a table's rows, codes [rows, k] and alpha [rows], are a module's very codes and scales."""
    if not isinstance(source, LearnedGrid):
        return torch.equal(codes, source.weight.detach().half())  # such a table has weights in place of codes
    return torch.equal(alpha[:, None], source.scales()) and torch.equal(codes, source.codes())


def _is_rounded(packed: Tensor, weight: Tensor) -> bool:
    """Whether every value of a table [rows, dim] is the weight's, moved by half a step at most."""
    values = dequantize(packed)
    if not read_header(packed).format.is_quantized:
        return torch.equal(values, weight.half().float())
    half_step = unpack(packed)[1][:, None] * (0.5 + 1e-5)  # room for float32 in the quotient and product
    return bool(((values - weight).abs() <= half_step).all())


def _table_digests(path: Path, tables: list[Tensor]) -> set[bytes]:
    """SHA-256 of every piece of a file that begins with the header of one of the tables and is as long."""
    sizes = {table[:HEADER_BYTES].numpy().tobytes(): table.numel() for table in tables}
    digests = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(MAGIC_BYTES)
        while at >= 0:
            size = sizes.get(data[at : at + HEADER_BYTES])
            if size is not None:
                digests.add(hashlib.sha256(data[at : at + size]).digest())
            at = data.find(MAGIC_BYTES, at + 1)
    return digests


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # a double ends at exp(709.8)


def _rms(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()
