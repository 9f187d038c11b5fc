"""Read the weight files of a checkpoint directory, and check names, shapes and values."""

from __future__ import annotations

import functools
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from edge.checkpoints.lazy import Lazy, Rows
from edge.files import sha256_of
from edge.text import first_of

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
#: PyTorch's own form, as ParetoQ's training writes it; read where there is no safetensors.
PICKLED_NAME, PICKLED_INDEX_NAME = "pytorch_model.bin", "pytorch_model.bin.index.json"
#: Patterns of all files that a checkpoint's weights may be read from.
WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
#: Names in ``Decoder``.
EMBEDDING_WEIGHT, HEAD_WEIGHT = "embed_tokens.weight", "lm_head.weight"
NORM_WEIGHT = "norm.weight"
#: A linear's learned scale is stored under its full name with this suffix, as by ParetoQ.
PACKED_SUFFIX = ".packed"
ALPHA_SUFFIX = ".weight_clip_val"
FLOAT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
#: A bias is part of its projection on disk, and beside it in ``Decoder``.
_BIAS = re.compile(r"\.self_attn\.([qkv])_bias$")
_BIAS_ON_DISK = re.compile(r"\.self_attn\.([qkv])_proj\.bias$")
#: Other weight files, which are unsafe or slow to read.
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack")
#: RoPE frequencies, which transformers before 4.32 stored; they follow from config.json.
_DERIVED_BUFFER = "rotary_emb.inv_freq"


class StoredTensors(Lazy[Tensor]):
    """Every tensor of a directory, dtypes as stored, under the names of ``Decoder``; read when asked for.

    Attributes:
        shapes, dtypes: by name.

    Raises:
        ValueError: no weights, a file that is missing, truncated or corrupt, or a name twice.
    """

    def __init__(self, directory: Path) -> None:
        files, listed, index = _weight_files(directory)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        readers = {}
        for path in files:
            for name, tensor in _mapped(path).items():
                if name.endswith(_DERIVED_BUFFER):
                    continue
                short = _own_name(name)
                if short in readers:
                    raise ValueError(f"{directory} holds {hf_name(short)} twice; remove one")
                readers[short] = functools.partial(_read_rows, path, name)
                self.shapes[short], self.dtypes[short] = tuple(tensor.shape), tensor.dtype
        absent = {name for name in listed if not name.endswith(_DERIVED_BUFFER)}
        absent = {name for name in absent if _own_name(name) not in readers}
        if absent:
            raise ValueError(f"{directory / index} lists tensors that its files lack: {first_of(absent)}")
        super().__init__(readers)


def hashes_of_weights(directory: Path) -> list[str]:
    """SHA-256, as hex, of config.json and the weight files of a directory, in the order of their names."""
    weights = sorted(path for pattern in WEIGHT_PATTERNS for path in directory.glob(pattern))
    return [sha256_of(path) for path in (directory / "config.json", *weights)]


def hf_name(name: str) -> str:
    """A tensor's name on disk."""
    name = _BIAS.sub(r".self_attn.\1_proj.bias", name)
    return name if name.startswith("lm_head.") else f"model.{name}"


def _own_name(name: str) -> str:
    """The name in ``Decoder`` of a tensor on disk."""
    return _BIAS_ON_DISK.sub(r".self_attn.\1_bias", name.removeprefix("model."))


def check_names(
    directory: Path, found: Iterable[str], required: Iterable[str], allowed: Iterable[str] = ()
) -> None:
    """Check that all required names are there, and besides them only allowed ones; else ValueError."""
    found, required = set(found), set(required)
    missing, extra = required - found, found - required - set(allowed)
    faults = []
    if missing:
        faults.append(f"lacks {first_of(map(hf_name, missing))}")
    if extra:
        faults.append(f"has tensors that config.json does not imply: {first_of(map(hf_name, extra))}")
    if faults:
        raise ValueError(f"{directory} " + "; it ".join(faults))


