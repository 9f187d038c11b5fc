"""Open an exported program in this process's ExecuTorch runtime."""

from __future__ import annotations

import mmap
import os
import re
from pathlib import Path

import torch
from torch import Tensor

from edge.model.tokenizer import Tokenizer
from edge.quiet import native_stderr_held_back, quiet_libraries
from edge.runtime.manifest import Manifest, read_manifest

#: The limit of ``lowbit_runner`` too; more threads only cost memory.
MAX_THREADS = 256


class Program:
    """A ``.pte`` with its KV cache; ``forward`` continues the sequence at any position up to its end.

    Args:
        path: the ``.pte`` file.
        threads: see ``set_threads``.

    Raises:
        ValueError: not a program this runtime can load; names a missing op and what to load.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        quiet_libraries()
        from executorch.runtime import Runtime

        from edge.ops.unpacked import watch_program  # edge.ops registers the ops with the runtime

        set_threads(threads)
        _refuse_other_files(path)
        runtime = Runtime.get()
        try:
            self._program = runtime.load_program(path)
            self._method = self._program.load_method("forward")
            watch_program(self)
        except RuntimeError as error:
            raise ValueError(_explain(path, error)) from error
        if self._method is None:
            raise ValueError(f"{path} has no method 'forward'; it was not exported by this project")
        self.max_seq_len = self._constant("get_max_seq_len")
        self.vocab_size = self._constant("get_vocab_size")

    def forward(self, tokens: list[int], position: int) -> Tensor:
        """Run the program on tokens from ``position`` on; returns logits [vocab] float32 of the last one.

        Raises:
            ValueError: no tokens, or positions or ids beyond the program's; or the program fails, or its
                logits are NaN, which altered weights can cause.
        """
        if not tokens:
            raise ValueError("there is nothing to feed: the list of tokens is empty")
        if position < 0 or position + len(tokens) > self.max_seq_len:
            raise ValueError(
                f"positions {position}..{position + len(tokens) - 1} are beyond "
                f"the program's {self.max_seq_len}"
            )
        bad = [token for token in tokens if not 0 <= token < self.vocab_size]
        if bad:
            raise ValueError(f"token {bad[0]} is outside the vocabulary of {self.vocab_size}")
        try:
            logits = self._method.execute([torch.tensor([tokens]), torch.tensor([position])])[0]
        except RuntimeError as error:
            raise ValueError(
                f"the program failed at position {position}; the first line above, from ExecuTorch, says why "
                f"({error}); where the file was altered, export it again"
            ) from error
        if bool(logits.isnan().any()):
            raise ValueError("the program's logits are not numbers (NaN); its weights are broken")
        return logits[0].clone()  # the runtime reuses its output buffer

    def _constant(self, name: str) -> int:
        try:
            return int(self._program.load_method(name).execute([])[0])
        except RuntimeError as error:
            raise ValueError(
                f"the program has no constant method {name}; it was not exported by this project"
            ) from error


def open_program(
    directory: str | Path, threads: int | None = None
) -> tuple[Manifest, Program, Tokenizer | None]:
    """Open an export directory, after checking its manifest and the hashes of its files."""
    directory = Path(directory)
    manifest = read_manifest(directory)
    program = Program(directory / manifest.program.name, threads)
    tokenizer = None if manifest.tokenizer is None else Tokenizer(directory / manifest.tokenizer.name)
    return manifest, program, tokenizer


def set_threads(threads: int | None) -> None:
    """Set the size of the process's thread pool; None means every core that the process may use."""
    from executorch.extension.pybindings import _C

    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"--threads must lie in 1..{MAX_THREADS}, not {threads}")
    wanted = threads or len(os.sched_getaffinity(0))
    with native_stderr_held_back():  # at its first use the pool complains about files that only phones have
        if _C._threadpool_get_thread_count() != wanted:
            _C._unsafe_reset_threadpool(wanted)


def _refuse_other_files(path: Path) -> None:
    """Raise ValueError unless a file starts as a program does: the runtime would abort the process."""
    with path.open("rb") as file:
        start = file.read(8)
    if start[4:6] != b"ET":
        raise ValueError(
            f"{path} is not a program this runtime can load; it may be truncated or altered (its first bytes "
            "are not a program's)"
        )


def _explain(path: Path, error: RuntimeError) -> str:
    missing = _missing_ops(path) if "0x14" in str(error) or "0x:14" in str(error) else []
    if missing:
        return f"{path} calls ops this runtime lacks: {', '.join(missing)}; load ours with `import edge.ops`"
    reason = str(error).strip()
    return f"{path} is not a program this runtime can load; it may be truncated or altered ({reason})"


def _missing_ops(path: Path) -> list[str]:
    """Ops named in a program's bytes that the runtime lacks in every overload."""
    from executorch.runtime import Runtime

    known = {name.split(".")[0] for name in Runtime.get().operator_registry.operator_names}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        named = {match.decode() for match in re.findall(rb"[a-z_]\w*::[a-z_]\w*", data)}
    return sorted(named - known)
