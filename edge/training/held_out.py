"""Held-out loss that does not depend on the number of ranks."""

from __future__ import annotations

import math

import torch
from transformers import Trainer

from edge.data import PackedBlocks


def held_out_loss(trainer: Trainer, blocks: PackedBlocks) -> float:
    """Return the mean cross entropy (nats) over every predicted token.

    Ranks take whole batches in turn. A rank without a batch left repeats the first and does not count it: all
    ranks must run equally often, since FSDP gathers weights in every forward pass. Trainer's own evaluation
    counts such repetitions.
    """
    model, size, world = trainer.model_wrapped, trainer.args.eval_batch_size, trainer.args.world_size
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    starts = range(0, len(blocks), size)
    total = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for turn in range(math.ceil(len(starts) / world)):
            index = turn * world + trainer.args.process_index
            counts = index < len(starts)
            start = starts[index] if counts else 0
            examples = range(start, min(start + size, len(blocks)))
            tokens = torch.stack([blocks[example]["tokens"] for example in examples]).to(device)
            with trainer.compute_loss_context_manager():
                loss = model(tokens)["loss"]
            total += counts * len(examples) * loss.double().cpu()
    model.train(was_training)
    return float(trainer.accelerator.reduce(total.to(trainer.args.device), "sum")) / len(blocks)
