"""Write the commands that train and export a choice."""

from __future__ import annotations

from contextlib import suppress

from edge.formats import BITS_CHOICES
from edge.model.shapes import shape_text
from edge.quantizers.methods import METHODS
from edge.runtime.manifest import KVCacheFormat
from edge.scaling.plan.search import Choice
from edge.training.presets import PRESETS

#: Stand for what a plan does not know.
TOKENIZER, TEXT, HELD_OUT = "TOKENIZER", "TEXT", "HELDOUT"


def commands(choice: Choice, kv_cache: KVCacheFormat) -> list[str]:
    """Train, quantise where that comes after training, and export; each takes what the one before wrote."""
    case, share = choice.case, choice.case.training.low_bit_share
    name = f"models/{case.config.dim}x{case.config.n_layers}-{case.bits:g}bit"
    quantizes = share == 0 and not case.is_full_precision
    trained = f"{name}-full" if quantizes else name
    steps = [_train(choice, trained)]
    if quantizes:
        steps.append(
            f"python -m edge.quantize --output {name} --model {trained} --method gptq --bits {case.bits:g} "
            f"--group row --calibration {TEXT}"
        )
    steps.append(f"python -m export.to_pte --bits {case.bits:g} --model {name} --kv-cache {kv_cache}")
    return steps


def _train(choice: Choice, output: str) -> str:
    """Write the training, with the published schedule.

    Low bits from scratch have the rate and warm-up of full precision.
    """
    case, share = choice.case, choice.case.training.low_bit_share
    words = [
        f"python -m edge.training --output {output} --shape {shape_text(case.config)}",
        f"--tokenizer {TOKENIZER} --preset paretoq --tokens {case.tokens:g}",
    ]
    if share > 0:
        words.append(f"--method {_method(case.bits)} --bits {case.bits:g}")
    if 0 < share < 1:
        words.append(f"--qat-fraction {share:.3g}")
    if share == 1:
        full = PRESETS["paretoq"].full
        words.append(f"--learning-rate {full.learning_rate:g} --warmup-steps {full.warmup_steps}")
    return " ".join([*words, f"--data {TEXT} --eval-data {HELD_OUT}"])


def _method(bits: float) -> str:
    """Find the first method that trains these bits.

    Raises:
        ValueError: none does.
    """
    for method in METHODS.values():
        with suppress(ValueError):
            method.grid(bits, BITS_CHOICES)
            return method.name
    raise ValueError(f"no method trains {bits:g} bits")
