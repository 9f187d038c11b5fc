"""Round a model as other nested schemes do, for comparison: any-precision and residuals.

Writes the rounded weights as a full-precision checkpoint, to measure its perplexity. These schemes have no
packed form here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.checkpoints.write import save_checkpoint
from edge.cli import flag, main_guard, parse_flags
from edge.model.decoder import named_linears
from edge.model.tokenizer import Tokenizer
from edge.quantize.nested.any_precision import clustered, nested_codes
from edge.quantize.nested.residual import residual
from edge.quantize.samples import draw_samples

ANY_PRECISION, RESIDUAL = "any-precision", "residual"


@dataclass(frozen=True)
class OtherFlags:
    """Flags of ``python -m edge.quantize.nested.others``."""

    output: Path = flag("directory to write")
    method: str = flag("scheme", choices=(ANY_PRECISION, RESIDUAL))
    bits: int = flag("bits per weight of the linears")
    model: str = flag("full-precision model", default="default/16bit")
    first_bits: int = flag("width at which any-precision clusters weights", default=3)
    calibration: str = flag("text for any-precision's gradients", default="")
    samples: int = flag("calibration samples", default=16)
    length: int = flag("tokens of a sample", default=256)
    seed: int = flag("seed of the places in the text that samples are taken from", default=0)


def squared_gradients(checkpoint: Checkpoint, samples: Tensor) -> dict[str, Tensor]:
    """Compute the mean squared gradient of every linear's weight, by name; samples int64 [N, T]."""
    model = build_model(checkpoint, positions=samples.shape[1])
    linears = named_linears(model)
    model.requires_grad_(False)
    for linear in linears.values():
        linear.weight.requires_grad_(True)
    found = {name: torch.zeros_like(linear.weight) for name, linear in linears.items()}
    for sample in samples:
        loss = F.cross_entropy(model(sample[None, :-1])[0], sample[1:])
        gradients = torch.autograd.grad(loss, [linear.weight for linear in linears.values()])
        for name, gradient in zip(linears, gradients, strict=True):
            found[name] += gradient.square() / len(samples)
    return found


def _rounding(flags: OtherFlags, checkpoint: Checkpoint) -> Callable[[str, Tensor], Tensor]:
    """Find the function that rounds a weight, given its linear's name.

    Raises:
        ValueError: the scheme has no such width, or lacks its text.
    """
    if flags.method == RESIDUAL:
        return lambda name, weight: residual(weight, flags.bits)
    if not 1 <= flags.first_bits <= flags.bits <= 8:
        raise ValueError(f"any-precision from {flags.first_bits} bits has no model of {flags.bits}")
    if checkpoint.tokenizer is None or not flags.calibration:
        raise ValueError("any-precision needs --calibration, and a model with a tokenizer")
    tokenizer = Tokenizer(checkpoint.tokenizer)
    samples = draw_samples(
        flags.calibration, tokenizer, checkpoint.config, flags.samples, flags.length, flags.seed
    )
    shares = squared_gradients(checkpoint, samples)

    def rounded(name: str, weight: Tensor) -> Tensor:
        return clustered(
            weight, shares[name], nested_codes(weight, shares[name], flags.first_bits), flags.bits
        )

    return rounded


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(OtherFlags, argv, "edge.quantize.nested.others", str(__doc__))
    checkpoint = open_model(flags.model)
    rounded = _rounding(flags, checkpoint)
    names = [f"{name}.weight" for name in named_linears(build_model(checkpoint, positions=0))]
    weights = {name: checkpoint.weights[name] for name in checkpoint.weights}
    weights |= {name: rounded(name.removesuffix(".weight"), weights[name]) for name in names}
    save_checkpoint(replace(checkpoint, weights=weights), flags.output)
    print(f"{flags.output}: {flags.method} at {flags.bits} bits")
    return 0


if __name__ == "__main__":
    main_guard(main)
