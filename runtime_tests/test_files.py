"""Files are whole or unchanged: links, devices, two writers at once, full disks, and a kill at every step."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge import files
from edge.files import only_writer, replace_directory, write_text
from runtime_tests.faults import Interrupted, preloaded, shim


def tree(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_link_stays_one_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/real.txt").write_text("old")
    for name, to in (("link", "data/real.txt"), ("dangling", "data/new.txt")):
        (tmp_path / name).symlink_to(to)
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / to).read_text() == "new"
    assert names(tmp_path / "data") == ["new.txt", "real.txt"]


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", "some figures\n")
    reader.join()
    assert read == ["some figures\n"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_device_is_written_and_not_replaced(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.write_text("")
    except PermissionError:
        null = Path(os.devnull)  # only root makes devices, and only root could replace this one
    write_text(null, "some figures\n")
    assert stat.S_ISCHR(null.stat().st_mode)
    with pytest.raises(OSError, match="No space left"):
        write_text(Path("/dev/full"), "some figures\n")


def test_the_file_that_stdout_goes_to_keeps_what_was_printed(tmp_path: Path) -> None:
    code = "from edge.files import write_text; from pathlib import Path; print('before', flush=True); "
    code += "write_text(Path('/dev/stdout'), 'written\\n'); print('after')"
    with (tmp_path / "out.txt").open("a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\nwritten\nafter\n"


def test_a_replaced_file_keeps_its_mode_and_a_new_one_gets_the_usual(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    (tmp_path / "private").touch(0o600)
    for name in ("private", "new"):
        write_text(tmp_path / name, "text")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes["private"] == 0o600
    assert modes["new"] == modes["usual"]


@pytest.mark.parametrize("name", ["foo.partial", "foo.replaced", ".foo.partial"])
def test_what_lies_beside_is_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.tex").write_text("years of work")
    for _ in range(2):
        with replace_directory(tmp_path / "foo") as directory:
            (directory / "file").touch()
    assert (tmp_path / name / "thesis.tex").read_text() == "years of work"
    assert names(tmp_path) == sorted([name, "foo"])


def test_a_foreign_directory_of_the_needed_name_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / ".foo.writing").mkdir()
    (tmp_path / ".foo.writing/thesis.tex").touch()
    with pytest.raises(ValueError, match=r"\.foo\.writing is in the way and not of this project; move it"):
        write_text(tmp_path / "foo", "text")
    assert tree(tmp_path) == {".foo.writing/thesis.tex": b""}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a/b/foo"):
        second = replace_directory(tmp_path / "a/b/foo", wait=False)
        with pytest.raises(ValueError, match="another process is writing"), second:
            pass
        write_text(tmp_path / "a/b/bar", "text")
    write_text(tmp_path / "a/b/foo", "text")
    assert names(tmp_path / "a/b") == ["bar", "foo"]


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replace_directory(tmp_path / "a/b/foo"):
        raise KeyError
    assert names(tmp_path) == []


WRITERS = """
import sys
from pathlib import Path
from edge.files import replace_directory, write_text
for turn in range(60):
    with replace_directory(Path(sys.argv[1]) / "directory") as directory:
        for name in "abc":
            (directory / name).write_text(f"{sys.argv[2]} {turn}")
    write_text(Path(sys.argv[1]) / "file", f"{sys.argv[2]} {turn}" * 10000)
"""


def test_writers_and_readers_at_once(tmp_path: Path) -> None:
    """Tests that a reader finds one writer's directory, whole, at every moment."""
    with replace_directory(tmp_path / "directory") as directory:
        for name in "abc":
            (directory / name).write_text("first")
    command = [sys.executable, "-c", WRITERS, str(tmp_path)]
    writers = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in ("one", "two", "six")]
    while any(writer.poll() is None for writer in writers):
        opened = os.open(tmp_path / "directory", os.O_RDONLY)  # there is always one
        os.close(opened)
        if (tmp_path / "file").exists():
            text = (tmp_path / "file").read_text()
            assert text == text[: len(text) // 10000] * 10000
    printed = [writer.communicate()[1].decode() for writer in writers]
    assert not [text for text in printed if "Traceback" in text]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    found = set(tree(tmp_path / "directory").values())
    assert len(found) == 1
    assert found < {b"one 59", b"two 59", b"six 59"}
    assert names(tmp_path) == ["directory", "file"]


WRITER = """
import sys
from pathlib import Path
from edge import files
from edge.cli import main_guard
files._exchange = files._exchange if sys.argv[2] == "exchange" else lambda a, b: False
def main():
    with files.replace_directory(Path(sys.argv[1]) / "directory") as directory:
        (directory / "a").write_text("new a")
        (directory / "b").write_text("new b")
    files.write_text(Path(sys.argv[1]) / "file", "new file")
    return 0
main_guard(main)
"""


@pytest.mark.parametrize("earlier", [True, False], ids=["over an earlier one", "new"])
@pytest.mark.parametrize("way", ["exchange", "rename twice"])
def test_a_kill_or_a_full_disk_at_every_call(
    way: str, earlier: bool, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file system without exchange may hold the earlier directory elsewhere until the next run."""
    folder = tmp_path / "folder"
    new = {"directory/a": b"new a", "directory/b": b"new b", "file": b"new file"}
    old = {"directory/a": b"old a", "directory/z": b"old z", "file": b"old file"} if earlier else {}

    def prepare() -> None:
        files.shutil.rmtree(folder, ignore_errors=True)
        for name, content in old.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def check() -> None:
        there = {name: content for name, content in tree(folder).items() if ".writing" not in name}
        for part in ("directory", "file"):
            found = {name: content for name, content in there.items() if name.startswith(part)}
            wanted = [{n: c for n, c in whole.items() if n.startswith(part)} for whole in (old, new)]
            assert found in wanted or (part == "directory" and way != "exchange" and found == {})

    command = preloaded(shim(tmp_path_factory), [sys.executable, "-c", WRITER, folder, way])
    Interrupted(command, folder, prepare, check, lambda: tree(folder)).survives(points=8)
