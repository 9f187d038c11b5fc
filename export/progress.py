"""Show how far an export is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from edge.model.config import ModelConfig


class Steps:
    """The steps of an export, each a line with a bar on the console; without a console they are not shown.

    A context manager: the lines go at its end.
    """

    def __init__(self, config: ModelConfig, console: Console | None = None) -> None:
        self._weights, self._layers = config.parameters, config.n_layers
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        shown = console is not None and console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True, disable=not shown)

    def __enter__(self) -> Steps:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, words: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """A step of so many parts, or of unknown length; gives the function that counts parts done."""
        task = self._progress.add_task(words, total=total)
        yield lambda parts: self._progress.advance(task, parts)
        self._progress.update(task, total=1, completed=1)

    @contextmanager
    def weights(self, words: str) -> Iterator[Callable[[int], None]]:
        """A step that counts the model's weights."""
        with self.step(words, self._weights) as advance:
            yield advance

    @contextmanager
    def layers(self, words: str) -> Iterator[Callable[[], None]]:
        """A step that counts the model's layers."""
        with self.step(words, self._layers) as advance:
            yield lambda: advance(1)
