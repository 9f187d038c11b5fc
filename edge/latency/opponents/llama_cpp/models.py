"""Models for llama.cpp: random weights of our shapes, in its file format and its low-bit types.

How fast a model runs does not depend on its weights. The ternary types hold blocks of 256 weights of one row,
so a matrix whose input width does not divide by 256 falls back to Q4_0: ``QuantizedModel`` says how many did.
The embedding, which is the head too, is Q8_0 in every type, as our programs' is 8-bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge.files import staged_file, write_text
from edge.latency.opponents.llama_cpp.build import QUANTIZE, run_tool
from edge.model.config import ModelConfig

#: The types compared, and what a weight takes in their blocks, codes and scales, in bits.
TYPES = {"TQ1_0": 1.6875, "TQ2_0": 2.0625, "Q4_0": 4.5}
HEAD_TYPE = "q8_0"
#: Standard deviation of the random weights: activations stay small numbers through every published depth.
SPREAD = 0.02


@dataclass(frozen=True)
class QuantizedModel:
    """A GGUF file and the report of llama-quantize on it.

    Attributes:
        type_name: the type asked for, which is not the type of every matrix.
        matrices: linear weights of the layers, the embedding and head not among them.
        fell_back: how many of them have another type, because their input width does not fit.
        fell_back_share: those matrices' share of the layers' linear weights, 0 to 1.
        fallback_types: the types they have instead.
        file_bytes: the whole file; it holds no tokenizer.
    """

    path: Path
    type_name: str
    matrices: int
    fell_back: int
    fell_back_share: float
    fallback_types: tuple[str, ...]
    file_bytes: int


def write_random_model(config: ModelConfig, path: Path, seed: int = 0) -> Path:
    """Write a float16 GGUF file that llama.cpp loads; the norms, all ones, are float32 as it requires.

    It has no tokenizer ("no_vocab", which llama.cpp fills with dummy entries): benchmarks feed token ids.
    A tied embedding is stored once, and llama.cpp then takes it as the head too.

    Args:
        seed: the same seed gives the same file.

    Raises:
        ValueError: llama.cpp's Llama cannot run this shape.
        OSError: the package ``gguf`` is not installed, or the file cannot be written.
    """
    _refuse_other_architectures(config)
    gguf = _import_gguf()
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path) as staged, closing(gguf.GGUFWriter(staged, "llama")) as writer:
        _add_metadata(writer, config)
        _write(writer, tensor_shapes(config), np.random.default_rng(seed))
    return path


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names in GGUF and shapes of all tensors, a matrix as [output width, input width]."""
    dim, ffn_dim = config.dim, config.ffn_dim
    q_dim, kv_dim = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (config.vocab_size, dim)}
    layer: dict[str, tuple[int, ...]] = {
        "attn_norm": (dim,),
        "attn_q": (q_dim, dim),
        "attn_k": (kv_dim, dim),
        "attn_v": (kv_dim, dim),
        "attn_output": (dim, q_dim),
        "ffn_norm": (dim,),
        "ffn_gate": (ffn_dim, dim),
        "ffn_up": (ffn_dim, dim),
        "ffn_down": (dim, ffn_dim),
    }
    for index in range(config.n_layers):
        shapes |= {f"blk.{index}.{name}.weight": shape for name, shape in layer.items()}
    shapes["output_norm.weight"] = (dim,)
    if not config.tied_embedding:
        shapes["output.weight"] = (config.vocab_size, dim)
    return shapes


def quantize(binaries: Path, model: Path, type_name: str, output: Path) -> QuantizedModel:
    """Quantise a float GGUF file into ``output``, and keeps llama-quantize's log beside it.

    Args:
        binaries: what ``build`` returned.
        type_name: of the layers' matrices; the embedding and head become HEAD_TYPE.

    Raises:
        OSError: llama-quantize is missing, fails, or says something this module does not understand.
    """
    with staged_file(output) as staged:
        options = ["--token-embedding-type", HEAD_TYPE, "--output-tensor-type", HEAD_TYPE]
        log = run_tool([binaries / QUANTIZE, *options, model, staged, type_name])
        write_text(_log_path(output), log)
    return read_quantized(output, type_name)


