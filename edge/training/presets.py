"""How long and how fast to train, by bit width: what stands where a flag is not given."""

from __future__ import annotations

from dataclasses import dataclass

from edge.formats import FULL_PRECISION


@dataclass(frozen=True)
class Preset:
    """A schedule: AdamW, linear warm-up, cosine to 0.

    Attributes:
        steps, batch_size, context: optimiser steps, examples per device and step, tokens per example.
        bf16: matrix products in bfloat16 (autocast); weights, scales and moments stay float32.
        adam_beta2: 0.95 is MobileLLM's; ParetoQ's training script leaves PyTorch's 0.999.
    """

    learning_rate: float
    steps: int
    batch_size: int
    context: int
    warmup_steps: int = 0
    weight_decay: float = 0.0
    bf16: bool = False
    adam_beta2: float = 0.95


@dataclass(frozen=True)
class PresetFamily:
    """A preset for each of the regimes that ParetoQ (arXiv 2502.02631, section 3) tells apart.

    Attributes:
        full: full precision, before any quantisation.
        compensation: 3 and 4 bits, where training moves the weights little.
        reconstruction: 2 bits and fewer, where they find new places.
    """

    full: Preset
    compensation: Preset
    reconstruction: Preset

    def at(self, bits: float) -> Preset:
        if bits == FULL_PRECISION.bits:
            return self.full
        return self.compensation if bits > 2 else self.reconstruction


PRESETS = {
    # What the embedded model is trained with: a few million parameters and tokens, so higher rates.
    # In full precision 2e-3 did better than 1e-3 and 8e-3; without warm-up it learned more slowly.
    "small": PresetFamily(
        full=Preset(2e-3, 1000, 8, 512, warmup_steps=50, weight_decay=0.1),
        compensation=Preset(3e-4, 100, 8, 512),
        reconstruction=Preset(1e-3, 100, 8, 512),
    ),
    # ParetoQ's own, on 16 GPUs (its appendix and training script); full precision is that of MobileLLM's
    # pretrain.sh, on 8. About 10.5 billion tokens at 3 and 4 bits, and 31.5 at 2 and fewer.
    "paretoq": PresetFamily(
        full=Preset(5e-4, 480_000, 32, 2048, warmup_steps=1000, weight_decay=0.1, bf16=True),
        compensation=Preset(1e-5, 40_000, 8, 2048, bf16=True, adam_beta2=0.999),
        reconstruction=Preset(2e-5, 120_000, 8, 2048, bf16=True, adam_beta2=0.999),
    ),
}
