"""Default schedules by bit width, for flags that are not given."""

from __future__ import annotations

from dataclasses import dataclass

from edge.formats import FULL_PRECISION


@dataclass(frozen=True)
class Preset:
    """A schedule of AdamW: linear warm-up, then cosine to 0.

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
    """A preset for full precision, and for each of ParetoQ's two regimes (arXiv 2502.02631, section 3).

    Attributes:
        full: full precision, before any quantisation.
        compensation: 3 and 4 bits, where weights move little.
        reconstruction: 2 bits and fewer, where weights move far.
    """

    full: Preset
    compensation: Preset
    reconstruction: Preset

    def at(self, bits: float) -> Preset:
        """Return the preset of a bit width."""
        if bits == FULL_PRECISION.bits:
            return self.full
        return self.compensation if bits > 2 else self.reconstruction


PRESETS = {
    # For the embedded model: a few million parameters and tokens want higher rates. In full precision
    # 2e-3 was better than 1e-3 and 8e-3, and warm-up helped.
    "small": PresetFamily(
        full=Preset(2e-3, 1000, 8, 512, warmup_steps=50, weight_decay=0.1),
        compensation=Preset(3e-4, 100, 8, 512),
        reconstruction=Preset(1e-3, 100, 8, 512),
    ),
    # ParetoQ's appendix and training script, for 16 GPUs; full precision from MobileLLM's pretrain.sh, for 8.
    # About 10.5 billion tokens at 3 and 4 bits, and 31.5 billion at 2 and fewer.
    # ParetoQ's script keeps weights and scales in bfloat16 and divides in bfloat16. Here weights are
    # float32 and only products are bfloat16, because a step at these rates is often less than half a unit of
    # bfloat16, and would be lost. The order of the texts is that of edge/data/order.py, which is the same on
    # any number of processes.
    "paretoq": PresetFamily(
        full=Preset(5e-4, 480_000, 32, 2048, warmup_steps=1000, weight_decay=0.1, bf16=True),
        compensation=Preset(1e-5, 40_000, 8, 2048, bf16=True, adam_beta2=0.999),
        reconstruction=Preset(2e-5, 120_000, 8, 2048, bf16=True, adam_beta2=0.999),
    ),
}
