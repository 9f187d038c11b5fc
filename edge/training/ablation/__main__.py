"""``python -m edge.training.ablation``: ways to a low-bit model, each trained on the same budget, in one table.

Takes every flag of ``edge.training.train``. Without --model it trains the full-precision model first (the part of
the budget that --qat-fraction leaves), with --model it starts from that one. Every run continues where it
stopped when the same command is given again, and what was measured is not measured again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edge.cli import main_guard, refuse_unwritable
from edge.formats import BITS_CHOICES, FULL_PRECISION, format_for_bits
from edge.model.mobilellm import MobileLLM
from edge.model.tokenizer import Tokenizer
from edge.quantizers.convert import build_model
from edge.quantizers.packed_checkpoint import open_model
from edge.training.ablation.results import (
    CONTINUED,
    FULL,
    TABLE,
    Result,
    Results,
    markdown,
    read_results,
    write_results,
)
from edge.training.ablation.variants import VARIANTS, Variant
from edge.training.arguments import accumulation, flags_given, parse
from edge.training.data import PackedBlocks, Source, load_blocks
from edge.training.evaluate.language_model import EagerModel
from edge.training.evaluate.perplexity import perplexity
from edge.training.method import PARETOQ, Method
from edge.training.presets import PRESETS
from edge.training.stages import from_preset, stages
from edge.training.start import starting_model
from edge.training.train import train
from edge.training.train_config import TrainConfig

LOW_BITS = tuple(bits for bits in BITS_CHOICES if bits != FULL_PRECISION.bits)
EXAMPLE = """\
examples:
  python -m edge.training.ablation --output ablation --tokenizer tok --data a.txt --eval-data b.txt \\
    --tokens 1e7 --qat-fraction 0.1
  python -m edge.training.ablation --output mine --model DIR --bits 2,1.58 --variants RTN,QAT --data a.txt \\
    --eval-data b.txt --steps 500"""


class Study:
    """The runs of one budget, their checkpoints under ``output``, and what they came to."""

    def __init__(self, low: TrainConfig, full: TrainConfig | None, rest: list[str], given: set[str]) -> None:
        """Args: low, full: what both parts of the budget train; full is None where --model is there already."""
        self.low, self.full, self.rest, self.given = low, full, rest, given
        self.output = Path(low.output)
        settings = {"steps": low.steps, "steps before in full precision": full.steps if full else None}
        settings |= {name: getattr(low, name) for name in ("context", "batch_size", "preset", "distill")}
        settings |= {"shape": full and (full.shape or "default"), "model": None if full else low.model}
        settings |= {"data": " ".join(low.data), "held out": " ".join(low.eval_data)} | flags_given(rest)
        self.results: Results = read_results(
            self.output, {k: v for k, v in settings.items() if v is not None}
        )

    def run(self, widths: list[float], variants: list[Variant], seeds: int) -> None:
        if self.full is not None:
            self._train(self.full, self.rest, PARETOQ)
        self._measure(FULL_PRECISION.bits, FULL, self.low.seed, 0, lambda: self._loaded(str(self.low.model)))
        if any(variant.is_trained for variant in variants):
            self._try(FULL_PRECISION.bits, Variant(CONTINUED, "", PARETOQ), self.low.seed)
        for variant in variants:
            for bits in widths:
                for seed in range(self.low.seed, self.low.seed + (seeds if variant.is_trained else 1)):
                    self._try(bits, variant, seed)

    def _try(self, bits: float, variant: Variant, seed: int) -> None:
        """Trains and measures one model; a run that diverges is a result too."""
        if self.results.has(bits, variant.name, seed):
            return
        config, rest = self._planned(bits, variant, seed)
        if not variant.is_trained:
            self._measure(bits, variant.name, seed, 0, lambda: starting_model(config, variant.method)[0])
            return
        try:
            self._train(config, rest, variant.method)
        except ValueError as error:
            self._keep(Result(bits, variant.name, seed, config.steps, None, " ".join(str(error).split())))
        else:
            self._measure(bits, variant.name, seed, config.steps, lambda: self._loaded(config.output))

    def _planned(self, bits: float, variant: Variant, seed: int) -> tuple[TrainConfig, list[str]]:
        name = f"{bits:g}bit-{variant.name.replace(' ', '-')}-seed{seed}"
        # Training on in full precision fine-tunes, so its rate is that of 3 and 4 bits.
        schedule = from_preset(replace(self.low, bits=4 if bits == FULL_PRECISION.bits else bits), self.given)
        config = replace(
            schedule, bits=bits, output=str(self.output / name), seed=seed, steps=self.low.steps,
            context=self.low.context, batch_size=self.low.batch_size,
        )  # fmt: skip
        if not variant.from_nothing or self.full is None:
            return config, self.rest
        full = self.full
        config = replace(
            config, model=None, shape=full.shape, tokenizer=full.tokenizer, steps=full.steps + config.steps,
            learning_rate=full.learning_rate, warmup_steps=full.warmup_steps, distill=0.0, teacher=None,
        )  # fmt: skip
        decay = f"--weight_decay={PRESETS[full.preset].full.weight_decay}"
        return config, self.rest if "weight_decay" in flags_given(self.rest) else [*self.rest, decay]

    def _train(self, config: TrainConfig, rest: list[str], method: Method) -> None:
        print(f"--- {config.output}", flush=True)
        torch.manual_seed(config.seed)
        torch.compiler.reset()
        train(config, rest, method)

    def _loaded(self, directory: str) -> MobileLLM:
        return build_model(open_model(directory))

    def _measure(self, bits: float, variant: str, seed: int, steps: int, model: Any) -> None:
        if self.results.has(bits, variant, seed):
            return
        value, _ = perplexity(EagerModel(model()), self._held_out())
        self._keep(Result(bits, variant, seed, steps, value))

    def _held_out(self) -> PackedBlocks:
        checkpoint, cache = open_model(str(self.low.model)), self.low.data_cache
        tokenizer = Tokenizer(self.low.tokenizer or checkpoint.tokenizer)
        sources = [Source.parse(name) for name in self.low.eval_data]
        where = None if cache is None else Path(cache)
        return load_blocks(sources, tokenizer, checkpoint.config, self.low.context, where)

    def _keep(self, result: Result) -> None:
        self.results.add(result)
        write_results(self.results, self.output)
        said = result.failure or f"held-out perplexity {result.perplexity:.3f}"
        print(f"{result.bits:g} bits, {result.variant}, seed {result.seed}: {said}", flush=True)


def _widths(text: str) -> list[float]:
    return [format_for_bits(word, LOW_BITS).bits for word in text.split(",")]


def _variants(text: str | None, has_budget: bool) -> Iterator[Variant]:
    """By name; all that can be made where None."""
    known = {variant.name: variant for variant in VARIANTS}
    for name in known if text is None else text.split(","):
        if name not in known:
            raise ValueError(f"--variants {name} is unknown; choose from {', '.join(known)}")
        if has_budget or not known[name].from_nothing:
            yield known[name]
        elif text is not None:
            raise ValueError(
                f"{name} needs a budget to divide: give --tokens and --qat-fraction, not --model"
            )


def _study(output: str, words: list[str]) -> Study:
    given = set(flags_given(words))
    low, rest = parse(["--output", output, "--bits=2", *words])
    if "bits" in given:
        raise ValueError("--bits is a list here: --bits 2,1.58")
    if (low.model is None) == (low.qat_fraction is None):
        raise ValueError("give --model, or --tokens and --qat-fraction to train the full-precision model too")
    runs = stages(low, int(os.environ.get("WORLD_SIZE", 1)) * accumulation(rest))
    if low.model is not None:
        return Study(runs[0], None, rest, given)
    full = replace(runs[0], output=str(Path(output) / "full"))
    return Study(replace(runs[1], model=full.output), full, rest, given)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m edge.training.ablation",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output", type=Path, required=True, help="directory for runs, results and table")
    parser.add_argument("--bits", default="4,3,2,1.58,1", help="bit widths (default: %(default)s)")
    parser.add_argument("--variants", help=f"of {', '.join(v.name for v in VARIANTS)} (default: all)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="low-bit runs of each kind (default: %(default)s)"
    )
    args, words = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {args.seeds}")
    widths = _widths(args.bits)
    refuse_unwritable(args.output)
    study = _study(str(args.output), words)
    variants = list(_variants(args.variants, study.full is not None))
    args.output.mkdir(parents=True, exist_ok=True)
    study.run(widths, variants, args.seeds)
    print(
        f"\n{markdown(study.results)}\nwrote {args.output / TABLE}, with results.json and a picture beside it"
    )
    return 0


if __name__ == "__main__":
    main_guard(main)
