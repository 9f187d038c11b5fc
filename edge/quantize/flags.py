"""The flags of ``python -m edge.quantize``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.checkpoints.hugging_face import linear_names
from edge.cli import flag
from edge.formats import GRIDS, Grid, grid_for_bits
from edge.formats.weight import GROUP_SIZES
from edge.model.config import ModelConfig
from edge.quantizers.nested import PARENT
from edge.quantizers.placement import Target
from edge.quantizers.plan import Plan
from edge.quantizers.post_methods import POST_METHODS
from edge.quantizers.post_training import SEQUENCE, PostTraining

#: Widths that models are quantised to after training, and 16 for none; one bit wants training.
BITS = tuple(sorted({grid.bits for grid in GRIDS if grid.bits > 1}))
ROW = "row"
RANGES = ("min-max", "searched")


@dataclass(frozen=True)
class QuantizeFlags:
    """Flags of the command; those that depend on the model are checked when it is open."""

    bits: str = flag(
        f"bits per weight of the linears: {', '.join(f'{bits:g}' for bits in BITS)}; 16 rounds none, for "
        "--smooth alone"
    )
    method: str | None = flag(
        "how weights are rounded; none at 16 bits", default=None, choices=tuple(POST_METHODS)
    )
    smooth: bool = flag(
        "move outliers of activations into weights first, which leaves the model as it is and int8 "
        "activations more exact (SmoothQuant)",
        default=False,
    )
    model: str = flag(
        "full-precision model: 'default' (embedded), a directory, or a hub id", default="default"
    )
    group: str = flag(
        "columns that share a scale, or row for one scale a row; a row's last group is shorter where the "
        "columns do not divide by it; ternary codes in groups take 2 bits in files",
        default="128",
        choices=(*map(str, GROUP_SIZES), ROW),
    )
    symmetric: bool = flag("levels around 0, those of ParetoQ's grids (the default)", default=False)
    asymmetric: bool = flag("integer levels with a zero for each row or group", default=False)
    range: str = flag(
        "ends of the levels of rtn and gptq: those of the weights, or a share of them that rounds best",
        default=RANGES[0],
        choices=RANGES,
    )
    mixed: str | None = flag(
        "other widths by pattern, the last that matches decides: 'layers.0.*=8,*.down_proj=4'; 16 keeps them",
        default=None,
    )
    widths: str | None = flag(
        "slices of the parent that --method matquant fits, falling, with commas (default: 8,4,2)",
        default=None,
    )
    loss_weights: str | None = flag(
        "share of each of --widths in the loss (default: 0.1, and 1 for the last)", default=None
    )
    extra_precision: bool = flag(
        "slices with one level more (2^r + 1), which take one bit more in a program", default=False
    )
    calibration: str | None = flag(
        "text that activations come from, named as in training; rtn without --smooth reads none",
        default=None,
    )
    samples: int = flag("calibration samples", default=128)
    length: int | None = flag("tokens of a sample; default: 2048, or all of the model's", default=None)
    seed: int = flag("seed of the places in the text that samples are taken from", default=0)
    output: Path | None = flag("directory to write; default: quantized/MODEL-METHOD-BITSbit", default=None)

    def __post_init__(self) -> None:
        if self.symmetric and self.asymmetric:
            raise ValueError("give --symmetric or --asymmetric, not both")
        if self.samples < 1:
            raise ValueError(f"--samples must be at least 1, not {self.samples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must lie in 0..2^32 - 1, not {self.seed}")
        if self.how.slices is not None and self._grid(self.bits) is not PARENT:
            raise ValueError(f"--method {self.method} makes a parent: give --bits 8 --asymmetric")
        keeps = not self._grid(self.bits).is_quantized
        if keeps and (self.method is not None or not self.smooth):
            raise ValueError("16 bits round no weight: give --smooth and no --method, or fewer bits")
        if not keeps and self.method is None:
            raise ValueError(f"--bits {self.bits} needs a --method: {', '.join(POST_METHODS)}")
        if self.needs_calibration and self.calibration is None:
            asks = f"--method {self.method}" if self.how.needs_calibration else "--smooth"
            raise ValueError(f"{asks} needs --calibration, a text of the kind it will read")
        if self.how.learns_ranges and self.range != RANGES[0]:
            raise ValueError(f"--method {self.method} learns its ranges: leave --range out")

    @property
    def how(self) -> PostTraining:
        """The method with its own flags; where nothing is rounded, the one that reads nothing.

        Raises:
            ValueError: a flag of another method.
        """
        values = {name: getattr(self, name) for name in ("widths", "loss_weights", "extra_precision")}
        own = {name: value for name, value in values.items() if value is not None and value is not False}
        return POST_METHODS[self.method or "rtn"].configured(own)

    @property
    def needs_calibration(self) -> bool:
        return self.smooth or self.how.needs_calibration

    @property
    def group_size(self) -> int | None:
        return None if self.group == ROW else int(self.group)

    def plan(self, config: ModelConfig) -> Plan:
        """The grids of a model's linears.

        Raises:
            ValueError: a pattern matches no linear, or none is left at --bits.
        """
        try:
            patterns = [self._pattern(text) for text in (self.mixed or "").split(",") if text]
            return Plan.from_patterns(linear_names(config), self._grid(self.bits), patterns)
        except ValueError as error:
            raise ValueError(f"--mixed: {error}") from error

    def targets(self, plan: Plan, layer: str) -> dict[str, Target]:
        """Return the targets of a layer's linears, by name in the layer; kept linears have none."""
        from_layer = {name: plan.of(f"{layer}.{name}") for names in SEQUENCE for name in names}
        searches = self.range != RANGES[0]
        return {
            name: Target(grid, self.group_size, searches)
            for name, grid in from_layer.items()
            if grid.is_quantized
        }

    def _grid(self, bits: str) -> Grid:
        return grid_for_bits(bits, BITS, asymmetric=self.asymmetric)

    def _pattern(self, text: str) -> tuple[str, Grid]:
        pattern, equals, bits = text.rpartition("=")
        if not pattern or not equals:
            raise ValueError(f"it takes PATTERN=BITS, as in 'layers.0.*=8', not {text!r}")
        return pattern, self._grid(bits)
