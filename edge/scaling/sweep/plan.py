"""Read a plan, a JSON file that names grids of runs, and list its tasks."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge.formats import BITS_CHOICES, grid_for_bits
from edge.formats.weight import GROUP_SIZES
from edge.quantize.flags import BITS as POST_BITS
from edge.quantizers.activations import check_activation_bits
from edge.quantizers.methods import METHODS
from edge.quantizers.post_methods import POST_METHODS
from edge.scaling.records import Bits, Count, Positive, Quantizer, Shape, Training
from edge.scaling.sweep.tasks import PostTask, Task, TrainTask, parameters
from edge.schema import Strict, read_json

Share = Annotated[float, Field(gt=0, le=1)]


class Text(Strict):
    """What is trained on and measured.

    Attributes:
        data, held_out: as ``edge.training`` names them.
        tokenizer_data: that the tokenizer is trained on.
    """

    name: str
    data: list[str]
    held_out: str
    tokenizer_data: list[str]
    vocab_size: Count


class Size(Strict):
    """Shape of a model with heads of ``head_dim``, and its peak learning rates.

    Attributes:
        low_bit_learning_rate: where low bits start from a full-precision model.
    """

    dim: Count
    layers: Count
    ffn_dim: Count
    head_dim: Count = 16
    learning_rate: Positive
    low_bit_learning_rate: Positive


class Grid(Strict):
    """A grid of runs: each size, with each amount of text, at each width, with each seed.

    Attributes:
        sizes: names of the plan's sizes.
        tokens_per_parameter: of all stages together; N does not count the embedding.
        weight_bits: 16 is full precision.
        activation_bits, kv_bits: while low bits are trained.
        low_bit_shares: of the tokens at low bits; 1 is from scratch. Full precision ignores it.
        schedule: of the learning rate, by its name in transformers.
        seeds: from 0 on.
    """

    sizes: list[str]
    tokens_per_parameter: list[Positive]
    weight_bits: tuple[Bits, ...] = (16.0,)
    activation_bits: int = 16
    kv_bits: int = 16
    low_bit_shares: tuple[Share, ...] = (1.0,)
    method: str = "paretoq"
    schedule: str = "cosine"
    seeds: Count = 1


class Post(Strict):
    """Ways to quantise each full-precision model afterwards: all combinations."""

    methods: list[str]
    weight_bits: list[Bits]
    groups: tuple[Count | None, ...] = (None,)


class Plan(Strict):
    """A sweep; see ``plans/small.json`` for one."""

    text: Text
    context: Count = 256
    batch_size: Count = 8
    sizes: dict[str, Size]
    trained: list[Grid]
    post: tuple[Post, ...] = ()

    def shape(self, size: Size) -> Shape:
        return Shape(
            dim=size.dim, layers=size.layers, heads=size.dim // size.head_dim,
            kv_heads=size.dim // size.head_dim, head_dim=size.head_dim, ffn_dim=size.ffn_dim,
            vocab_size=self.text.vocab_size,
        )  # fmt: skip

    def tasks(self) -> list[Task]:
        """List every run once; a run's parent comes before it."""
        trained: dict[TrainTask, None] = {}
        for grid in self.trained:
            for task in self._grid_tasks(grid):
                if task.parent is not None:
                    trained[task.parent] = None
                trained[task] = None
        full = [task for task in trained if task.training.low_bit_tokens == 0]
        ways = [
            Quantizer(method=method, weight_bits=bits, group=group)
            for post in self.post
            for method, bits, group in product(post.methods, post.weight_bits, post.groups)
        ]
        return [*trained, *(PostTask(task, way) for task in full for way in dict.fromkeys(ways))]

    def _grid_tasks(self, grid: Grid) -> list[TrainTask]:
        return [
            self._task(grid, self.sizes[size], ratio, bits, share, seed)
            for size, ratio, bits, share, seed in product(
                grid.sizes,
                grid.tokens_per_parameter,
                grid.weight_bits,
                grid.low_bit_shares,
                range(grid.seeds),
            )
        ]

    def _task(self, grid: Grid, size: Size, ratio: float, bits: float, share: float, seed: int) -> TrainTask:
        shape, batch = self.shape(size), self.context * self.batch_size
        steps = max(2, round(ratio * parameters(shape) / batch))
        full_steps = min(steps - 1, round(steps * (1 - share)))
        full = Training(
            tokens=(full_steps or steps) * batch, schedule=grid.schedule, learning_rate=size.learning_rate,
            context=self.context, batch_tokens=batch, seed=seed,
        )  # fmt: skip
        if bits == grid.activation_bits == grid.kv_bits == 16:
            return TrainTask(shape, full.model_copy(update={"tokens": steps * batch}))
        low = Training(
            tokens=steps * batch, low_bit_tokens=(steps - full_steps) * batch, weight_bits=bits,
            activation_bits=grid.activation_bits, kv_bits=grid.kv_bits, method=grid.method,
            schedule=grid.schedule, learning_rate=size.learning_rate, context=self.context,
            batch_tokens=batch, seed=seed,
            low_bit_learning_rate=size.low_bit_learning_rate if full_steps else None,
        )  # fmt: skip
        return TrainTask(shape, low, TrainTask(shape, full) if full_steps else None)


def read_plan(path: Path) -> Plan:
    """Read and check a plan.

    Raises:
        ValueError: it is missing or malformed, or names what is not there; the message says where.
    """
    plan = read_json(Plan, path, "plan of a sweep")
    try:
        _check(plan)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return plan


def _check(plan: Plan) -> None:
    """Raise ValueError where the parts of a plan do not fit together."""
    for name, size in plan.sizes.items():
        if size.dim % size.head_dim:
            raise ValueError(f"heads of {size.head_dim} do not fill the {size.dim} columns of size {name}")
    for grid in plan.trained:
        if unknown := [name for name in grid.sizes if name not in plan.sizes]:
            raise ValueError(f"the size {unknown[0]} is trained and not described")
        if grid.method not in METHODS:
            raise ValueError(f"unknown method {grid.method}; known are {', '.join(METHODS)}")
        check_activation_bits(grid.activation_bits, "activation_bits")
        check_activation_bits(grid.kv_bits, "kv_bits")
        for bits in grid.weight_bits:
            METHODS[grid.method].grid(bits, BITS_CHOICES)
    for post in plan.post:
        if unknown := [name for name in post.methods if name not in POST_METHODS]:
            raise ValueError(f"unknown method {unknown[0]}; known are {', '.join(POST_METHODS)}")
        if odd := [group for group in post.groups if group not in (None, *GROUP_SIZES)]:
            raise ValueError(f"groups have {', '.join(map(str, GROUP_SIZES))} columns, not {odd[0]}")
        for bits in post.weight_bits:
            grid_for_bits(bits, POST_BITS)
