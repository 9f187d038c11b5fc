"""Parse the command line of training."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, NoReturn, cast

from transformers import HfArgumentParser

from edge.quantizers.methods import METHODS
from edge.training.stages import from_preset
from edge.training.train_config import TrainConfig

DESCRIPTION = """\
Train a model in full precision, or quantisation-aware at 1 to 4 bits (ParetoQ).

An interrupted run continues when the same command is given again. Flags that are not given come from
--preset. Every flag of transformers' TrainingArguments works too (--gradient_accumulation_steps 4,
--bf16 True, --torch_compile True, ...), and so does torchrun."""
EXAMPLE = """\
examples:
  python -m edge.training --output full --tokenizer tok --data a.txt --eval-data b.txt
  python -m edge.training --output two-bit --model full --bits 2 --data a.txt --eval-data b.txt
  python -m edge.training --output two-bit --tokenizer tok --bits 2 --tokens 1e9 --qat-fraction 0.1 \\
    --data a.txt --eval-data b.txt        (both stages in one command)"""


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Show defaults that are not None, and each flag once, spelled with dashes."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        values = "" if action.nargs == 0 else f" {self._format_args(action, action.dest.upper())}"
        return action.option_strings[-1] + values


class Parser(HfArgumentParser):
    """Report a mistake in one sentence instead of printing the usage of a hundred flags."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see --help)")


def parse(argv: list[str]) -> tuple[TrainConfig, list[str]]:
    """Split a command line into our flags and those of TrainingArguments.

    Raises:
        ValueError: a flag is missing, malformed, or contradicts another.
    """
    parser = Parser(
        cast(Any, TrainConfig),
        prog="python -m edge.training",
        usage="%(prog)s --output DIR --data NAME ... --eval-data NAME ... [flags]",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    given = flags_given(argv)
    if "bits" not in given and (method := METHODS.get(given.get("method", ""))):
        argv = [*argv, f"--bits={method.default_bits:g}"]
    config, rest = parser.parse_args_into_dataclasses(args=argv, return_remaining_strings=True)
    if {"steps", "tokens"} <= given.keys():
        raise ValueError("give --steps or --tokens, not both")
    if config.qat_fraction is not None and not {"steps", "tokens"} & given.keys():
        raise ValueError("--qat-fraction divides a budget: give --tokens or --steps")
    if config.full_learning_rate is not None and config.qat_fraction is None:
        raise ValueError("--full-learning-rate is for --qat-fraction; a single run has --learning-rate")
    return from_preset(config, given), rest


def flags_given(rest: list[str]) -> dict[str, str]:
    """Return flags by name with their values as typed: ``["--bf16", "True"]`` is ``{"bf16": "True"}``."""
    flags: dict[str, str] = {}
    name = ""
    for word in rest:
        if word.startswith("--"):
            flag, _, value = word.partition("=")
            name = flag.removeprefix("--").replace("-", "_")
            flags[name] = value
        else:
            flags[name] = f"{flags.get(name, '')} {word}".strip()
    return flags


def accumulation(rest: list[str]) -> int:
    """Return --gradient_accumulation_steps: batches that each rank takes in a step."""
    said = flags_given(rest).get("gradient_accumulation_steps", "1")
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"--gradient_accumulation_steps must be a whole number from 1 on, not {said}")
    return int(said)


def as_flags(config: TrainConfig, rest: list[str]) -> dict[str, Any]:
    """Return all flags by name, for the record of a run."""
    return {**dataclasses.asdict(config), **flags_given(rest)}
