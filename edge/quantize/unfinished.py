"""Keep the layers of an unfinished run on disk, so that a run that was killed goes on where it was.

They lie in ``.NAME.quantizing`` beside the output, one file a layer in the form that the checkpoint will
have, with ``run.json``, which says what the run was asked for. The checkpoint consists of the same files.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.hf_config import CONFIG_NAME, config_to_hf
from edge.checkpoints.hf_grids import PACKED_KEY, PACKED_VERSION, POST_TRAINING_KEY, nesting_to_hf, plan_to_hf
from edge.checkpoints.hugging_face import norms_as_multiplied
from edge.checkpoints.lazy import Lazy, reader_of
from edge.checkpoints.tensor_files import INDEX_NAME, PACKED_SUFFIX, hf_name
from edge.checkpoints.write import norms_on_disk, write_beside_weights
from edge.files import replace_directory, staged_file, write_text
from edge.formats.slices import Nesting
from edge.model.decoder import Layer, replace_module
from edge.ops.packing import pack, unpack
from edge.quantizers.base import OnGrid, QuantizedLinear
from edge.quantizers.placement import Target
from edge.quantizers.plan import Plan

_RUN = "run.json"


class Unfinished:
    """The files of one run.

    Args:
        output: the checkpoint's directory to be.
        asked: everything that decides the result; a run goes on only where it is the same.

    Raises:
        ValueError: an unfinished run that was asked for something else is there.
    """

    def __init__(self, output: Path, asked: dict[str, Any], checkpoint: Checkpoint) -> None:
        self.output, self.asked, self.checkpoint = output, asked, checkpoint
        self.directory = directory_of(output)
        self.directory.mkdir(parents=True, exist_ok=True)
        if (self.directory / _RUN).is_file():
            self._check()
        else:
            write_text(self.directory / _RUN, json.dumps(asked, indent=2) + "\n")

    def has(self, layer: int) -> bool:
        return self._path(layer).is_file()

    def write(self, index: int, layer: Layer) -> None:
        """Write a layer, whole or not at all: codes packed, the rest in float32."""
        name, tensors = f"layers.{index}", {}
        for key, tensor in layer.state_dict().items():
            module = layer.get_submodule(key.rpartition(".")[0])
            if isinstance(module, OnGrid):
                tensors[f"{name}.{key.removesuffix('.weight')}{PACKED_SUFFIX}"] = pack(module.quantized())
            else:
                tensors[f"{name}.{key}"] = tensor
        self._save(index, tensors)

    def read(self, index: int, layer: Layer, targets: dict[str, Target]) -> Layer:
        """Put what was written into a layer; returns the same layer."""
        name, stored, plain = f"layers.{index}", load_file(self._path(index)), {}
        for key in layer.state_dict():
            linear = key.removesuffix(".weight")
            if linear in targets:
                packed = stored[hf_name(f"{name}.{linear}{PACKED_SUFFIX}")]
                replace_module(layer, linear, QuantizedLinear(unpack(packed), targets[linear].grid))
            else:
                plain[key] = stored[hf_name(f"{name}.{key}")]
        norms = norms_as_multiplied(
            Lazy({key: reader_of(plain, key) for key in plain}), self.checkpoint.config
        )
        layer.load_state_dict(dict(norms), strict=False, assign=True)
        return layer

    def write_rest(self, tensors: dict[str, Tensor]) -> None:
        """Write the weights that belong to no layer, by name."""
        self._save(self.checkpoint.config.n_layers, tensors)

    def finish(self, plan: Plan, nesting: Nesting | None) -> None:
        """Put the checkpoint of all that was written in the output's place.

        Raises:
            ValueError: the output cannot be written; the layers stay.
        """
        layers = self.checkpoint.config.n_layers
        files = [self._path(index) for index in range(layers + 1)]
        hf = config_to_hf(self.checkpoint.config) | plan_to_hf(plan)
        hf |= {PACKED_KEY: PACKED_VERSION} if plan.is_quantized else {}
        hf |= nesting_to_hf(nesting)
        with replace_directory(self.output) as partial:
            write_beside_weights(partial, hf | {POST_TRAINING_KEY: self.asked}, self.checkpoint.tokenizer)
            for file in files:
                shutil.copyfile(file, partial / file.name)
                shutil.copymode(partial / CONFIG_NAME, partial / file.name)  # save_file makes it private
            index = {"metadata": {}, "weight_map": {name: f.name for f in files for name in _names_in(f)}}
            (partial / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n")
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _path(self, index: int) -> Path:
        """The file of a layer; behind the last one, that of what belongs to none."""
        count = self.checkpoint.config.n_layers + 1
        return self.directory / f"model-{index + 1:05}-of-{count:05}.safetensors"

    def _save(self, index: int, tensors: dict[str, Tensor]) -> None:
        on_disk = norms_on_disk(tensors, self.checkpoint.config)
        with staged_file(self._path(index)) as staged:
            named = {hf_name(name): tensor.detach().contiguous() for name, tensor in on_disk.items()}
            save_file(named, staged, metadata={"format": "pt"})

    def _check(self) -> None:
        path = self.directory / _RUN
        try:
            before = dict(json.loads(path.read_text()).items())
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path} is damaged; remove {self.directory} to begin anew") from error
        for name in sorted(before.keys() | self.asked.keys()):
            if before.get(name) != self.asked.get(name):
                raise ValueError(
                    f"{self.directory} holds an unfinished run with {name} {before.get(name)}, not "
                    f"{self.asked.get(name)}; give the same again, or remove it"
                )


def directory_of(output: Path) -> Path:
    """Return the folder that holds the layers of an unfinished run."""
    return output.with_name(f".{output.name}.quantizing")


def _names_in(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())
