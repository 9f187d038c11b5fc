"""Give each layer of a parent of 8 bits its own width: by a pattern, or the best for a budget.

Writes a checkpoint that exports like any other, and prints its widths, which an elastic program takes as
--width. For a budget, the loss of each layer at each width is measured on the calibration text, the others
staying at 8 bits; the least sum within the budget is chosen and measured as a whole. With --eval-data the
picture mix.png compares it with uniform widths and the paper's patterns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from edge.checkpoints.checkpoint import Checkpoint
from edge.checkpoints.packed import open_model
from edge.checkpoints.slices import is_parent, mixed_slices
from edge.checkpoints.write import check_output, save_checkpoint
from edge.cli import flag, main_guard, parse_flags, refuse_unwritable
from edge.data import PackedBlocks, Source, load_blocks
from edge.files import write_text
from edge.formats.slices import PARENT_BITS
from edge.model.tokenizer import Tokenizer
from edge.quantize.mix.costs import layer_bytes, layer_milliseconds, other_bytes
from edge.quantize.mix.patterns import PATTERNS
from edge.quantize.mix.picture import Point, draw
from edge.quantize.mix.search import Mixture, best_mixtures, within
from edge.quantize.mix.sensitivity import SlicedModel, layer_losses

#: Widths to choose from.
WIDTHS = (8, 6, 4, 3, 2)
#: Searched mixtures in the picture.
_FRONT_POINTS = 9
_UNITS = {"MB": 1e6, "KB": 1e3, "ms": 1.0}


@dataclass(frozen=True)
class MixFlags:
    """Flags of ``python -m edge.quantize.mix``."""

    model: str = flag(f"parent of {PARENT_BITS} bits: a directory or hub id")
    output: Path = flag("directory for the checkpoint, mix.json and mix.png")
    layers: str | None = flag(
        f"one of {', '.join(PATTERNS)}, or a width for each layer with commas", default=None
    )
    budget: str | None = flag(
        "what the program may take: 30MB or 500KB of file, or 12ms for a token's decode here", default=None
    )
    calibration: str | None = flag("with --budget: text to measure layers on, PATH:TOKENS", default=None)
    eval_data: str | None = flag("with --budget: held-out text for the picture, PATH:TOKENS", default=None)
    program: Path | None = flag(
        "with a budget of time: the parent's elastic program, from export.to_pte --bits elastic", default=None
    )

    def __post_init__(self) -> None:
        if (self.layers is None) == (self.budget is None):
            raise ValueError("give either --layers or --budget")
        if self.budget is not None and self.calibration is None:
            raise ValueError("--budget needs a text to measure layers on: add --calibration")
        if self.layers is not None and (self.calibration or self.eval_data or self.program):
            raise ValueError("--calibration, --eval-data and --program are for --budget")
        if (self.program is not None) != (self.budget is not None and self.budget.endswith("ms")):
            raise ValueError("a budget in ms, and no other, needs --program, which is timed at each width")

    def parsed_budget(self) -> tuple[float, str]:
        """Read the budget in bytes or milliseconds, and its unit.

        Raises:
            ValueError: it is no positive number with a known unit.
        """
        assert self.budget is not None
        unit = next((unit for unit in _UNITS if self.budget.endswith(unit)), "")
        try:
            value = float(self.budget.removesuffix(unit)) * _UNITS[unit]
        except (ValueError, KeyError):
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"--budget takes a number with MB, KB or ms, as in 30MB, not {self.budget!r}")
        return value, "ms" if unit == "ms" else "bytes"


def main(argv: list[str] | None = None) -> int:
    flags = parse_flags(MixFlags, argv, "edge.quantize.mix", str(__doc__))
    budget = None if flags.budget is None else flags.parsed_budget()
    refuse_unwritable(flags.output)
    check_output(flags.output)
    parent = open_model(flags.model)
    if not is_parent(parent):
        raise ValueError(f"only a parent of {PARENT_BITS} bits has slices, and this model has {parent.plan}")
    if budget is None:
        _write(parent, _widths(str(flags.layers), parent.config.n_layers), flags.output)
        return 0
    search = Search(flags, parent, *budget)
    _write(parent, search.chosen.widths, flags.output)
    record = {
        "unit": search.unit,
        "budget": budget[0],
        "layers": search.losses,
        "others": search.fixed,
        "chosen": asdict(search.chosen),
    }
    if flags.eval_data is not None:
        kinds = search.measured(flags.eval_data)
        unit = (
            "bytes of the program"
            if search.unit == "bytes"
            else "ms of a token's decode, by the sum of layers"
        )
        draw(kinds, unit, flags.output / "mix.png")
        record["measured"] = {kind: [asdict(point) for point in points] for kind, points in kinds.items()}
        print(f"{flags.output / 'mix.png'}: perplexity against {unit}")
    write_text(flags.output / "mix.json", json.dumps(record, indent=2) + "\n")
    return 0


class Search:
    """Find the mixtures of a parent that nothing beats, and the one that a budget affords.

    Raises:
        ValueError: the budget is below the narrowest mixture, or a text or program cannot be used.
    """

    def __init__(self, flags: MixFlags, parent: Checkpoint, budget: float, unit: str) -> None:
        self.unit, self.parent, layers = unit, parent, parent.config.n_layers
        if unit == "ms":
            assert flags.program is not None
            self.fixed, self.costs = 0.0, layer_milliseconds(flags.program, layers, WIDTHS)
        else:
            self.fixed, self.costs = float(other_bytes(flags.model)), layer_bytes(parent, WIDTHS)
        assert flags.calibration is not None
        model = SlicedModel(parent, self._blocks(flags.calibration), WIDTHS)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("measuring layers", total=layers * (len(WIDTHS) - 1))
            self.losses = layer_losses(model, WIDTHS, lambda: bar.advance(task))
        self.front = best_mixtures(self.losses, self.costs)
        try:
            self.chosen = within(self.front, budget - self.fixed)
        except ValueError:
            least = self.said(self.fixed + self.front[0].cost)
            raise ValueError(
                f"--budget {flags.budget} is less than {least}, which {min(WIDTHS)} bits take"
            ) from None
        uniform = {width: model.loss([width] * layers) for width in WIDTHS}
        found = model.loss(self.chosen.widths)
        for width, loss in uniform.items():
            cost = self.said(self.cost([width] * layers))
            print(f"{width} bits throughout: {cost}, perplexity {math.exp(loss):.3f}")
        summed = math.exp(uniform[PARENT_BITS] + self.chosen.loss)
        print(
            f"chosen: {self.said(self.cost(self.chosen.widths))}, perplexity {math.exp(found):.3f} of the "
            f"calibration text (the sum of its layers' losses said {summed:.3f})"
        )

    def said(self, cost: float) -> str:
        return f"{cost:.2f} ms" if self.unit == "ms" else f"{cost:,.0f} bytes"

    def cost(self, widths: Sequence[int]) -> float:
        """Add up what a program of these widths takes."""
        return self.fixed + sum(cost[width] for cost, width in zip(self.costs, widths, strict=True))

    def measured(self, text: str) -> dict[str, list[Point]]:
        """Measure uniform widths, patterns, and mixtures along the front on held-out text."""
        layers = self.parent.config.n_layers
        choices = (*WIDTHS, *{width for name in PATTERNS.values() for width in name(layers)})
        model = SlicedModel(self.parent, self._blocks(text), sorted(set(choices), reverse=True))

        def point(name: str, widths: Sequence[int]) -> Point:
            return Point(name, tuple(widths), self.cost(widths), math.exp(model.loss(widths)))

        return {
            "the same width throughout": [point(f"{width} bits", [width] * layers) for width in WIDTHS],
            "patterns of the paper": [point(name, pattern(layers)) for name, pattern in PATTERNS.items()],
            "searched": [point("", mixture.widths) for mixture in self._along_the_front()],
        }

    def _along_the_front(self) -> list[Mixture]:
        """Pick some mixtures of the front, evenly by cost, and the chosen one."""
        low, high = self.front[0].cost, self.front[-1].cost
        wanted = [low + (high - low) * step / (_FRONT_POINTS - 1) for step in range(_FRONT_POINTS)]
        return list(dict.fromkeys([within(self.front, cost) for cost in wanted] + [self.chosen]))

    def _blocks(self, text: str) -> PackedBlocks:
        if self.parent.tokenizer is None:
            raise ValueError("the model has no tokenizer, which measuring on a text needs")
        config = self.parent.config
        source = Source.held_out(text)
        return load_blocks([source], Tokenizer(self.parent.tokenizer), config, config.max_seq_len)


def _widths(text: str, layers: int) -> list[int]:
    """Read the name of a pattern, or numbers with commas."""
    if text in PATTERNS:
        return PATTERNS[text](layers)
    words = text.split(",")
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"--layers takes {', '.join(PATTERNS)}, or whole numbers with commas, not {text!r}")
    return [int(word) for word in words]


def _write(parent: Checkpoint, widths: Sequence[int], output: Path) -> None:
    checkpoint = mixed_slices(parent, widths)
    save_checkpoint(checkpoint, output)
    print(f"widths: {','.join(map(str, widths))}")
    bits = checkpoint.plan.default.bits
    print(f"{output}: export it with python -m export.to_pte --bits {bits:g} --model {output}")


if __name__ == "__main__":
    main_guard(main)
