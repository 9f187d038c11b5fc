"""Measure the speed of the data loader or of training steps."""

from __future__ import annotations

import argparse
import sys

from edge.cli import main_guard
from edge.training.benchmarks import loader, step


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edge.training.benchmarks", description=__doc__)
    benchmarks = parser.add_subparsers(required=True)
    for benchmark in (loader, step):
        name, words = benchmark.__name__.rpartition(".")[2], str(benchmark.__doc__)
        flags = benchmarks.add_parser(
            name,
            help=words.splitlines()[0],
            description=words,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        benchmark.add_flags(flags)
        flags.add_argument("--context", type=int, default=512, help="tokens per training example")
        flags.add_argument("--rounds", type=int, default=9, help="timed rounds after one warm-up")
        flags.set_defaults(run=benchmark.run)
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if min(args.context, args.batch_size, args.rounds) < 1:
        raise ValueError("--context, --batch-size and --rounds must be at least 1")
    args.run(args)
    return 0


if __name__ == "__main__":
    main_guard(main)
