"""The runs of one budget: trained, measured, written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edge.formats import FULL_PRECISION
from edge.model.mobilellm import MobileLLM
from edge.model.tokenizer import Tokenizer
from edge.quantizers.convert import build_model
from edge.quantizers.packed_checkpoint import open_model
from edge.training.ablation.results import CONTINUED, FULL, Result, Results, read_results, write_results
from edge.training.ablation.table import write_tables
from edge.training.ablation.variants import Variant
from edge.training.arguments import flags_given
from edge.training.data import PackedBlocks, Source, load_blocks
from edge.training.evaluate.language_model import EagerModel
from edge.training.evaluate.perplexity import perplexity
from edge.training.method import PARETOQ, Method
from edge.training.presets import PRESETS
from edge.training.stages import from_preset
from edge.training.start import starting_model
from edge.training.train import train
from edge.training.train_config import TrainConfig


class Study:
    """The runs of one budget, their checkpoints under ``output``, and what they came to."""

    def __init__(self, low: TrainConfig, full: TrainConfig | None, rest: list[str], given: set[str]) -> None:
        """Args: low, full: what the parts of the budget train; no full where --model is there already."""
        self.low, self.full, self.rest, self.given = low, full, rest, given
        self.output = Path(low.output)
        settings: dict[str, Any] = {
            "steps": low.steps,
            "steps before in full precision": full.steps if full else None,
        }
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

    def _measure(
        self, bits: float, variant: str, seed: int, steps: int, model: Callable[[], MobileLLM]
    ) -> None:
        if self.results.has(bits, variant, seed):
            return
        value, _ = perplexity(EagerModel(model()), self._held_out())
        self._keep(Result(bits, variant, seed, steps, value))

    def _held_out(self) -> PackedBlocks:
        checkpoint, cache = open_model(str(self.low.model)), self.low.data_cache
        path = self.low.tokenizer or checkpoint.tokenizer
        if path is None:
            raise ValueError(f"{self.low.model} has no tokenizer; name one with --tokenizer")
        tokenizer = Tokenizer(path)
        sources = [Source.parse(name) for name in self.low.eval_data]
        where = None if cache is None else Path(cache)
        return load_blocks(sources, tokenizer, checkpoint.config, self.low.context, where)

    def _keep(self, result: Result) -> None:
        self.results.add(result)
        write_results(self.results, self.output)
        write_tables(self.results, self.output)
        said = result.failure or f"held-out perplexity {result.perplexity:.3f}"
        print(f"{result.bits:g} bits, {result.variant}, seed {result.seed}: {said}", flush=True)
