"""Open an exported program in this process's ExecuTorch runtime."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edge.formats.elastic import ELASTIC_WIDTHS
from edge.formats.slices import PARENT_BITS
from edge.model.chat_template import ChatTemplate
from edge.model.tokenizer import Tokenizer
from edge.ops.native import MissingOperators, check_program
from edge.ops.unpacked import forget_slices, watch_program
from edge.quiet import native_stderr_held_back, quiet_libraries
from edge.runtime.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from executorch.runtime import Method, MethodMeta
    from executorch.runtime import Program as RuntimeProgram

#: Name of the buffer with the widths of an elastic program's layers.
WIDTHS = "widths"
#: The limit of ``lowbit_runner`` too; more threads only cost memory.
MAX_THREADS = 256
_FLOAT32 = 6  # in ExecuTorch's numbers of types


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
        set_threads(threads)
        self._program = _load_checked(path)
        self._method = self._load_method("forward")
        _check_forward(self._program.metadata("forward"))
        self._widths = self._elastic_widths()
        self._running = threading.Lock()
        watch_program(self)
        self.max_seq_len = self._constant("get_max_seq_len")
        self.vocab_size = self._constant("get_vocab_size")

    @property
    def widths(self) -> list[int]:
        """List the bits of each layer of an elastic program; none of another program."""
        return [] if self._widths is None else [int(bits) or PARENT_BITS for bits in self._widths]

    def set_width(self, bits: int | Sequence[int], keep: bool = False) -> None:
        """Choose the bits of an elastic program's linears, for all that is run from now on.

        Args:
            bits: 2 to 8; or one number for each layer.
            keep: hold the slices of earlier widths in memory, for whoever comes back to them soon.

        Raises:
            ValueError: the program is not elastic, or holds no such width.
        """
        if self._widths is None:
            raise ValueError(
                "the program is not elastic, so its width is fixed: export it with --bits elastic"
            )
        layers = len(self._widths)
        each = [bits] * layers if isinstance(bits, int) else list(bits)
        if len(each) != layers:
            raise ValueError(f"the program has {layers} layers, and {len(each)} widths were given")
        if wrong := [width for width in each if width not in ELASTIC_WIDTHS]:
            raise ValueError(f"an elastic program holds 2 to 8 bits, not {wrong[0]}")
        if not self._running.acquire(blocking=False):
            raise ValueError("the width cannot change while the program runs; change it between tokens")
        try:
            self._widths.copy_(torch.tensor(each, dtype=torch.uint8))
            if not keep:
                forget_slices()
        finally:
            self._running.release()

    def forward(self, tokens: list[int], position: int) -> Tensor:
        """Run the program on tokens from ``position`` on; returns logits [vocab] float32 of the last one.

        Raises:
            ValueError: no tokens, or positions or ids beyond the program's; or the program fails, or its
                logits are NaN, which altered weights can cause.
        """
        return self._run(tokens, position)[-1].clone()  # the runtime reuses its output buffer

    def forward_all(self, tokens: list[int], position: int) -> Tensor:
        """Run the program on tokens; returns logits [T, vocab] float32 behind each of them.

        Raises:
            ValueError: as from ``forward``, or the program gives only the last ones.
        """
        logits = self._run(tokens, position)
        if len(logits) != len(tokens):
            raise ValueError("the program gives the last token's logits only; export it with --all-logits")
        return logits.clone()

    def _run(self, tokens: list[int], position: int) -> Tensor:
        """Run the program; returns the logits [1 or T, vocab] in its own buffer."""
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
            with self._running:
                logits = self._method.execute([torch.tensor([tokens]), torch.tensor([position])])[0]
        except RuntimeError as error:
            raise ValueError(
                f"the program failed at position {position}; the first line above, from ExecuTorch, says why "
                f"({error}); where the file was altered, export it again"
            ) from error
        if logits.shape[-1] != self.vocab_size or logits.numel() // self.vocab_size not in (1, len(tokens)):
            raise ValueError(f"the program's logits are not one for each of {self.vocab_size} tokens")
        if bool(logits.isnan().any()):
            raise ValueError("the program's logits are not numbers (NaN); its weights are broken")
        return logits.reshape(-1, self.vocab_size)

    def _load_method(self, name: str) -> Method:
        if name not in self._program.method_names:
            raise ValueError(f"the program has no method {name}; it was not exported by this project")
        try:
            return self._program.load_method(name)
        except RuntimeError as error:
            raise ValueError(f"the program's method {name} cannot be loaded ({error})") from error

    def _elastic_widths(self) -> Tensor | None:
        """Find the program's own memory of its widths, uint8 [layers]; None if it is not elastic."""
        if self._program.metadata("forward").num_attributes() == 0:
            return None
        return self._method._method.get_attribute(WIDTHS)

    def _constant(self, name: str) -> int:
        try:
            values = self._load_method(name).execute([])
        except RuntimeError as error:
            raise ValueError(f"the program's method {name} fails ({error})") from error
        if len(values) != 1 or type(values[0]) is not int or values[0] < 1:
            raise ValueError(f"the program's method {name} gives no positive integer; export it again")
        return values[0]


