"""``python -m edge.checkpoints``: a trained checkpoint in the small form that ships with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.checkpoints.hf_config import CONFIG_NAME, read_hf_config
from edge.checkpoints.hugging_face import PACKED_KEY
from edge.checkpoints.packed import open_model, save_packed_checkpoint
from edge.cli import main_guard


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edge.checkpoints",
        description="Writes a trained checkpoint small: learned grids as packed codes, other "
        "embeddings as int8; a full-precision one as float16. The exporter reads either form.",
    )
    parser.add_argument("--model", required=True, help="checkpoint directory or hub id")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    return parser


def _refuse_trained(output: Path) -> None:
    """ValueError where a packed form would take the place of what was trained, and could not give it back."""
    if (output / CONFIG_NAME).is_file() and PACKED_KEY not in read_hf_config(output):
        raise ValueError(
            f"--output {output} holds a checkpoint that is not packed; remove it or choose another"
        )


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    _refuse_trained(args.output)
    checkpoint = open_model(args.model)
    save_packed_checkpoint(checkpoint, args.output)
    size = sum(path.stat().st_size for path in args.output.iterdir())
    print(f"{args.output}: {checkpoint.plan.name}, {size:,} bytes")
    return 0


if __name__ == "__main__":
    main_guard(main)
