"""Quantise a trained model without training it: round to nearest, GPTQ or OmniQuant; and smooth it.

Writes a checkpoint that export, evaluation and training take like any other. One layer is in memory at a
time, and a layer that is done stays done: the same command given again goes on where it was interrupted.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.packed import model_directory, open_model
from edge.checkpoints.tensor_files import hashes_of_weights
from edge.checkpoints.write import check_output
from edge.cli import main_guard, parse_flags, refuse_unwritable
from edge.files import only_writer
from edge.model.tokenizer import Tokenizer
from edge.quantize.flags import QuantizeFlags
from edge.quantize.layers import LayerByLayer
from edge.quantize.samples import draw_samples, sample_length
from edge.quantize.unfinished import Unfinished, directory_of
from edge.quantizers.smoothing import refuse_unsmoothable


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(QuantizeFlags, argv, "edge.quantize", str(__doc__))
    directory = model_directory(flags.model)
    checkpoint = open_model(flags.model)
    if checkpoint.plan.is_quantized:
        raise ValueError(
            f"{flags.model} is quantised already, at {checkpoint.plan}; give the full-precision model"
        )
    if flags.smooth:
        refuse_unsmoothable(checkpoint.config)
    output = flags.output or _default_output(flags)
    _check_output(output, directory)
    plan = flags.plan(checkpoint.config)
    samples = _samples(flags, checkpoint)
    asked = _asked(flags, directory, samples)
    with only_writer(directory_of(output)):
        disk = Unfinished(output, asked, checkpoint)
        try:
            layers = LayerByLayer(checkpoint, flags.how, samples, flags.smooth)
            layers.quantize(lambda layer: flags.targets(plan, layer), disk, _say)
            disk.write_rest(layers.rest())
        except ValueError:  # the same would happen again, so there is nothing to go on with
            disk.remove()
            raise
        disk.finish(plan, None if flags.how.slices is None else flags.how.slices.nesting)
    size = sum(path.stat().st_size for path in output.iterdir())
    print(f"{output}: {plan}, {size:,} bytes")
    return 0


def _default_output(flags: QuantizeFlags) -> Path:
    steps = [*(["smooth"] if flags.smooth else []), *filter(None, [flags.method]), f"{flags.bits}bit"]
    return Path("quantized") / "-".join([Path(flags.model).resolve().name, *steps])


def _check_output(output: Path, model: Path) -> None:
    """Raise ValueError if the output cannot be written, is something else, or is the model itself."""
    refuse_unwritable(output)
    check_output(output)
    if output.resolve() == model.resolve():
        raise ValueError(f"--output {output} is the model that is read; choose another directory")


def _samples(flags: QuantizeFlags, checkpoint: Checkpoint) -> Tensor | None:
    """The calibration samples int64 [N, T]; None where nothing needs them."""
    if not flags.needs_calibration or flags.calibration is None:
        return None
    if checkpoint.tokenizer is None:
        raise ValueError(f"{flags.model} has no tokenizer, which --calibration needs")
    length = sample_length(flags.length, checkpoint.config)
    tokenizer = Tokenizer(checkpoint.tokenizer)
    return draw_samples(flags.calibration, tokenizer, checkpoint.config, flags.samples, length, flags.seed)


def _asked(flags: QuantizeFlags, directory: Path, samples: Tensor | None) -> dict[str, Any]:
    """Everything that decides the result, by name; texts and weights by their hashes."""
    asked = asdict(replace(flags, output=None))
    for name in ("output", "model", "calibration", "samples", "length"):
        del asked[name]
    hashes = "".join(hashes_of_weights(directory))
    asked["weights"] = hashlib.sha256(hashes.encode()).hexdigest()
    if samples is not None:
        asked |= {"samples": samples.shape[0], "length": samples.shape[1]}
        asked["tokens"] = hashlib.sha256(samples.numpy().tobytes()).hexdigest()
    return asked


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main_guard(main)
