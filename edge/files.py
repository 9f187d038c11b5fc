"""Hash files, and write them so that each is whole or unchanged, whoever else writes and wherever it ends.

What is written is prepared in a hidden directory beside its target, ``.NAME.writing``, and then takes the
target's place in one step. One process at a time holds that directory, by a lock on a file in it. A process
that was killed leaves it behind; the next one that writes the same target clears it.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from safetensors import SafetensorError

_ROOM = ".{}.writing"
#: In that directory: the lock, what is being written, what it replaces.
_LOCK, _NEW, _OLD = "lock", "new", "old"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def sha256_of(path: Path) -> str:
    """Hash a file's content: SHA-256 as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file as ``staged_file`` does."""
    with staged_file(path) as staged:
        staged.write_text(text, encoding="utf-8")


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Give a block a path to write, which takes the place of ``path`` at its end, or not at all.

    A link stays one, and what it points to is written. A device, a pipe, or the file that this process
    prints to cannot be replaced: what was written is appended to it.

    Raises:
        OSError: it cannot be written (permissions, disk full).
    """
    if _is_stream(path):
        with TemporaryDirectory() as room:
            yield (staged := Path(room) / path.name)
            with staged.open("rb") as written, path.open("ab") as stream:
                shutil.copyfileobj(written, stream)
        return
    try:
        with only_writer(path, wait=True) as writer:
            yield writer.staged
            if writer.target.exists():
                shutil.copymode(writer.target, writer.staged)
            writer.staged.replace(writer.target)
    except OSError as error:
        if error.errno is None or (error.filename is not None and ".writing" not in str(error.filename)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # not the hidden directory's name


@contextmanager
def replace_directory(directory: Path, wait: bool = True) -> Iterator[Path]:
    """Give a block a new directory to fill, which takes the place of ``directory`` at its end, or not at all.

    Args:
        wait: wait for another process that writes it, instead of raising an error.

    Raises:
        ValueError: it cannot be written (permissions, disk full), or another process writes it.
    """
    try:
        with only_writer(directory, wait) as writer:
            writer.staged.mkdir()
            yield writer.staged
            writer.swap_directories()
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{directory} could not be written ({reason}); what was there is unchanged"
        ) from error


@contextmanager
def only_writer(path: Path, wait: bool = False) -> Iterator[Writer]:
    """Let a block be the only one, of all processes, that writes ``path``.

    Args:
        wait: wait for another process that writes it, instead of raising an error.

    Raises:
        ValueError: another process writes it.
    """
    writer = Writer(Path(os.path.realpath(path)))
    made = [parent for parent in writer.target.parents if not parent.exists()]
    writer.target.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(writer.room, wait)
    if lock is None:
        raise ValueError(f"another process is writing {path}; wait for its end, or choose another output")
    try:
        writer.clear()
        writer.staged.parent.mkdir()
        yield writer
    finally:
        writer.clear()
        (writer.room / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # another process may already hold it
            writer.room.rmdir()
        fcntl.flock(lock, fcntl.LOCK_UN)  # also where a forked process still has it open
        lock.close()
        with suppress(OSError):  # no empty directories where nothing was written
            for parent in made:
                parent.rmdir()


class Writer:
    """Hold the paths that the only writer of ``target`` uses, and put in place what it wrote.

    Attributes:
        target: without links.
        room: the hidden directory beside it.
        staged: path in the room, of the target's name, for what will replace it.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.room = target.with_name(_ROOM.format(target.name))
        self.staged = self.room / _NEW / target.name

    def clear(self) -> None:
        """Make the room empty again, and undo an unfinished ``swap_directories``."""
        old = self.room / _OLD
        if old.exists() and not self.target.exists():
            old.rename(self.target)
        for part in (old, self.room / _NEW):
            shutil.rmtree(part, ignore_errors=True)

    def swap_directories(self) -> None:
        """Put the staged directory in the target's place."""
        if not self.target.exists():
            self.staged.rename(self.target)
        elif not _exchange(self.staged, self.target):
            # A kill between these two is undone by the next writer.
            self.target.rename(self.room / _OLD)
            self.staged.rename(self.target)


def _acquire(room: Path, wait: bool) -> IO[str] | None:
    """Make and lock a writer's room; None if another process holds it. The system frees a dead one's lock."""
    while True:
        with suppress(FileExistsError):
            room.mkdir()
        try:
            found = os.listdir(room)
            if found and _LOCK not in found:
                raise ValueError(f"{room} is in the way and not of this project; move it elsewhere")
            lock = (room / _LOCK).open("a")
        except FileNotFoundError:  # its holder has just removed it
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                lock.close()
                return None
            print(f"waiting for another process that writes {room.parent}", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), (room / _LOCK).stat()):
                return lock
        lock.close()  # that of a room which its holder has removed


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two paths in one step; False where the system or the file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE) == 0


def _is_stream(path: Path) -> bool:
    """Tell whether a path is a device, a pipe, or the file that stdout or stderr goes to."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        return not stat.S_ISDIR(found.st_mode)
    return any(os.path.samestat(found, printed) for printed in map(os.fstat, _open_of(1, 2)))


def _open_of(*descriptors: int) -> Iterator[int]:
    for descriptor in descriptors:
        with suppress(OSError):
            os.fstat(descriptor)
            yield descriptor
