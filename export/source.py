"""Open the model to export, on the grid that it will run on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from edge.checkpoints.convert import build_model
from edge.checkpoints.packed import ASSETS, open_model, refuse_shadowed
from edge.formats import FULL_PRECISION, Grid
from edge.model.config import MOBILELLM, NAMED_MODELS, ModelConfig
from edge.model.decoder import Decoder
from edge.model.tokenizer import Tokenizer
from edge.runtime.manifest import Weights
from export.recipes import Recipe

RANDOM_SEED = 0
#: Longest text for verification: enough for a perplexity, and quick for the largest model.
MAX_TOKENS = 160
#: Positions of the KV cache if the user does not say.
LONGEST_DEFAULT = 2048


@dataclass(frozen=True)
class Source:
    """A model that is ready for export, and its origin.

    Attributes:
        name: short name, for the summary and the default output.
        where: ``--model`` as given, or "random weights".
        max_seq_len: positions of the KV cache, and of the model's RoPE tables.
        full_precision: the model before rounding; None if it was not rounded after training.
    """

    name: str
    where: str
    weights: Weights
    max_seq_len: int
    model: Decoder
    tokenizer: Tokenizer | None
    full_precision: Decoder | None = None

    def verification_tokens(self) -> tuple[list[int], str]:
        """At most MAX_TOKENS token ids to verify the program with, and the name of their text."""
        config, count = self.model.config, min(MAX_TOKENS, self.max_seq_len)
        if self.tokenizer is None:
            generator = torch.Generator().manual_seed(RANDOM_SEED)
            return torch.randint(config.vocab_size, (count,), generator=generator).tolist(), "random tokens"
        sample = (ASSETS / "sample.txt").read_text(encoding="utf-8")
        return [config.bos_id, *self.tokenizer.encode(sample)][:count], "edge/assets/sample.txt"


def load_source(
    name: str, grid: Grid, recipe: Recipe, random_weights: bool, max_seq_len: int | None
) -> Source:
    """Open a model by name, directory or hub id, and prepare it for a recipe.

    Args:
        max_seq_len: positions of the KV cache; None is the model's, at most LONGEST_DEFAULT.

    Raises:
        ValueError: no such model, one that was trained at another bit width, or not one for this recipe;
            more positions than the model has.
    """
    if random_weights:
        if name not in NAMED_MODELS:
            raise ValueError(f"--random-weights needs one of {', '.join(NAMED_MODELS)}, not {name}")
        positions = _checked_max_seq_len(max_seq_len, NAMED_MODELS[name])
        random_model = Decoder(NAMED_MODELS[name], positions).reset_parameters(RANDOM_SEED).eval()
        return Source(name, "random weights", "random", positions, recipe.prepare(random_model, grid), None)
    if name in MOBILELLM:
        raise ValueError(
            f"no trained weights of MobileLLM {name} come with the package: give a directory or hub id, "
            "or add --random-weights to measure speed and size"
        )
    label, directory = Path(name).resolve().name, name
    if name == "default":
        refuse_shadowed(name)
        trained = grid if recipe.keeps_grid else FULL_PRECISION
        label, directory = name, f"default/{trained.bits:g}bit"
    checkpoint = open_model(directory)
    tokenizer = None if checkpoint.tokenizer is None else Tokenizer(checkpoint.tokenizer)
    positions = _checked_max_seq_len(max_seq_len, checkpoint.config)
    model = build_model(checkpoint, positions)
    if checkpoint.plan.default.bits == grid.bits:
        return Source(label, name, "trained", positions, recipe.prepare(model, grid), tokenizer)
    if checkpoint.plan.is_quantized:
        raise ValueError(
            f"{name} was trained at {checkpoint.plan}, and its learned grids are kept: "
            f"export it with --bits {checkpoint.plan.default.bits:g}"
        )
    prepared, full_precision = recipe.prepare(model, grid), build_model(checkpoint, positions)
    return Source(label, name, "rounded after training", positions, prepared, tokenizer, full_precision)


def _checked_max_seq_len(wanted: int | None, config: ModelConfig) -> int:
    if wanted is None:
        return min(config.max_seq_len, LONGEST_DEFAULT)
    if not 1 <= wanted <= config.max_seq_len:
        raise ValueError(f"--max-seq-len must lie in 1..{config.max_seq_len} for this model, not {wanted}")
    return wanted
