"""Tiny models for tests: odd widths, and random weights large enough for logits that vary."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.convert import to_checkpoint
from edge.checkpoints.write import save_checkpoint
from edge.data.train_tokenizer import train_tokenizer
from edge.formats import FULL_PRECISION, Grid
from edge.model.config import ModelConfig
from edge.model.decoder import Decoder, named_linears
from edge.quantizers.minmax import quantize_min_max
from edge.quantizers.nested import PARENT
from edge.quantizers.plan import Plan
from edge.quantizers.prepare import prepare_qat

TEXT = "The mouse sat beside the cake all night and kept the ants away, and the baker was glad of it. " * 40


def tiny_config(**changes) -> ModelConfig:
    shape = {
        "vocab_size": 304,
        "dim": 36,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "ffn_dim": 50,
        "head_dim": 10,
        "max_seq_len": 64,
    }
    return ModelConfig(**{**shape, **changes})


def tiny_model(config: ModelConfig | None = None, seed: int = 0, positions: int | None = None) -> Decoder:
    model = Decoder(config or tiny_config(), positions).reset_parameters(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6 if parameter.ndim == 2 else 1)
    return model.eval()


@functools.cache
def tiny_tokenizer() -> Path:
    """A byte-level tokenizer of 304 entries in a directory of its own."""
    directory = Path(tempfile.mkdtemp(prefix="tiny-tokenizer-"))
    text = directory / "text.txt"
    text.write_text(TEXT)
    train_tokenizer([str(text)], 304).save(str(directory / "tokenizer.json"))
    return directory / "tokenizer.json"


def tiny_checkpoint(
    fmt: Grid = FULL_PRECISION, plan: Plan | None = None, positions: int | None = None, **changes
) -> Checkpoint:
    """A checkpoint with one format for every linear, or with a plan; ``positions`` as for ``Decoder``."""
    model, plan = tiny_model(tiny_config(**changes), positions=positions), plan or Plan(fmt)
    if plan.is_quantized:
        prepare_qat(model, plan)
        with torch.no_grad():  # as if learned: not the starting alpha
            for name, parameter in model.named_parameters():
                if name.endswith(("weight_clip_val", "grid_end")):
                    parameter.mul_(0.83)
    return to_checkpoint(model, tiny_tokenizer(), plan.default)


def tiny_parent(seed: int = 0, **changes) -> Checkpoint:
    """A checkpoint whose linears are codes of 8 bits with a zero for each row: slices can be taken of it."""
    model = tiny_model(tiny_config(**changes), seed)
    codes = {name: quantize_min_max(linear.weight, PARENT) for name, linear in named_linears(model).items()}
    return replace(to_checkpoint(model, tiny_tokenizer()), plan=Plan(PARENT), quantized=codes)


def save_tiny(directory: Path, fmt: Grid = FULL_PRECISION, plan: Plan | None = None, **changes) -> Path:
    save_checkpoint(tiny_checkpoint(fmt, plan, **changes), directory)
    return directory