def open_program(
    directory: str | Path, threads: int | None = None
) -> tuple[Manifest, Program, Tokenizer | None]:
    """Open an export directory, after checking its manifest and the hashes of its files."""
    directory = Path(directory)
    manifest = read_manifest(directory)
    program = Program(directory / manifest.program.name, threads)
    for name, said, found in (
        ("vocabulary", manifest.config.vocab_size, program.vocab_size),
        ("longest sequence", manifest.max_seq_len, program.max_seq_len),
    ):
        if said != found:
            raise ValueError(
                f"{directory}: the program's {name} is {found}, the manifest says {said}; export it again"
            )
    tokenizer = None if manifest.tokenizer is None else Tokenizer(directory / manifest.tokenizer.name)
    return manifest, program, tokenizer


def chat_template_of(directory: str | Path, manifest: Manifest) -> ChatTemplate:
    """Read the chat template of an export directory whose manifest was read.

    Raises:
        ValueError: the model has none, or it cannot be used.
    """
    if manifest.chat_template is None:
        raise ValueError(
            f"{directory} has no chat template: its model was not made for conversations; leave --chat out"
        )
    text = (Path(directory) / manifest.chat_template.name).read_text(encoding="utf-8")
    return ChatTemplate(text, manifest.markers)


def set_threads(threads: int | None) -> None:
    """Set the size of the process's thread pool; None means every core that the process may use."""
    from executorch.extension.pybindings import _C

    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"--threads must lie in 1..{MAX_THREADS}, not {threads}")
    wanted = threads or len(os.sched_getaffinity(0))
    with native_stderr_held_back():  # at its first use the pool complains about files that only phones have
        if _C._threadpool_get_thread_count() != wanted:
            _C._unsafe_reset_threadpool(wanted)


def _load_checked(path: Path) -> RuntimeProgram:
    """Load a program after the check; ValueError says what is wrong with the file.

    The check and the runtime map the same open file, so that a file put in its place between the two is not
    loaded. A process that writes into the file itself can still change what was checked: the runtime offers
    only a path or a copy of the whole file in memory.
    """
    from executorch.runtime import Runtime

    with path.open("rb") as file:
        try:
            check_program(file, _memory_bytes())
            return Runtime.get().load_program(f"/proc/self/fd/{file.fileno()}")
        except MissingOperators as error:
            raise ValueError(
                f"{path} calls ops this runtime lacks: {error}; load the library that registers them"
            ) from error
        except MemoryError as error:
            raise ValueError(f"there is not enough memory to load {path}") from error
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} is not a program this runtime can load; it may be truncated or altered ({error})"
            ) from error


def _memory_bytes() -> int:
    """Count the machine's memory. The runtime clears all planned buffers at the start, so they must fit."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check_forward(method: MethodMeta) -> None:
    """Raise ValueError unless ``forward`` takes tokens and a position and returns float32 logits."""
    try:
        logits = method.output_tensor_meta(0)
        usable = method.num_inputs() == 2 and logits.dtype() == _FLOAT32 and len(logits.sizes()) in (2, 3)
    except IndexError:  # no output, or no tensor
        usable = False
    if not usable:
        raise ValueError(
            "the program's forward does not take tokens and a position and return float32 logits"
        )
