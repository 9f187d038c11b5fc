"""Turn failures of the training loop into one sentence: memory, disk, damaged checkpoints, lost ranks."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils.memory import should_reduce_batch_size
from safetensors import SafetensorError

from edge.training.checkpoints import last_checkpoint, remove_unfinished, step_of

#: Messages of torch and safetensors when a file cannot be written; they raise no OSError.
WRITE_FAILURES = ("inline_container.cc", "iostream error", "I/O error")
#: Messages of torch when a checkpoint is damaged or another model's; errno 22 is a truncated file.
UNREADABLE = ("PytorchStreamReader", "size mismatch", "[Errno 22]", "Ran out of input")
#: Messages of gloo and NCCL when another rank no longer answers.
LOST = ("gloo/transport", "ncclRemoteError")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def failures_explained(directory: Path, batch_size: int, accumulation: int, context: int) -> Iterator[None]:
    """Explain what ended the block, and remove an unfinished checkpoint; finished ones stay.

    Raises:
        ValueError: out of memory, no room on disk, an unreadable checkpoint, or a lost rank.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, EOFError, SafetensorError) as error:
        reason = str(error)
        first = next(iter(reason.splitlines()), "")
        if isinstance(error, MemoryError) or should_reduce_batch_size(error):
            # Without its cause, for which ``main_guard`` would have a sentence that names no flags.
            raise ValueError(_does_not_fit(batch_size, accumulation, context)) from None
        if _is_write_failure(error):
            remove_unfinished(directory)
            free = shutil.disk_usage(directory).free / 1e6
            raise ValueError(
                f"{directory} could not be written ({first}; {free:,.0f} MB are free there); "
                f"{_kept(directory)}: make room and give the same command again"
            ) from error
        if any(words in reason for words in UNREADABLE) or isinstance(error, SafetensorError):
            raise ValueError(
                f"{last_checkpoint(directory)} cannot be read ({first}): remove it, and the same command "
                "goes on from the one before, if there is one"
            ) from error
        if any(words in reason for words in LOST):
            raise ValueError(
                f"another process of this run is gone; {_kept(directory)}: see what that process said last, "
                "and give the same command again"
            ) from error
        raise


def _does_not_fit(batch_size: int, accumulation: int, context: int) -> str:
    sentence = f"a batch of {batch_size} x {context} tokens does not fit into memory; "
    if batch_size == 1:
        return f"{sentence}give a shorter --context or a smaller model"
    smaller = max(n for n in range(1, batch_size) if batch_size % n == 0)
    more = accumulation * batch_size // smaller
    return (
        f"{sentence}--batch-size {smaller} --gradient_accumulation_steps {more} trains the same in less, "
        "and goes on from the last checkpoint if there is one"
    )


def _is_write_failure(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    return any(words in str(error) for words in WRITE_FAILURES)


def _kept(directory: Path) -> str:
    last = last_checkpoint(directory)
    return f"the checkpoint of step {step_of(last)} is kept" if last else "no checkpoint had been written"
