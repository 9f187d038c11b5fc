"""List the rows of the table: which command makes the model of each width.

Rows share what they can. The 2-bit slice that is trained alone is Single Precision of the paper (arXiv
2502.06786) and also the 2-bit model of the slice grid; the naive parent is the 8-bit model of one width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TRAINING, QUANTIZE, OTHERS = "edge.training", "edge.quantize", "edge.quantize.nested.others"
FULL, QAT, OMNIQUANT, NONE = "full precision", "QAT", "OmniQuant", "no training"
WIDTHS = (8, 6, 4, 3, 2)
#: The paper trains these; 6 and 3 bits come with them.
NESTED = "8,4,2"


@dataclass(frozen=True)
class Run:
    """One command that makes a model.

    Attributes:
        name: of the directory that it writes, without the seed.
        command: a module, after ``python -m``.
        flags: its own, beside those that all runs of the command share.
        is_parent: it has 8 bits, and the models of fewer are slices of it.
    """

    name: str
    command: str
    flags: tuple[str, ...]
    is_parent: bool = False


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        base: what its models are made by.
        runs: by width in bits.
        has_seeds: a seed changes its models.
    """

    name: str
    base: str
    runs: Mapping[int, Run]
    has_seeds: bool = True

    @property
    def title(self) -> str:
        return f"{self.base}: {self.name}"


def _run(name: str, command: str, flags: str, is_parent: bool = False) -> Run:
    return Run(name, command, tuple(flags.split()), is_parent)


def _sliced(parent: Run) -> dict[int, Run]:
    return dict.fromkeys(WIDTHS, parent)


def _rows_of(base: str, one_width: Mapping[int, Run], command: str, parent: str, single: str) -> list[Row]:
    """List the rows that both bases have.

    Args:
        one_width: the dedicated model of each width.
        parent: flags that make a parent whose slices are trained.
        single: flags that train the last of ``--widths`` alone.
    """
    short = base.lower()
    nested = f"{parent} --widths {NESTED}"
    alone = _run(f"{short}-single", command, f"{nested} {single}", is_parent=True)
    slices = {
        width: _run(f"{short}-slice-{width}", command, f"{parent} --widths {width} --loss-weights 1", True)
        for width in WIDTHS[1:-1]
    }
    matquant = _run(f"{short}-matquant", command, f"{nested} --loss-weights 0.1,0.1,1", is_parent=True)
    extra = _run(
        f"{short}-extra", command, f"{nested} --extra-precision --loss-weights 1,1,1", is_parent=True
    )
    return [
        Row("8 bits, sliced", base, _sliced(one_width[8])),
        Row("one width", base, one_width),
        Row("one width, slice grid", base, {8: one_width[8], **slices, 2: alone}),
        Row("MatQuant", base, _sliced(matquant)),
        Row("Single Precision", base, _sliced(alone)),
        Row("Extra Precision", base, _sliced(extra)),
    ]


def _qat() -> list[Row]:
    one_width = {
        width: _run(f"qat-{width}", TRAINING, f"--method minmax --bits {width}", width == 8)
        for width in WIDTHS
    }
    taught = f"--method matquant --widths {NESTED} --loss-weights 0.1,0.1,1 --co-distill 8:2"
    equal = f"--method matquant --widths {NESTED} --loss-weights 1,1,1"
    paretoq = {
        width: _run(f"paretoq-{width}", TRAINING, f"--method paretoq --bits {width}") for width in (4, 3, 2)
    }
    return [
        *_rows_of(QAT, one_width, TRAINING, "--method matquant", "--single-precision"),
        Row("MatQuant, equal weights", QAT, _sliced(_run("qat-equal", TRAINING, equal, is_parent=True))),
        Row("MatQuant, 8 teaches 2", QAT, _sliced(_run("qat-taught", TRAINING, taught, is_parent=True))),
        Row("ParetoQ", QAT, paretoq),
    ]


def _omniquant() -> list[Row]:
    form = "--asymmetric --group row"
    one_width = {
        width: _run(f"omniquant-{width}", QUANTIZE, f"--method omniquant --bits {width} {form}", width == 8)
        for width in WIDTHS
    }
    parent = f"--method matquant --bits 8 {form}"
    return _rows_of(OMNIQUANT, one_width, QUANTIZE, parent, "--loss-weights 0,0,1")


def _untrained() -> list[Row]:
    def row(name: str, words: str, widths: tuple[int, ...], has_seeds: bool = True) -> Row:
        short = name.replace(" ", "-")
        runs = {
            width: _run(f"{short}-{width}", OTHERS, f"--method {words} --bits {width}") for width in widths
        }
        return Row(name, NONE, runs, has_seeds)

    return [
        row("any-precision from 3 bits", "any-precision --first-bits 3", WIDTHS[:-1]),
        row("any-precision from 2 bits", "any-precision --first-bits 2", WIDTHS),
        row("residuals of 2 bits", "residual", (8, 6, 4, 2), has_seeds=False),
    ]


#: Full precision, trained on the same text for as many steps, to compare what is trained with.
TRAINED_ON = Row("trained on", FULL, {16: _run("full", TRAINING, "--bits 16")})
ROWS = (TRAINED_ON, *_qat(), *_omniquant(), *_untrained())
