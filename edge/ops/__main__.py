"""Build the ops and the runner for 64-bit ARM Linux, estimate decode on ARM cores, or write signatures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from edge.cli import main_guard
from edge.ops import arm_cost, signatures
from edge.ops.arm_cost import CostError
from edge.ops.arm_trace import TraceError
from edge.ops.cross_build import CrossBuildError, cross_build, launch


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m edge.ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("cross-build", help="build into one folder that runs on any 64-bit ARM Linux")
    build.add_argument("--output", type=Path, required=True, help="folder for the runner and its libraries")
    commands.add_parser("arm-cost", help="estimate decode with llvm-mca's models of ARM cores (two minutes)")
    commands.add_parser("signatures", help="rewrite the operators' signatures in csrc, after a build")
    return parser


def _run(args: argparse.Namespace) -> Iterable[str]:
    if args.command == "arm-cost":
        return arm_cost.report()
    return [_cross_build(args.output) if args.command == "cross-build" else signatures.write_cpp_table()]


def _cross_build(output: Path) -> str:
    runner = cross_build(output)
    return (
        f"{runner} and its libraries are ready; copy the folder to the device and start it there with\n"
        f"  {' '.join(launch('DIR', runner.name))} --help\n"
        "or emulate it here, with qemu-aarch64 in front"
    )


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        for text in _run(args):
            print(text, flush=True)
    except (CrossBuildError, CostError, TraceError, OSError) as error:
        print(f"{args.command}: {error}", file=sys.stderr)  # a failed build's own output has many lines
        return 2
    return 0


if __name__ == "__main__":
    main_guard(main)
