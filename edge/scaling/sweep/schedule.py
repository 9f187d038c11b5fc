"""Run the tasks of a sweep on several processes, cheap ones first, each after the one it starts from."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from edge.files import write_text
from edge.scaling.records import Record, append_record
from edge.scaling.sweep.run import Room, run
from edge.scaling.sweep.tasks import PostTask, Task, TrainTask

#: PR_SET_PDEATHSIG of prctl(2).
_SIGNAL_OF_PARENTS_DEATH = 1


def _end_with_parent() -> None:
    """Let a worker be killed when the sweep ends, however that ends; its run goes on from a checkpoint."""
    ctypes.CDLL(None).prctl(_SIGNAL_OF_PARENTS_DEATH, signal.SIGKILL)


def processes(workers: int) -> ProcessPoolExecutor:
    """Start processes that have all modules and one thread each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run.__module__])
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(workers, context, initializer=_end_with_parent)


class Sweep:
    """What is done, what failed, and what is left.

    Args:
        tasks: parents before what starts from them.
        seconds: predicted for each task.
        done: keys of the tasks that are recorded.
        records: the file that records are appended to.
    """

    def __init__(
        self,
        room: Room,
        tasks: Sequence[Task],
        seconds: dict[Task, float],
        done: set[str],
        records: Path,
    ) -> None:
        self.room, self.seconds, self.done, self.records = room, seconds, done, records
        self.failures: dict[Task, str] = {}
        left = [task for task in tasks if not self._is_done(task) or self._is_needed(task, tasks)]
        self.waiting = sorted(left, key=self._rank)
        self.total = sum(self.seconds[task] for task in self.waiting)
        self.measured = self.predicted = 0.0
        self.ended = 0

    def go(self, pool: Executor, workers: int, until: float, say: Callable[[str], None]) -> None:
        """Run what is left, ``workers`` at a time; start nothing that would not end before ``until``.

        Args:
            until: of ``time.monotonic()``.
        """
        running: dict[Future[Record], Task] = {}
        try:
            while True:
                while len(running) < workers and (task := self._next(set(running.values()), until)):
                    running[pool.submit(run, task, self.room)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._end(running.pop(future), future, say)
        except BrokenProcessPool as error:
            raise ValueError(
                "a run's process was killed, perhaps for want of memory; go on with fewer --workers"
            ) from error

    @property
    def pace(self) -> float:
        """Measured seconds for each predicted one, so far."""
        return self.measured / self.predicted if self.predicted else 1.0

    def _is_done(self, task: Task) -> bool:
        return task.key(self.room.text) in self.done

    def _is_needed(self, task: Task, tasks: Sequence[Task]) -> bool:
        """Whether a recorded model was removed, and something still starts from it."""
        if not isinstance(task, TrainTask) or self.room.is_trained(task):
            return False
        return any(other.parent == task and not self._is_done(other) for other in tasks)

    def _rank(self, task: Task) -> float:
        """Sort by cost; a quantisation has the cost of its model, and so comes right after it."""
        return self.seconds[task.parent] if isinstance(task, PostTask) else self.seconds[task]

    def _next(self, running: set[Task], until: float) -> Task | None:
        blocked = running | set(self.waiting)
        for task in self.waiting:
            if task.parent in self.failures:
                self._leave_out(task)
            elif task.parent not in blocked and time.monotonic() + self.pace * self.seconds[task] <= until:
                self.waiting.remove(task)
                return task
        self.waiting = [task for task in self.waiting if task not in self.failures]
        return None

    def _leave_out(self, task: Task) -> None:
        if task not in self.failures:
            self.failures[task] = "what it starts from failed"
            self.total -= self.seconds[task]
            self.ended += 1

    def _end(self, task: Task, future: Future[Record], say: Callable[[str], None]) -> None:
        self.total -= self.seconds[task]
        self.ended += 1
        failed = self.room.directory / "failed" / f"{task.name}.txt"
        try:
            record = future.result()
        except ValueError as error:  # the run diverged: what it says is of use, and the others go on
            self.failures[task] = str(error)
            write_text(failed, f"{error}\n")
            say(f"failed: {task.title}: {error}")
            return
        failed.unlink(missing_ok=True)
        self.measured += record.seconds
        self.predicted += self.seconds[task]
        if not self._is_done(task):
            append_record(self.records, record)
            self.done.add(record.key)
        say(f"{task.title}: loss {record.loss:.4f}, {record.seconds:.0f} s")
