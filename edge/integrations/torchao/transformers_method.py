"""``paretoq`` as a quantisation method of transformers: from_pretrained, save_pretrained, and back.

A saved model is a packed checkpoint of this project (``edge/checkpoints/packed.py``), or, while it is
prepared for training, one of ParetoQ's: ``export.to_pte`` takes both as they are. Packed checkpoints that
this project wrote load too, given the same quantization_config.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torchao.quantization import quantize_
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from edge.checkpoints.hf_grids import MIXED_KEY, OWN_METHOD, PACKED_KEY, PACKED_VERSION
from edge.checkpoints.tensor_files import ALPHA_SUFFIX, PACKED_SUFFIX
from edge.formats import FULL_PRECISION, Grid
from edge.integrations.torchao.config import STEPS, ParetoQConfig, Step, linears
from edge.integrations.torchao.modules import PreparedLinear, packed_parameter
from edge.integrations.torchao.tensor import LowBitTensor
from edge.ops.packing import read_header, unpack, unpack_half

#: Of the weights beside embeddings and head; in a usual model all but norms and biases are in linears.
_USUAL_SHARE = 0.9


@register_quantization_config(OWN_METHOD)
@dataclass
class ParetoQQuantizationConfig(QuantizationConfigMixin):
    """Configure ``from_pretrained``.

    Attributes:
        bits: of the linears: 1, 1.58, 2, 3 or 4.
        step: "convert" packs the weights, rounded as ParetoQ starts; "prepare" leaves them on a learned grid,
            to be trained.
        modules_to_not_convert: parts of names of linears that are kept; the output head is kept in any case.
    """

    bits: float = 2
    step: Step = "convert"
    modules_to_not_convert: list[str] | None = None
    quant_method: Any = OWN_METHOD

    def __post_init__(self) -> None:
        ParetoQConfig(self.bits, self.step)  # checks both


@register_quantizer(OWN_METHOD)
class ParetoQHfQuantizer(HfQuantizer):
    """Put low-bit modules into a model while transformers loads it."""

    quantization_config: ParetoQQuantizationConfig

    @property
    def is_trainable(self) -> bool:
        return self.quantization_config.step == "prepare"

    @property
    def is_qat_trainable(self) -> bool:
        return self.is_trainable

    def is_serializable(self, *_: Any, **__: Any) -> bool:
        return True

    def _process_model_before_weight_loading(
        self, model: PreTrainedModel, checkpoint_files: list[str] | None = None, **kwargs: Any
    ) -> None:
        self._refuse_other_files(model, checkpoint_files or [])
        renamings = [r for r in get_model_conversion_mapping(model) if isinstance(r, WeightRenaming)]
        stored = {_renamed(name, renamings): size for name, size in _stored(checkpoint_files or [])}
        packed, scales = (_modules(model, stored, suffix) for suffix in (PACKED_SUFFIX, ALPHA_SUFFIX))
        self.is_stored_packed = any(name.endswith(PACKED_SUFFIX) for name in stored)
        has_scales = any(name.endswith(ALPHA_SUFFIX) for name in stored)
        if self._stored_bits(model) is not None and not (self.is_stored_packed or has_scales):
            raise ValueError(
                "this checkpoint is on ParetoQ's grid without its scales: write it anew with "
                "python -m edge.checkpoints, and load that"
            )
        for name, size in packed.items():
            _hold(model, name, size)
        with torch.device("meta"):
            for name, module in self._chosen(model):
                if name in scales:  # another has no scales in the file, as a new head has not
                    _put(model, name, PreparedLinear(module, self._grid))

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        config = self.quantization_config
        if self.is_stored_packed:
            for name, module in list(model.named_modules()):
                if isinstance(module, Held):
                    _put(model, name, module.filled(model.dtype))
            model.tie_weights()
        else:
            chosen = linears(model, *config.modules_to_not_convert or ())
            if not any(chosen(module, name) for name, module in model.named_modules()):
                raise ValueError(f"{type(model).__name__} has no linears that paretoq quantises")
            prepared = {n for n, module in model.named_modules() if isinstance(module, PreparedLinear)}
            for step in STEPS[bool(prepared) : STEPS.index(config.step) + 1]:
                quantize_(
                    model,
                    ParetoQConfig(config.bits, step),
                    filter_fn=lambda module, name: name in prepared if prepared else chosen(module, name),
                )
            if not config.modules_to_not_convert:
                _warn_of_a_small_share(model)
        if self._stored_bits(model) is None:
            model.config.w_bits = self._grid.paretoq_w_bits
            if kept := self._kept(model):
                setattr(model.config, MIXED_KEY, dict.fromkeys(kept, FULL_PRECISION.paretoq_w_bits))
        if config.step == "convert":
            self._mark_packed(model)

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors to save, by name; a model that was converted since it was loaded is a packed one."""
        tensors = {}
        if any(isinstance(parameter.data, LowBitTensor) for parameter in model.parameters()):
            self._mark_packed(model)
        tied = set(getattr(model, "all_tied_weights_keys", None) or ())
        for name, tensor in model.state_dict().items():
            if isinstance(tensor, LowBitTensor) and name in tied:
                continue
            if isinstance(tensor, LowBitTensor):
                tensors[name.removesuffix(".weight") + PACKED_SUFFIX] = tensor.packed
            else:
                tensors[name] = tensor
        return tensors, {}

    @property
    def _grid(self) -> Grid:
        return ParetoQConfig(self.quantization_config.bits).grid

    def _stored_bits(self, model: PreTrainedModel) -> int | None:
        """``w_bits`` of the checkpoint's config.json; None for a full-precision one."""
        stored: int | None = getattr(model.config, "w_bits", None)
        return None if stored in (None, FULL_PRECISION.paretoq_w_bits, 32) else stored

    def _refuse_other_files(self, model: PreTrainedModel, files: list[str]) -> None:
        """Raise ValueError for bits that contradict the checkpoint's, and for forms that would be misread."""
        stored = self._stored_bits(model)
        if stored is None:
            return
        if stored != self._grid.paretoq_w_bits:
            raise ValueError(
                f"config.json says w_bits {stored}, which is not bits={self.quantization_config.bits:g}"
            )
        if any(Path(path).suffix != ".safetensors" for path in files):
            raise ValueError(
                "a quantised checkpoint is read from .safetensors files alone; save it in that form"
            )
        mixed = getattr(model.config, MIXED_KEY, None) or {}
        others = {bits for bits in mixed.values() if bits != FULL_PRECISION.paretoq_w_bits}
        if others and not hasattr(model.config, PACKED_KEY):
            raise ValueError(f"{MIXED_KEY} with several low widths loads only when it is packed")
        own = self.quantization_config.modules_to_not_convert or []
        self.quantization_config.modules_to_not_convert = [*own, *mixed] or None

    def _kept(self, model: PreTrainedModel) -> list[str]:
        """Names of the linears of layers that stay in full precision."""
        head = model.get_output_embeddings()
        return [
            name
            for name, module in model.named_modules()
            if type(module) is nn.Linear
            and module is not head
            and not isinstance(module.weight, LowBitTensor)
        ]

    def _mark_packed(self, model: PreTrainedModel) -> None:
        """Let config.json say that the weights are packed."""
        self.quantization_config.step = "convert"
        setattr(model.config, PACKED_KEY, PACKED_VERSION)

    def _chosen(self, model: PreTrainedModel) -> list[tuple[str, nn.Linear]]:
        is_chosen = linears(model, *self.quantization_config.modules_to_not_convert or ())
        return [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear) and is_chosen(m, n)]


