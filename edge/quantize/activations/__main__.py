"""Measure what int8 activations cost a model, with and without planted outliers, before and after smoothing.

Each model is quantised by the flags that are given and exported. Perplexity with float32 activations is that
of the quantised checkpoint, with int8 activations that of its program; the program's embedding is at 8 bits
too. The KV cache is float32.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge.checkpoints.packed import open_model
from edge.checkpoints.write import save_checkpoint
from edge.cli import flag, main_guard, parse_flags
from edge.quantize.activations.planted import with_outliers
from edge.quantize.table.cells import in_new_process, measure_perplexity, run

HEAD = "| model | | float32 activations | int8 activations | loss |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class ActivationsFlags:
    """Flags of ``python -m edge.quantize.activations``."""

    models: str = flag("full-precision models, with commas")
    calibration: str = flag("text to smooth by")
    eval_data: str = flag("held-out text")
    bits: str = flag("width of the weights", default="4")
    method: str = flag("how they are rounded", default="gptq")
    group: str = flag("columns that share a scale", default="64")
    samples: int = flag("calibration samples", default=32)
    length: int = flag("tokens of a sample", default=256)

    def quantizing(self) -> list[str]:
        names = ("bits", "method", "group", "samples", "length", "calibration")
        return [f"--{name}={getattr(self, name)}" for name in names]


def measure(flags: ActivationsFlags, model: str, smooths: bool, directory: Path) -> tuple[float, float]:
    """Quantise and export a model below a directory; returns perplexity before and after int8 activations."""
    low, program = directory / "low", directory / "program"
    smooth = ["--smooth"] if smooths else []
    run("edge.quantize", f"--model={model}", f"--output={low}", *flags.quantizing(), *smooth)
    export = [f"--bits={flags.bits}", f"--model={low}", f"--output={program}", "--kv-cache=fp32"]
    run("export.to_pte", *export)
    before, after = (in_new_process(measure_perplexity, str(m), flags.eval_data) for m in (low, program))
    return before, after


def row(name: str, variant: str, before: float, after: float) -> str:
    return f"| {name} | {variant} | {before:.3f} | {after:.3f} | {after / before - 1:+.2%} |"


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(ActivationsFlags, argv, "edge.quantize.activations", str(__doc__))
    print(HEAD, flush=True)
    for name in flags.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            planted = Path(folder) / "planted"
            save_checkpoint(with_outliers(open_model(name)), planted)
            for model, outliers in ((name, ""), (str(planted), "planted outliers")):
                for smooths in (False, True):
                    variant = ", ".join(filter(None, [outliers, "smoothed" if smooths else ""]))
                    print(row(name, variant, *measure(flags, model, smooths, Path(folder))), flush=True)
    return 0


if __name__ == "__main__":
    main_guard(main)
