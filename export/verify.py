"""Verify that a written program is the model it was exported from.

1. Every packed table in the written file must hold the model's weights (``ProgramFile.check``).
2. The program's logits, token by token, must be the *rounded* reference's, up to the order of additions:

       rms(program - rounded) <= sqrt(2) * rms(rounded - float) + 1e-4 * rms(logits)

3. A prefill must give the logits of token by token: to the bit, or within that bound for XNNPACK.
4. The program's perplexity must be the float reference's, within a factor exp(2 * rms error).
5. An int8 KV cache may change the float reference's logits no more than int8 inputs of its linears do, an
   int4 one no more than raises perplexity by 1 %.

``references.py`` builds the references; README.md derives the bounds and names their assumptions.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from edge.runtime.load import Program
from edge.runtime.manifest import ActivationsCost, CacheCost, KVCacheFormat, Verification
from export.program_file import VerificationError
from export.references import References, exp, perplexity

FLOAT32_SUMMATION = 1e-4
#: An error of this rms raises log-perplexity by half its square, 0.01.
INT4_CACHE_RMS = math.sqrt(2 * 0.01)


class CacheTooCoarse(VerificationError):
    """An integer KV cache would change the model too much."""

    def __init__(self, sentence: str, cost: CacheCost, finer: KVCacheFormat) -> None:
        super().__init__(f"{sentence}; export it with --kv-cache {finer}")
        self.cost = cost


def verify(
    path: Path, references: References, tables: int, tokens: list[int], text: str, bits: int | None = None
) -> Verification:
    """Run the program on tokens and compare it with the references.

    Args:
        bits: width of an elastic program.
        tables: number of packed tables that ``ProgramFile.check`` compared.
        text: name of the text that the tokens are from.

    Raises:
        VerificationError: a difference is beyond its bound.
    """
    floats, rounded = references.float_logits, references.rounded_logits  # [T, V]
    cache = _cache_cost(references, tokens)
    if cache is not None:
        _judge_cache(references.kv_cache, cache, perplexity(floats, tokens))
    program = Program(path)
    if bits is not None:
        program.set_width(bits)
    stepwise = torch.stack([program.forward([token], i) for i, token in enumerate(tokens)])  # [T, V]
    prefill = program.forward(tokens, 0)  # [V]
    logit_rms, rounding_rms = _rms(floats), _rms(rounded - floats)
    bound = math.sqrt(2) * rounding_rms + FLOAT32_SUMMATION * logit_rms
    result = Verification(
        exact_tables=tables,
        text=text,
        tokens=len(tokens),
        logit_rms=logit_rms,
        rounding_rms=rounding_rms,
        program_rms=_rms(stepwise - rounded),
        program_rms_bound=bound,
        prefill_rms=_rms(prefill - stepwise[-1]),
        prefill_rms_bound=0.0 if references.exact_prefill else bound,
        perplexity_program=perplexity(stepwise, tokens),
        perplexity_eager=perplexity(floats, tokens),
        perplexity_bound=exp(2 * (rounding_rms + bound)),
        activations=_activations_cost(references, tokens),
        cache=cache,
    )
    _judge(result)
    return result


def _activations_cost(references: References, tokens: list[int]) -> ActivationsCost:
    """The change that int8 activations alone make to the float model."""
    floats, rounded = references.float_logits, references.activations_logits
    found = perplexity(rounded, tokens)
    return ActivationsCost(
        rms=_rms(rounded - floats),
        perplexity=found,
        perplexity_ratio=found / perplexity(floats, tokens),
    )


def _cache_cost(references: References, tokens: list[int]) -> CacheCost | None:
    """The change that an integer cache alone makes to the float model; None for a float32 cache."""
    if references.cache_logits is None:
        return None
    rms, inputs = _rms(references.cache_logits - references.float_logits), references.inputs_logits
    return CacheCost(
        rms=rms,
        rms_bound=INT4_CACHE_RMS if inputs is None else _rms(inputs - references.float_logits),
        perplexity=perplexity(references.cache_logits, tokens),
        perplexity_bound=exp(2 * rms),
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
    if not _is_within(v.perplexity_program, v.perplexity_eager, v.perplexity_bound):
        raise VerificationError(
            f"the program's perplexity is {v.perplexity_program:.4g}, eager's {v.perplexity_eager:.4g}: more "
            f"than a factor {v.perplexity_bound:.4g} apart; nothing was written"
        )


def _judge_cache(kv_cache: KVCacheFormat, cost: CacheCost, eager: float) -> None:
    finer: KVCacheFormat = "int8" if kv_cache == "int4" else "fp32"
    allowed = "of int8 activations" if kv_cache == "int8" else "that costs 1 % of perplexity"
    if not cost.rms <= cost.rms_bound:
        raise CacheTooCoarse(
            f"an {kv_cache} KV cache changes this model's logits by rms {cost.rms:.4g}, more than the "
            f"{cost.rms_bound:.4g} {allowed}",
            cost,
            finer,
        )
    if not _is_within(cost.perplexity, eager, cost.perplexity_bound):
        raise CacheTooCoarse(
            f"perplexity with an {kv_cache} KV cache is {cost.perplexity:.4g}, without {eager:.4g}: more "
            f"than a factor {cost.perplexity_bound:.4g} apart",
            cost,
            finer,
        )


def _is_within(found: float, eager: float, bound: float) -> bool:
    ratio = found / eager
    return max(ratio, 1 / ratio) <= bound


def _rms(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) / math.sqrt(values.numel())
