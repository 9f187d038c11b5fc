"""Parse flags into a dataclass, and end every command's mistakes with one sentence and exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import re
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin, get_type_hints

Flags = TypeVar("Flags")
#: Words of PyTorch (on the CPU, then on other devices) and of the system when memory ran out.
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")
_ASKED_BYTES = re.compile(r"tried to allocate (\d+) bytes")


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
    """Run ``main`` and exit with its code; what a user can mend becomes one sentence on stderr and code 2.

    That is ValueError, OSError and memory that ran out; Ctrl-C becomes 130. A reader of stdout or stderr that
    ends early, such as ``head``, ends the command quietly with 141, as in a shell. What goes to a stream that
    was closed before the start, as by ``>&-``, is dropped.
    """
    _open_closed_streams()
    try:
        code = _explained(main)
        sys.stdout.flush()  # notices a reader that is gone, or a full disk, before Python's own exit does
        sys.exit(code)
    except BrokenPipeError:
        sys.exit(141)
    except OSError as error:
        sys.exit(_complain(f"stdout could not be written: {error.strerror or error}"))
    finally:
        _drop_unwritten_text()


def _explained(main: Callable[[], int]) -> int:
    """Run ``main``; returns its code, or that of an error that was explained on stderr."""
    try:
        _refuse_broken_text(sys.argv[1:])
        return main()
    except BrokenPipeError:
        raise
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if ran_out_of_memory(error):
            return _complain(_memory_sentence(error))
        if isinstance(error, RuntimeError):
            raise
        return _complain(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error, or one that it was raised from, means that memory ran out."""
    if error is None:
        return False
    if isinstance(error, OSError):
        found = error.errno == errno.ENOMEM
    else:  # PyTorch on the CPU, among others, raises RuntimeError; a ValueError may quote a path
        said = not isinstance(error, ValueError) and any(words in str(error) for words in _OUT_OF_MEMORY)
        found = said or isinstance(error, MemoryError)
    return found or ran_out_of_memory(error.__cause__)


def _memory_sentence(error: BaseException) -> str:
    """Say how much memory is in use, and how much more was asked for if the error tells."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    asked = _ASKED_BYTES.search(str(error))
    more = f" and {int(asked[1]) / 1e6:,.0f} MB more were asked for" if asked else ""
    return (
        f"memory ran out: {used / 1e6:,.0f} MB were in use{more}; free memory or take a machine with more, "
        "or ask for less: a smaller model, a shorter --max-seq-len or --context, or fewer texts at once"
    )


def _complain(sentence: str) -> int:
    with suppress(OSError):  # nobody reads stderr
        print(f"error: {' '.join(sentence.split())}", file=sys.stderr, flush=True)
    return 2


def _open_closed_streams() -> None:
    """Open the null device as each standard stream that is closed.

    Without this a file that is opened later gets the stream's number, and native code prints into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _drop_unwritten_text() -> None:
    """Send text that cannot be written to the null device, because Python tries once more at its exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
