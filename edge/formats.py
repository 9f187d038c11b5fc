"""The table of weight formats: one row per format, and everything else derives from it.

Every grid is affine in an unsigned code:

    level  = step * code + offset          (an integer)
    weight = level * unit * alpha          (alpha: one learned float32 per output channel)

so one integer kernel serves all of them: it accumulates ``sum(code * activation)`` and
finishes each row with ``step * acc + offset * sum(activation)``.

Grids, starting alphas and gradient rules follow the reference code of ParetoQ
(arXiv 2502.02631), which deviates from the paper's SEQ equation where that one yields a
state too many.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Gradient(Enum):
    """How the straight-through estimator treats a format's rounding."""

    NONE = "none"  # not quantised
    SIGN = "sign"  # ParetoQ's binarisation
    SEQ = "seq"  # stretched elastic quantisation, ParetoQ section 3
    LSQ = "lsq"  # learned step size, arXiv 1902.08153


class AlphaInit(Enum):
    """Where alpha starts, from the row of latent weights."""

    NONE = "none"
    MEAN_ABS = "mean_abs"
    MAX_ABS = "max_abs"
    MAX_ABS_OVER_TOP = "max_abs_over_top"  # max |w| lands on the highest positive level


class Packing(Enum):
    """How the packed layout spreads a format's codes over bytes (``ops/csrc/core/layout.h``)."""

    POSITIONS = "positions"  # code_bits bits each, 3 bits as planes of 2 and 1
    BASE3 = "base3"  # five ternary codes in a byte: 1.6 bits each


@dataclass(frozen=True)
class WeightFormat:
    """One weight format.

    Attributes:
        name: the word used in reports and in C++ (``kTernary``).
        bits: what the user types after ``--bits``; also the information per weight.
        format_id: the number in the packed header; never reused for another format.
        code_bits: bits of the unsigned code.
        levels: number of grid points.
        step, offset: integers of ``level = step * code + offset``.
        unit: ``weight = level * unit * alpha``; held as a quotient so that it is exact
            before rounding to float32.
        alpha_init, gradient: how training starts and differentiates it.
        trainable: QAT is offered for it. The others only store tables (int8, and ternary as the
            kernels unpack it) or unquantised weights (fp16).
        packing: how the codes lie in bytes.
    """

    name: str
    bits: float
    format_id: int
    code_bits: int
    levels: int
    step: int
    offset: int
    unit: float
    alpha_init: AlphaInit
    gradient: Gradient
    trainable: bool = True
    packing: Packing = Packing.POSITIONS

    @property
    def group_columns(self) -> int:
        """Columns that fill a whole number of 64-byte lines of 16 rows: a group of the packed layout."""
        return 20 if self.packing is Packing.BASE3 else 32

    @property
    def group_lines(self) -> int:
        """64-byte lines of a group."""
        return 1 if self.packing is Packing.BASE3 else self.code_bits

    @property
    def top_level(self) -> int:
        """The highest level: 1 for binary and ternary, 3 at 2 bits, 3 at 3 bits, 7 at 4."""
        return self.step * (self.levels - 1) + self.offset

    @property
    def is_quantized(self) -> bool:
        return self.gradient is not Gradient.NONE

    @property
    def paretoq_w_bits(self) -> int:
        """``w_bits`` as ParetoQ's config.json writes it, an integer: ternary, which has none, is 0."""
        return int(self.bits) if float(self.bits).is_integer() else 0


FORMATS: tuple[WeightFormat, ...] = (
    WeightFormat("binary", 1, 1, 1, 2, 2, -1, 1.0, AlphaInit.MEAN_ABS, Gradient.SIGN),
    WeightFormat(
        "ternary", 1.58, 8, 2, 3, 1, -1, 2 / 3, AlphaInit.MAX_ABS, Gradient.SEQ, packing=Packing.BASE3
    ),
    # What most kernels unpack ternary to when they first meet a table; no file holds it.
    WeightFormat(
        "ternary_2bit", 1.58, 2, 2, 3, 1, -1, 2 / 3, AlphaInit.MAX_ABS, Gradient.SEQ, trainable=False
    ),
    WeightFormat("int2", 2, 3, 2, 4, 2, -3, 1 / 4, AlphaInit.MAX_ABS, Gradient.SEQ),
    WeightFormat("int3", 3, 4, 3, 8, 1, -4, 1.0, AlphaInit.MAX_ABS_OVER_TOP, Gradient.LSQ),
    WeightFormat("int4", 4, 5, 4, 16, 1, -8, 1.0, AlphaInit.MAX_ABS_OVER_TOP, Gradient.LSQ),
    WeightFormat(
        "int8", 8, 6, 8, 256, 1, -128, 1.0, AlphaInit.MAX_ABS_OVER_TOP, Gradient.LSQ, trainable=False
    ),
    WeightFormat("fp16", 16, 7, 16, 0, 0, 0, 1.0, AlphaInit.NONE, Gradient.NONE, trainable=False),
)

BY_NAME = {f.name: f for f in FORMATS}
BY_ID = {f.format_id: f for f in FORMATS}
FULL_PRECISION = BY_NAME["fp16"]
#: What a model's linears may have: every trainable format, and fp16 for no quantisation.
MODEL_FORMATS = tuple(f for f in FORMATS if f.trainable or not f.is_quantized)
#: What ``--bits`` offers.
BITS_CHOICES = tuple(f.bits for f in MODEL_FORMATS)
EMBEDDING_BITS_CHOICES = (4, 8, 16)


def format_for_bits(bits: float | str, choices: tuple[float, ...] | None = None) -> WeightFormat:
    """The format a user means by a number of bits.

    Args:
        choices: what this option offers, for example BITS_CHOICES; None allows every row.

    Raises:
        ValueError: no such format, or not among the choices, which the message names.
    """
    offered = [f for f in FORMATS if choices is None or f.bits in choices]
    for fmt in offered:
        if _same_number(bits, fmt.bits):
            return fmt  # the first row of its bits is the one that files hold
    allowed = ", ".join(dict.fromkeys(f"{f.bits:g}" for f in offered))
    raise ValueError(f"no weight format has {bits} bits; choose one of {allowed}")


def _same_number(text: float | str, number: float) -> bool:
    try:
        return float(text) == number
    except (TypeError, ValueError):
        return False


def cpp_header() -> str:
    """The table as C++ constants, checked in as ``ops/csrc/core/formats_table.inc``."""
    rows = "\n".join(
        f'    {{"{f.name}", {f.format_id}, {f.code_bits}, {f.levels}, {f.step}, {f.offset}, '
        f"{_float32_literal(f.unit)}, {f.group_columns}, {f.group_lines}}},"
        for f in FORMATS
    )
    ids = "\n".join(f"  k{f.name.capitalize()} = {f.format_id}," for f in FORMATS)
    return (
        "// Generated, do not edit: python -m edge.formats > edge/ops/csrc/core/formats_table.inc\n"
        f"enum FormatId : uint16_t {{\n{ids}\n}};\n"
        f"inline constexpr WeightFormat kFormats[] = {{\n{rows}\n}};\n"
    )


def _float32_literal(value: float) -> str:
    return f"{float(value)!r}f"  # the shortest decimal that is this double; the compiler rounds it once more


if __name__ == "__main__":
    print(cpp_header(), end="")