def read_quantized(path: Path, type_name: str) -> QuantizedModel:
    """Read a model that ``quantize`` made earlier, from the log beside it."""
    parsed = parse_quantize_log(_log_path(path).read_text(), type_name)
    return QuantizedModel(path, type_name, *parsed, path.stat().st_size)


_MATRIX = re.compile(
    r"^\[[ \d]+/[ \d]+\] +blk\.\S+ +- \[ *(\d+), *(\d+),.* converting to (\w+) ", re.MULTILINE
)
_FALLBACKS = re.compile(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback quantization")


def parse_quantize_log(log: str, type_name: str) -> tuple[int, int, float, tuple[str, ...]]:
    """Parse matrices, fell_back, fell_back_share and fallback_types of QuantizedModel.

    Raises:
        OSError: the log names no matrices, or its summary does not fit them.
    """
    matrices = [(int(k) * int(n), kind) for k, n, kind in _MATRIX.findall(log)]
    others = [(weights, kind) for weights, kind in matrices if kind != type_name.lower()]
    summary = _FALLBACKS.search(log)
    if not matrices or (summary and len(others) != int(summary[1])):
        raise OSError(
            "llama-quantize's log is not understood: its matrices are missing or do not fit its summary; "
            "delete the model and its log to make them anew"
        )
    share = sum(weights for weights, _ in others) / sum(weights for weights, _ in matrices)
    return len(matrices), len(others), share, tuple(sorted({kind for _, kind in others}))


def prepare(
    binaries: Path, directory: Path, name: str, config: ModelConfig, types: Sequence[str], seed: int = 0
) -> list[QuantizedModel]:
    """Make a shape in each type, in ``directory`` under ``name``, unless it is there.

    Raises:
        ValueError: a shape that llama.cpp cannot run.
        OSError: see ``quantize`` and ``write_random_model``.
    """
    outputs = {kind: directory / f"{name}-seed{seed}-{kind}.gguf" for kind in types}
    missing = [kind for kind, path in outputs.items() if not (path.exists() and _log_path(path).exists())]
    if missing:
        full = write_random_model(config, directory / f"{name}-seed{seed}-F16.gguf", seed)
        try:
            for kind in missing:
                quantize(binaries, full, kind, outputs[kind])
        finally:
            full.unlink()  # 2 bytes a weight, and of no further use
    return [read_quantized(path, kind) for kind, path in outputs.items()]


def _write(writer: Any, shapes: dict[str, tuple[int, ...]], random: np.random.Generator) -> None:
    for name, shape in shapes.items():
        dtype = np.dtype(np.float32 if len(shape) == 1 else np.float16)
        writer.add_tensor_info(name, shape, dtype, math.prod(shape) * dtype.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for shape in shapes.values():  # made one at a time: the model need not fit in memory
        writer.write_tensor_data(_values(shape, random))


def _add_metadata(writer: Any, config: ModelConfig) -> None:
    writer.add_name("random weights")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.ffn_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_tokenizer_model("no_vocab")


def _refuse_other_architectures(config: ModelConfig) -> None:
    if config.layer_sharing:
        raise ValueError("llama.cpp cannot run a layer twice: compare a shape without layer sharing")
    if not config.has_only_llamas_parts:
        raise ValueError("the random GGUF is of a Llama: compare a shape without the parts of other families")
    if config.rope_type != "default":
        raise ValueError(
            f"the random GGUF has plain RoPE only: compare a shape without rope type {config.rope_type}"
        )


def _values(shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    return (random.standard_normal(shape, np.float32) * SPREAD).astype(np.float16)


def _import_gguf() -> ModuleType:
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise OSError(
            "writing a model for llama.cpp needs the package gguf: pip install 'edge-lowbit[peers]'"
        ) from error
    return gguf


def _log_path(model: Path) -> Path:
    return model.with_suffix(".log")
