"""Parse flags into a dataclass, and end every command's mistakes with one sentence and exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

Flags = TypeVar("Flags")


def flag(help: str, default: Any = dataclasses.MISSING, choices: Sequence[Any] | None = None) -> Any:
    """Declare a field of a dataclass of flags; without a default the flag is required."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


def parse_flags(flags: type[Flags], argv: list[str] | None, prog: str, description: str) -> Flags:
    """Parse a command line into a dataclass whose fields are declared with ``flag``.

    The field ``max_seq_len: int | None`` becomes ``--max-seq-len`` and takes an integer. A bool becomes a
    switch, and a Literal takes one of its strings.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = get_type_hints(flags)
    for field in dataclasses.fields(flags):  # type: ignore[arg-type]  # any dataclass
        settings: dict[str, Any] = {"help": field.metadata["help"]}
        if hints[field.name] is bool:
            settings |= {"action": "store_true"}
        elif get_origin(hints[field.name]) is Literal:
            settings |= {"choices": get_args(hints[field.name]), "default": field.default}
        else:
            value_type = next(iter(get_args(hints[field.name])), hints[field.name])  # int of int | None
            settings |= {"type": value_type, "choices": field.metadata["choices"]}
            required = field.default is dataclasses.MISSING
            settings |= {"required": True} if required else {"default": field.default}
        parser.add_argument("--" + field.name.replace("_", "-"), **settings)
    return flags(**vars(parser.parse_args(argv)))


def main_guard(main: Callable[[], int]) -> NoReturn:
    """Run ``main``; ValueError and OSError become one line on stderr and exit code 2, Ctrl-C becomes 130.

    A reader of stdout that ends early, such as ``head``, ends the command quietly with 141, as in a shell.
    """
    try:
        _refuse_broken_text(sys.argv[1:])
        sys.exit(main())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more
        sys.exit(141)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def refuse_unwritable(output: Path) -> None:
    """Raise ValueError if no directory can be made at ``output``, or a file is there; writes nothing."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a directory")
    parent = next((p for p in output.absolute().parents if p.exists()), Path("/"))
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"--output {output} cannot be written: {parent} is not a writable directory")


def _refuse_broken_text(arguments: list[str]) -> None:
    """Raise ValueError for bytes that are not UTF-8: Python passes them on as text that libraries refuse."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the argument {argument!r} is not UTF-8 text") from error
