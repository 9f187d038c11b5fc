"""Write a checkpoint in the packed form that ships with the package, or slice one of 8 bits to fewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.checkpoints.hf_config import CONFIG_NAME, read_hf_config
from edge.checkpoints.hf_grids import PACKED_KEY
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.checkpoints.slices import sliced_checkpoint
from edge.cli import flag, main_guard, parse_flags

DESCRIPTION = """\
Writes a trained checkpoint small: learned grids as packed codes, other embeddings as int8; a
full-precision one as float16. With --bits it slices a checkpoint of 8 bits, for example one that --method
matquant of edge.training made. The exporter reads all forms."""


@dataclass(frozen=True)
class PackFlags:
    """Flags of ``python -m edge.checkpoints``."""

    model: str = flag("checkpoint directory or hub id")
    output: Path = flag("directory to write")
    bits: int | None = flag("slice a checkpoint of 8 bits to so many first", default=None)


def _refuse_trained(output: Path) -> None:
    """Raise ValueError if the output is a trained checkpoint, which the packed form could not give back."""
    if (output / CONFIG_NAME).is_file() and PACKED_KEY not in read_hf_config(output):
        raise ValueError(
            f"--output {output} holds a checkpoint that is not packed; remove it or choose another"
        )


def main(argv: list[str] | None = None) -> int:
    args = parse_flags(PackFlags, argv, "edge.checkpoints", DESCRIPTION)
    _refuse_trained(args.output)
    checkpoint = open_model(args.model)
    if args.bits is not None:
        checkpoint = sliced_checkpoint(checkpoint, args.bits)
    save_packed_checkpoint(checkpoint, args.output)
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"{args.output}: {checkpoint.plan.name}, {size:,} bytes")
    return 0


if __name__ == "__main__":
    main_guard(main)
