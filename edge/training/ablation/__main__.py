"""Compare ways to a low-bit model on one training budget, in one table.

Takes every flag of ``python -m edge.training``. With --model all runs start from that checkpoint; without, a
full-precision model is trained first, on the part of the budget that --qat-fraction leaves. The same command
given again continues unfinished runs and repeats nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from edge.cli import main_guard, refuse_unwritable
from edge.files import only_writer
from edge.formats import BITS_CHOICES, FULL_PRECISION, grid_for_bits
from edge.training.ablation.study import Study
from edge.training.ablation.table import TABLE, markdown
from edge.training.ablation.variants import VARIANTS, Variant
from edge.training.arguments import accumulation, flags_given, parse
from edge.training.stages import stages

LOW_BITS = tuple(bits for bits in BITS_CHOICES if bits != FULL_PRECISION.bits)
EXAMPLE = """\
examples:
  python -m edge.training.ablation --output ablation --tokenizer tok --data a.txt --eval-data b.txt \\
    --tokens 1e7 --qat-fraction 0.1
  python -m edge.training.ablation --output mine --model DIR --bits 2,1.58 --variants RTN,QAT --data a.txt \\
    --eval-data b.txt --steps 500"""


def _widths(text: str) -> list[float]:
    return [grid_for_bits(word, LOW_BITS).bits for word in text.split(",")]


def _variants(text: str | None, has_budget: bool) -> Iterator[Variant]:
    """Find variants by name; all that are possible if None."""
    known = {variant.name: variant for variant in VARIANTS}
    for name in known if text is None else text.split(","):
        if name not in known:
            raise ValueError(f"--variants {name} is unknown; choose from {', '.join(known)}")
        if has_budget or not known[name].from_nothing:
            yield known[name]
        elif text is not None:
            raise ValueError(
                f"{name} needs a budget to divide: give --tokens and --qat-fraction, not --model"
            )


def _study(output: str, words: list[str]) -> Study:
    given = flags_given(words)
    low, rest = parse(["--output", output, "--bits=2", *words])
    if "bits" in given:
        raise ValueError("--bits is a list here: --bits 2,1.58")
    if (low.model is None) == (low.qat_fraction is None):
        raise ValueError("give --model, or --tokens and --qat-fraction to train the full-precision model too")
    if low.embedding_bits != FULL_PRECISION.bits:
        raise ValueError("--embedding-bits is not for this command, which compares grids of linears")
    runs = stages(low, int(os.environ.get("WORLD_SIZE", 1)) * accumulation(rest))
    if low.model is not None:
        return Study(runs[0], None, rest, given)
    full = replace(runs[0], output=str(Path(output) / "full"))
    return Study(replace(runs[1], model=full.output), full, rest, given)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m edge.training.ablation",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="directory for checkpoints, results and table"
    )
    parser.add_argument("--bits", default="4,3,2,1.58,1", help="bit widths to compare (default: %(default)s)")
    parser.add_argument("--variants", help=f"some of {', '.join(v.name for v in VARIANTS)} (default: all)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="runs of each trained variant (default: %(default)s)"
    )
    args, words = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, not {args.seeds}")
    widths = _widths(args.bits)
    refuse_unwritable(args.output)
    study = _study(str(args.output), words)
    variants = list(_variants(args.variants, study.full is not None))
    with only_writer(args.output) if study.writes else nullcontext():
        args.output.mkdir(parents=True, exist_ok=True)
        study.run(widths, variants, args.seeds)
    if not study.writes:
        return 0
    print(
        f"\n{markdown(study.results)}\nwrote {args.output / TABLE}, with results.json and a picture beside it"
    )
    return 0


if __name__ == "__main__":
    main_guard(main)
