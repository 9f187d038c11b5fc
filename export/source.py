"""Open the model to export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.hf_config import CONFIG_NAME, read_hf_config
from edge.checkpoints.hugging_face import parse_config
from edge.checkpoints.packed import ASSETS, embedded_models, open_model, refuse_shadowed
from edge.checkpoints.random_weights import random_checkpoint, random_parent
from edge.checkpoints.slices import elastic_checkpoint, is_parent, sliced_checkpoint
from edge.formats import Grid
from edge.formats.slices import PARENT_BITS
from edge.model.chat_template import ChatTemplate, find_chat_template
from edge.model.config import NAMED_MODELS, ModelConfig
from edge.model.decoder import Decoder
from edge.model.shapes import SHAPE_WORDS, parse_shape
from edge.model.tokenizer import Tokenizer
from edge.quantizers.plan import Plan
from edge.runtime.manifest import Weights
from export.recipes import Recipe
from export.weights import skeleton

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
        checkpoint: its weights, read when they are asked for.
        unsliced: the parent, where the program holds a slice; else the same checkpoint.
        plan: grids of the linears in the program.
        model: norms and biases; its matrices are on the meta device.
        chat_template: of its tokenizer, if there is one that works.
        faults: what is wrong with its files and left out.
    """

    name: str
    where: str
    weights: Weights
    max_seq_len: int
    checkpoint: Checkpoint
    unsliced: Checkpoint
    plan: Plan
    model: Decoder
    tokenizer: Tokenizer | None
    chat_template: ChatTemplate | None = None
    faults: tuple[str, ...] = ()

    @property
    def is_rounded(self) -> bool:
        """The program rounds weights that were not trained for it."""
        return self.weights in ("rounded after training", "sliced")

    def verification_tokens(self) -> tuple[list[int], str]:
        """At most MAX_TOKENS token ids to verify the program with, and the name of their text."""
        config, count = self.model.config, min(MAX_TOKENS, self.max_seq_len)
        if self.tokenizer is None:
            generator = torch.Generator().manual_seed(RANDOM_SEED)
            return torch.randint(config.vocab_size, (count,), generator=generator).tolist(), "random tokens"
        sample = (ASSETS / "sample.txt").read_text(encoding="utf-8")
        return [config.bos_id, *self.tokenizer.encode(sample)][:count], "edge/assets/sample.txt"


def load_source(
    name: str,
    grid: Grid,
    recipe: Recipe,
    random_weights: bool,
    max_seq_len: int | None,
    elastic: bool = False,
) -> Source:
    """Open a model by name, directory or hub id, and prepare it for a recipe.

    Args:
        elastic: the program holds the whole parent, and is sliced when it runs.
        max_seq_len: positions of the KV cache; None is the model's, at most LONGEST_DEFAULT.

    Raises:
        ValueError: no such model, one that was trained at another bit width, or not one for this recipe;
            more positions than the model has.
    """
    if random_weights:
        config = _shape(name)
        positions = _checked_max_seq_len(max_seq_len, config)
        checkpoint = random_checkpoint(config, RANDOM_SEED)
        if elastic:
            checkpoint = elastic_checkpoint(random_parent(config, RANDOM_SEED))
        plan, label = recipe.plan(checkpoint, grid), Path(name).name
        model = skeleton(checkpoint, positions)
        return Source(label, "random weights", "random", positions, checkpoint, checkpoint, plan, model, None)
    if name in NAMED_MODELS and name != "default":
        raise ValueError(
            f"no trained weights of {name} come with the package: give a directory or hub id, "
            "or add --random-weights to measure speed and size"
        )
    label, directory = Path(name).resolve().name, name
    if name == "default":
        refuse_shadowed(name)
        trained = f"default/{grid.bits:g}bit"
        has_one = recipe.keeps_grid and trained in embedded_models()
        label, directory = name, trained if has_one else "default/16bit"
    parent = open_model(directory)
    checkpoint = elastic_checkpoint(parent) if elastic else _slice_of(parent, grid)
    tokenizer = None if checkpoint.tokenizer is None else Tokenizer(checkpoint.tokenizer)
    positions = _checked_max_seq_len(max_seq_len, checkpoint.config)
    plan, is_slice = recipe.plan(checkpoint, grid), checkpoint is not parent
    has_width = is_slice or checkpoint.plan.default.bits == grid.bits
    if checkpoint.plan.is_quantized and not has_width:
        was, kept = ("trained at", "learned grids")
        if checkpoint.post_training is not None:
            was, kept = "quantised to", "codes"
        raise ValueError(
            f"{name} was {was} {checkpoint.plan}, and its {kept} are kept: "
            f"export it with --bits {checkpoint.plan.default.bits:g}"
        )
    weights: Weights = "trained" if has_width else "rounded after training"
    if checkpoint.post_training is not None:
        weights = "quantised after training"
    if is_slice and (parent.nesting is None or grid.bits not in parent.nesting.widths):
        weights = "sliced"
    model, template = skeleton(checkpoint, positions), None
    faults: tuple[str, ...] = ()
    try:
        template = _chat_template(checkpoint)
    except ValueError as error:
        faults = (f"{error}; the program has none",)
    return Source(
        label, name, weights, positions, checkpoint, parent, plan, model, tokenizer, template, faults
    )


def _slice_of(checkpoint: Checkpoint, grid: Grid) -> Checkpoint:
    """The slice of a parent that fewer bits ask for, else the checkpoint itself."""
    if not is_parent(checkpoint) or grid.bits >= PARENT_BITS:
        return checkpoint
    return sliced_checkpoint(checkpoint, grid.bits)


def _chat_template(checkpoint: Checkpoint) -> ChatTemplate | None:
    """The template beside a tokenizer.json; text of other tokenizers has no special tokens."""
    path = checkpoint.tokenizer
    return find_chat_template(path.parent) if path is not None and path.suffix == ".json" else None


def _shape(name: str) -> ModelConfig:
    """The shape of a published model, or that of a directory or hub id, whose weights are not read."""
    if name in NAMED_MODELS:
        return NAMED_MODELS[name]
    if (Path(name) / CONFIG_NAME).is_file():
        return parse_config(Path(name), read_hf_config(Path(name)))[0]
    if "=" in name:
        return parse_shape(name)
    raise ValueError(f"--random-weights needs {SHAPE_WORDS}, or a directory with {CONFIG_NAME}, not {name}")


def _checked_max_seq_len(wanted: int | None, config: ModelConfig) -> int:
    if wanted is None:
        return min(config.max_seq_len, LONGEST_DEFAULT)
    if not 1 <= wanted <= config.max_seq_len:
        raise ValueError(f"--max-seq-len must lie in 1..{config.max_seq_len} for this model, not {wanted}")
    return wanted
