"""Train and measure all runs of an ablation."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import open_model
from edge.data import PackedBlocks, Source, TokenStream, token_stream
from edge.evaluation.language_model import EagerModel
from edge.evaluation.perplexity import perplexity
from edge.formats import FULL_PRECISION
from edge.model.decoder import Decoder, named_linears
from edge.model.tokenizer import Tokenizer
from edge.quantizers.prepare import qat_linears
from edge.training.ablation.results import FULL, Result, Results, read_results, write_results
from edge.training.ablation.table import write_tables
from edge.training.ablation.variants import TRAINED_ON, Variant
from edge.training.arguments import flags_given
from edge.training.divergence import Diverged
from edge.training.presets import Preset
from edge.training.run_record import FREE_FLAGS
from edge.training.stages import from_preset
from edge.training.start import starting_model, weights_hash
from edge.training.train import train
from edge.training.train_config import TrainConfig

#: Flags that do not decide what is measured.
FREE = FREE_FLAGS - {
    "data", "tokenizer", "eval_data", "batch_size", "gradient_accumulation_steps", "full_learning_rate",
}  # fmt: skip


class Study:
    """The runs of one budget, with their checkpoints and results under the low-bit config's output.

    Under torchrun every rank trains and measures, and the first one writes.
    """

    def __init__(self, low: TrainConfig, full: TrainConfig | None, rest: list[str], given: dict[str, str]):
        """Take the configs of both parts of the budget (``full`` is None with --model), flags of
        TrainingArguments, and every flag of the command line as typed.
        """
        self.low, self.full, self.rest, self.given = low, full, rest, given
        self.output = Path(low.output)
        self.writes = int(os.environ.get("RANK", 0)) == 0  # set by torchrun before any process group exists
        self.held_out: PackedBlocks
        self.results: Results

    def run(self, widths: list[float], variants: list[Variant], seeds: int) -> None:
        if self.full is not None:
            self._train(self.full, self.rest)
        self.held_out, texts = self._texts()
        self.results = read_results(self.output, self._settings() | texts)
        self._measure(FULL_PRECISION.bits, FULL, self.low.seed, 0, lambda: self._loaded(str(self.low.model)))
        if any(variant.is_trained or variant.of_continued for variant in variants):
            self._try(FULL_PRECISION.bits, TRAINED_ON, self.low.seed)
        for variant in variants:
            for bits in widths:
                for seed in range(self.low.seed, self.low.seed + (seeds if variant.is_trained else 1)):
                    self._try(bits, variant, seed)

    def _settings(self) -> dict[str, Any]:
        before = {"steps before in full precision": self.full.steps} if self.full else {}
        ours = {name: getattr(self.low, name) for name in ("steps", "context", "batch_size", "preset")}
        rates = {"peak rate at 4 and 3 bits": self._rate(4), "peak rate at fewer": self._rate(2)}
        return {name: value for name, value in self.given.items() if name not in FREE} | before | ours | rates

    def _rate(self, bits: float) -> float:
        return from_preset(replace(self.low, bits=bits), self.given).learning_rate

    def _try(self, bits: float, variant: Variant, seed: int) -> None:
        """Train and measure one model; a run that diverges is a result too."""
        if self.results.has(bits, variant.name, seed):
            return
        config, rest = self._planned(bits, variant, seed)
        if not variant.is_trained:
            if not Path(str(config.model)).exists() and variant.of_continued:
                return  # that run diverged
            self._measure(bits, variant.name, seed, 0, lambda: starting_model(config)[0])
            return
        try:
            self._train(config, rest)
        except Diverged as error:
            self._keep(Result(bits, variant.name, seed, config.steps, None, " ".join(str(error).split())))
        else:
            moved = self._moved(config.output, bits) if config.model is not None else None
            self._measure(bits, variant.name, seed, config.steps, lambda: self._loaded(config.output), moved)

    def _planned(self, bits: float, variant: Variant, seed: int) -> tuple[TrainConfig, list[str]]:
        is_full, full = bits == FULL_PRECISION.bits, self.full
        # Training further in full precision is fine-tuning, so it has the schedule of 3 and 4 bits.
        like = replace(self.low, bits=4 if is_full else bits)
        config = replace(
            from_preset(like, self.given), bits=bits, mixed=None if is_full else self.low.mixed,
            method=variant.method,
            output=self._place(bits, variant, seed), seed=seed, steps=self.low.steps,
            context=self.low.context, batch_size=self.low.batch_size,
        )  # fmt: skip
        if is_full:  # the teacher would be the model itself
            return replace(config, distill=0.0, teacher=None), _optimised_as(like.schedule, self.rest)
        if variant.of_continued:
            continued = self._place(FULL_PRECISION.bits, TRAINED_ON, self.low.seed)
            return replace(config, model=continued), self.rest
        if not variant.from_nothing or full is None:
            return config, self.rest
        config = replace(
            config, model=None, shape=full.shape, tokenizer=full.tokenizer, steps=full.steps + config.steps,
            learning_rate=full.learning_rate, warmup_steps=full.warmup_steps,
            distill=config.distill if config.teacher else 0.0, skip_examples=full.skip_examples,
        )  # fmt: skip
        return config, _optimised_as(full.schedule, self.rest)

    def _place(self, bits: float, variant: Variant, seed: int) -> str:
        return str(self.output / f"{bits:g}bit-{variant.name.replace(' ', '-')}-seed{seed}")

    def _train(self, config: TrainConfig, rest: list[str]) -> None:
        print(f"--- {config.output}", flush=True)
        torch.manual_seed(config.seed)
        torch.compiler.reset()
        train(config, rest)

    def _loaded(self, directory: str) -> Decoder:
        return build_model(open_model(directory), positions=0)  # to measure, or to compare weights

    def _measure(
        self,
        bits: float,
        variant: str,
        seed: int,
        steps: int,
        model: Callable[[], Decoder],
        moved: float | None = None,
    ) -> None:
        if self.results.has(bits, variant, seed):
            return
        value, _ = perplexity(EagerModel(model()), self.held_out)
        self._keep(Result(bits, variant, seed, steps, value, moved=moved))

    def _moved(self, output: str, bits: float) -> float | None:
        """Measure how far training moved the weights before rounding; None if only rounded ones are left."""
        start, trained = named_linears(self._loaded(str(self.low.model))), self._loaded(output)
        linears = named_linears(trained) if bits == FULL_PRECISION.bits else qat_linears(trained)
        pairs = [(linear.weight, start[name].weight) for name, linear in linears.items()]
        with torch.no_grad():
            moved = sum(float((weight - before).abs().sum()) for weight, before in pairs)
            return moved / sum(float(before.abs().sum()) for _, before in pairs) if pairs else None

    def _texts(self) -> tuple[PackedBlocks, dict[str, str]]:
        """Return the held-out blocks, and hashes that identify the weights and both texts."""
        checkpoint, cache = open_model(str(self.low.model)), self.low.data_cache
        if checkpoint.plan.is_quantized:
            raise ValueError(f"{self.low.model} has {checkpoint.plan}; the study starts from full precision")
        path = self.low.tokenizer or checkpoint.tokenizer
        if path is None:
            raise ValueError(f"{self.low.model} has no tokenizer; name one with --tokenizer")
        tokenizer, where = Tokenizer(path), None if cache is None else Path(cache)

        def stream(names: list[str], repeats: bool) -> TokenStream:
            sources = [Source.parse(name) if repeats else Source.held_out(name) for name in names]
            return token_stream(sources, tokenizer, checkpoint.config, where, repeats)

        texts = {"tokens": stream(self.low.data, True), "held-out tokens": stream(self.low.eval_data, False)}
        hashes = {name: text.fingerprint for name, text in texts.items()}
        hashes["weights"] = weights_hash(self.low)
        known = {f"{name} (SHA-256)": value[:12] for name, value in hashes.items()}
        return PackedBlocks(texts["held-out tokens"], self.low.context), known

    def _keep(self, result: Result) -> None:
        self.results.add(result)
        if self.writes:
            write_results(self.results, self.output)
            write_tables(self.results, self.output)
            said = result.failure or f"held-out perplexity {result.perplexity:.3f}"
            print(f"{result.bits:g} bits, {result.variant}, seed {result.seed}: {said}", flush=True)


def _optimised_as(schedule: Preset, rest: list[str]) -> list[str]:
    """Complete flags of TrainingArguments with those of another schedule."""
    wanted = {name: getattr(schedule, name) for name in ("weight_decay", "adam_beta2", "bf16")}
    given = flags_given(rest)
    return [*rest, *(f"--{name}={value}" for name, value in wanted.items() if name not in given)]
