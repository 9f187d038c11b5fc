"""Open a checkpoint that another project quantised: codes, scales and zeros are taken over as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.hf_config import read_hf_config
from edge.checkpoints.hf_grids import QUANTIZATION_KEY
from edge.checkpoints.hugging_face import (
    checked_tokenizer,
    norms_as_multiplied,
    parse_config,
    quantized_linear_shapes,
    settle_head,
    weight_shapes,
)
from edge.checkpoints.imported.formats import Format
from edge.checkpoints.imported.linear import StoredLinear
from edge.checkpoints.imported.methods import format_of
from edge.checkpoints.imported.tensors import LinearTensors
from edge.checkpoints.lazy import Lazy, Rows, reader_of
from edge.checkpoints.tensor_files import (
    HEAD_WEIGHT,
    StoredTensors,
    check_dtypes,
    check_names,
    check_shapes,
    float32_reader,
    hf_name,
)
from edge.formats import FULL_PRECISION
from edge.formats.weight import QuantizedWeight
from edge.model.decoder import EMBEDDING, HEAD
from edge.quantizers.plan import Plan


def load_imported_checkpoint(directory: Path) -> Checkpoint:
    """Read a directory whose config.json has a ``quantization_config``.

    Linears that the file does not hold quantised stay in full precision, as do the embedding and such a head.

    Raises:
        ValueError: one sentence for everything that is wrong with the files.
    """
    hf = read_hf_config(directory)
    form = format_of(directory, hf)
    config, _ = parse_config(directory, hf)
    stored, shapes = StoredTensors(directory), weight_shapes(config)
    try:
        linears = _linears(form, stored, shapes, config.tied_embedding)
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error
    plain = _plain_names(directory, form, stored, shapes, linears)
    required = shapes.keys() - {HEAD_WEIGHT} - {f"{name}.weight" for name in linears}
    check_names(directory, plain, required, allowed=set() if HEAD in linears else {HEAD_WEIGHT})
    check_shapes(directory, {name: stored.shapes[name] for name in plain}, shapes)
    check_dtypes(directory, {name: stored.dtypes[name] for name in plain})
    as_stored = Lazy({name: reader_of(stored, name) for name in plain})
    if HEAD not in linears:
        config = settle_head(directory, config, as_stored, {}, hf)
    kept = [name for name in plain if not (config.tied_embedding and name == HEAD_WEIGHT)]
    weights = Lazy({name: float32_reader(directory, as_stored, name) for name in kept})
    weights = norms_as_multiplied(weights, config)
    codes = Lazy({name: _codes_reader(directory, linear) for name, linear in linears.items()})
    weights |= Lazy({f"{name}.weight": _values_reader(codes, name) for name in codes})
    return Checkpoint(
        config,
        weights,
        _plan(linears, quantized_linear_shapes(shapes)),
        quantized=codes,
        tokenizer=checked_tokenizer(directory, config),
        post_training=hf[QUANTIZATION_KEY],
        formulas=Lazy({name: linear.formula for name, linear in linears.items()}),
    )


def _codes_reader(directory: Path, linear: StoredLinear) -> Rows[QuantizedWeight]:
    def read(rows: slice) -> QuantizedWeight:
        try:
            return linear.quantized(rows)
        except ValueError as error:
            raise ValueError(f"{directory}: {error}") from error

    return read


def _values_reader(codes: Lazy[QuantizedWeight], name: str) -> Rows[Tensor]:
    return lambda rows: codes.rows(name, rows).dequantize()


def _linears(
    form: Format, stored: StoredTensors, shapes: Mapping[str, tuple[int, ...]], tied: bool
) -> dict[str, StoredLinear]:
    """The linears that the files hold quantised, and maybe the head, by full name."""
    marker = form.parts[0]
    if f"{EMBEDDING}.{marker}" in stored:
        tensor = hf_name(f"{EMBEDDING}.{marker}")
        raise ValueError(f"{tensor}: a quantised embedding is not read; quantise the model without it")
    if tied and f"{HEAD}.{marker}" in stored:
        raise ValueError(
            f"{hf_name(f'{HEAD}.{marker}')} is there, and config.json says that the embedding is the head's "
            "table; set tie_word_embeddings to false if it has its own, or quantise the model without it"
        )
    linears = {
        name: form.linear(LinearTensors(stored, name), (n, k))
        for name, (n, k) in (quantized_linear_shapes(shapes) | {HEAD: shapes[HEAD_WEIGHT]}).items()
        if f"{name}.{marker}" in stored
    }
    if not linears.keys() - {HEAD}:
        raise ValueError(f"no linear is quantised, though config.json says so: there is no tensor .{marker}")
    return _producers_follow(linears)


def _producers_follow(linears: dict[str, StoredLinear]) -> dict[str, StoredLinear]:
    """Sort the rows of gate and up as the columns of down are sorted.

    Then down's input comes in that order, at no cost. No other input can: the residual stream has one order
    for all layers, and what attention makes stays in the order of its heads.
    """
    sorted_linears = dict(linears)
    for name, down in linears.items():
        block, _, last = name.rpartition(".")
        producers = [f"{block}.gate_proj", f"{block}.up_proj"]
        if last != "down_proj" or down.order is None or not linears.keys() >= set(producers):
            continue
        sorted_linears[name] = down.following()
        sorted_linears |= {producer: linears[producer].with_rows(down.order) for producer in producers}
    return sorted_linears


def _plain_names(
    directory: Path,
    form: Format,
    stored: StoredTensors,
    shapes: Mapping[str, tuple[int, ...]],
    linears: Mapping[str, StoredLinear],
) -> list[str]:
    """Names of the tensors that belong to no quantised linear; biases of zeros, which tools add, are none.

    Raises:
        ValueError: a bias that the model has no place for.
    """
    parts = {f"{name}.{part}" for name in linears for part in form.parts}
    names = []
    for name in stored.keys() - parts:
        if name in shapes or not name.endswith((".bias", "_bias")):
            names.append(name)
        elif bool(stored[name].any()):
            raise ValueError(f"{directory}: {hf_name(name)} is a bias, which this model's family lacks")
    return names


def _plan(linears: Mapping[str, StoredLinear], shapes: Mapping[str, tuple[int, ...]]) -> Plan:
    """The grids of all linears, of which that of most is the default, and of the head."""
    grids = {name: linears[name].grid if name in linears else FULL_PRECISION for name in shapes}
    counts = Counter(linear.grid for name, linear in linears.items() if name != HEAD)
    plan = Plan.from_grids(grids, counts.most_common(1)[0][0])
    return replace(plan, head_format=linears[HEAD].grid) if HEAD in linears else plan