class Held(nn.Module):
    """Stand for a linear or embedding while its packed table is loaded."""

    def __init__(self, module: nn.Module, nbytes: int) -> None:
        super().__init__()
        self.module = [module]  # in a list, so that it is no child
        self.register_buffer("packed", torch.empty(nbytes, dtype=torch.uint8, device="meta"))
        self.bias: nn.Parameter | None = getattr(module, "bias", None)
        if isinstance(module, nn.Embedding):
            self.weight = module.weight  # without values: a tied head looks for it

    def filled(self, dtype: torch.dtype) -> nn.Module:
        """The module that computes with the table."""
        module = self.module[0]
        packed = self.packed
        assert isinstance(packed, Tensor)
        assert isinstance(module, nn.Linear | nn.Embedding)
        module.to_empty(device=packed.device).to(dtype)
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", self.bias)
        if read_header(packed).encoding.codes:
            module.weight = packed_parameter(unpack(packed), module.weight)
        else:
            module.weight = nn.Parameter(unpack_half(packed).to(dtype))
        return module


def _warn_of_a_small_share(model: PreTrainedModel) -> None:
    """Warn where most weights are in no linear, as those of experts of a mixture are not."""
    embeddings = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    head = model.get_output_embeddings()
    apart = {id(weight) for weight in [*embeddings, getattr(head, "weight", None)]}
    counted = {id(p): p.numel() for p in model.parameters() if id(p) not in apart}
    low = [
        module.weight
        for module in model.modules()
        if isinstance(module, PreparedLinear) or isinstance(getattr(module, "weight", None), LowBitTensor)
    ]
    share = sum(counted.get(id(weight), 0) for weight in low) / max(1, sum(counted.values()))
    if share < _USUAL_SHARE:
        warnings.warn(
            f"paretoq quantised {share:.0%} of the weights of {type(model).__name__} beside embeddings and "
            "head: the others are in no linear, as experts of a mixture are not, and stay as they are",
            stacklevel=2,
        )


def _stored(files: Iterable[str]) -> Iterable[tuple[str, int]]:
    """Names of the tensors in safetensors files, and their first sizes."""
    for path in files:
        if Path(path).suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  (no mapping)
                    yield name, (file.get_slice(name).get_shape() or [1])[0]


def _modules(model: PreTrainedModel, stored: Mapping[str, int], suffix: str) -> dict[str, int]:
    """Sizes of the stored tensors with a suffix, by the names of their modules in this model.

    A checkpoint of another head has or lacks the prefix of the base model; its own head is left out.
    """
    prefix, names = f"{model.base_model_prefix}.", {name for name, _ in model.named_modules()}
    found = {}
    for stored_name, size in stored.items():
        name = stored_name.removesuffix(suffix)
        for own in (name, name.removeprefix(prefix), prefix + name):
            if stored_name.endswith(suffix) and own in names:
                found[own] = size
                break
    return found


def _renamed(name: str, renamings: Iterable[WeightRenaming]) -> str:
    """A tensor's name in the model, which for some families is another than in files."""
    for renaming in renamings:
        name = renaming.rename_source_key(name)[0]
    return name


def _hold(model: nn.Module, name: str, nbytes: int) -> None:
    _put(model, name, Held(model.get_submodule(name), nbytes))


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, module)