def check_shapes(
    directory: Path, found: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check the shape of every tensor; ValueError names the first few that differ."""
    wrong = {name: list(shape) for name, shape in found.items() if shape != shapes[name]}
    if wrong:
        told = [
            f"{hf_name(n)} {shape} where config.json implies {list(shapes[n])}" for n, shape in wrong.items()
        ]
        raise ValueError(f"{directory} has tensors of the wrong shape: {first_of(told)}")


def check_dtypes(directory: Path, dtypes: Mapping[str, torch.dtype]) -> None:
    """Check that every tensor is of one of FLOAT_DTYPES; ValueError names one that is not."""
    for name, dtype in dtypes.items():
        if dtype not in FLOAT_DTYPES:
            allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOAT_DTYPES)
            found = str(dtype).removeprefix("torch.")
            raise ValueError(
                f"{directory}: {hf_name(name)} is {found}; weights must be one of {allowed}, "
                "so give the checkpoint from before it was converted"
            )


def as_float32(directory: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor in float32; ValueError if it is not finite."""
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(
            f"{directory}: {hf_name(name)} holds NaN or infinite values, so the model cannot be used"
        )
    return tensor.float()


def float32_reader(directory: Path, tensors: Lazy[Tensor], name: str) -> Rows[Tensor]:
    """The function that reads rows of a tensor in float32; it raises a ValueError if they are not finite."""
    return lambda rows: as_float32(directory, name, tensors.rows(name, rows))


def _weight_files(directory: Path) -> tuple[list[Path], set[str], str]:
    """The files to read, the tensor names in the index (none without an index), and the index's name."""
    for whole, index in ((WEIGHTS_NAME, INDEX_NAME), (PICKLED_NAME, PICKLED_INDEX_NAME)):
        if (directory / whole).is_file():
            return [directory / whole], set(), index
        if (directory / index).is_file():
            weight_map = _weight_map(directory / index)
            files = [directory / name for name in sorted(set(weight_map.values()))]
            lost = [path.name for path in files if not path.is_file()]
            if lost:
                raise ValueError(f"{directory} lacks files that its {index} lists: {first_of(lost)}")
            return files, set(weight_map), index
    others = [path.name for pattern in _OTHER_WEIGHTS for path in directory.glob(pattern)]
    seen = f"; {first_of(others)} cannot be read" if others else ""
    raise ValueError(
        f"{directory} has no weights that can be read: expected {WEIGHTS_NAME} or {PICKLED_NAME}, or one in "
        f"shards with its index{seen}"
    )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an index: it must be JSON with an object weight_map") from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{path} is not an index: weight_map must be an object that lists tensors")
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{path} lists {file!r}, which is not the name of a file beside it")
    return weight_map


def _mapped(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names there, mapped into memory: what is not used is not read."""
    if path.suffix == ".bin":
        return _read_pickled(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except (SafetensorError, OSError, KeyError) as error:  # KeyError: a dtype that PyTorch lacks
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is truncated or no safetensors file ({reason}); copy it again") from error


def _read_rows(path: Path, name: str, rows: slice) -> Tensor:
    """Read rows of a tensor. The file is mapped anew, so that what was read before leaves the memory."""
    if path.suffix == ".bin":
        return _read_pickled(path)[name][rows]
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor[rows] if tensor.dim() else tensor


def _read_pickled(path: Path) -> dict[str, Tensor]:
    """Read a file of ``torch.save``, mapped into memory; nothing but tensors is unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, which could run code when it is read, or is damaged; "
            "it was not read"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is truncated, or was not written by PyTorch 1.6 or later; copy it again, or save it anew"
        ) from error
    if not isinstance(content, dict) or not all(_is_plain(*item) for item in content.items()):
        raise ValueError(f"{path} is no table of tensors by name, which a model's weights are")
    return {name: tensor.detach() for name, tensor in content.items()}


def _is_plain(name: object, tensor: object) -> bool:
    return isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
