"""Quantise a checkpoint layer by layer; a layer that is on disk already is read instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.tensor_files import EMBEDDING_WEIGHT, HEAD_WEIGHT, NORM_WEIGHT
from edge.model.decoder import Decoder, Layer, RMSNorm
from edge.quantize.unfinished import Unfinished
from edge.quantizers.placement import Target
from edge.quantizers.post_training import Block, PostTraining
from edge.quantizers.smoothing import smooth, smoothed_head


class LayerByLayer:
    """A model of which one layer at a time is in memory, and the activations between layers.

    Args:
        samples: token ids int64 [N, T]; none where nothing needs calibration.
        smooths: smooth every layer before the method rounds it.
    """

    def __init__(
        self, checkpoint: Checkpoint, method: PostTraining, samples: Tensor | None, smooths: bool = False
    ) -> None:
        self.checkpoint, self.method, self.smooths = checkpoint, method, smooths
        with torch.device("meta"):
            self.model = Decoder(checkpoint.config, positions=0 if samples is None else samples.shape[1])
        self.inputs: list[Tensor] = []
        if samples is not None:
            embedded = F.embedding(samples, checkpoint.weights[EMBEDDING_WEIGHT])  # [N, T, dim]
            self.inputs = list(self.model.scaled(embedded).split(1))
        self.float_inputs = list(self.inputs) if method.compares else []

    def quantize(
        self, targets_of: Callable[[str], dict[str, Target]], disk: Unfinished, say: Callable[[str], None]
    ) -> None:
        """Quantise every layer that is not on disk, and write it there.

        Args:
            targets_of: where the linears of a layer go, by its full name.

        Raises:
            ValueError: weights or activations that are not finite, or that no grid can hold.
        """
        for index in range(self.checkpoint.config.n_layers):
            name, started = f"layers.{index}", time.monotonic()
            layer, run = self._float_layer(index), partial(self._run, index)
            targets, done = targets_of(name), disk.has(index)
            if not done:
                block = Block(name, layer, targets, run, self.inputs, self.float_inputs, say)
                if self.smooths:
                    smooth(block)
                self.method.quantize(block)
                disk.write(index, layer)
                layer = self._float_layer(index)
            self._advance(self.float_inputs, run, layer)
            # Read back even when just written: a run that was killed and goes on sees the same values.
            self._advance(self.inputs, run, disk.read(index, layer, targets))
            took = "was done before" if done else f"{time.monotonic() - started:.1f} s"
            say(f"{name} ({index + 1} of {self.checkpoint.config.n_layers}): {took}")

    def rest(self) -> dict[str, Tensor]:
        """The weights that belong to no layer; call it after ``quantize``, whose outputs smooth the head.

        Raises:
            ValueError: activations that are not finite.
        """
        weights = self.checkpoint.weights
        kept = {name: weights[name] for name in weights if not name.startswith("layers.")}
        if self.smooths and HEAD_WEIGHT in kept:
            norm = RMSNorm(self.checkpoint.config.dim, self.checkpoint.config.norm_eps)
            norm.load_state_dict({"weight": kept[NORM_WEIGHT]})
            kept[NORM_WEIGHT], kept[HEAD_WEIGHT] = smoothed_head(norm, kept[HEAD_WEIGHT], self.inputs)
        return kept

    def _float_layer(self, index: int) -> Layer:
        """Read a layer with its float weights."""
        with torch.device("meta"):
            layer = Layer(self.checkpoint.config, index)
        weights = {key: self.checkpoint.weights[f"layers.{index}.{key}"] for key in layer.state_dict()}
        layer.load_state_dict(weights, assign=True)
        return layer.eval().requires_grad_(False)

    def _run(self, index: int, layer: nn.Module, x: Tensor) -> Tensor:
        return self.model.run_layer(layer, index, x, 0)

    @torch.no_grad()
    def _advance(
        self, stream: list[Tensor], run: Callable[[nn.Module, Tensor], Tensor], layer: Layer
    ) -> None:
        """Replace inputs of a layer by its outputs."""
        for number, x in enumerate(stream):
            stream[number] = run(layer, x)
