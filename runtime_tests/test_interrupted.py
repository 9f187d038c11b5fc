"""Commands that a kill or a full disk interrupts at any call that changes files lose nothing and can go on.

A few points a run; EDGE_FAULT_POINTS=200 tries more, and all tries every one (see ``faults.py``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.checkpoints.hugging_face import load_checkpoint
from edge.checkpoints.packed import open_model
from edge.formats import grid_for_bits
from edge.latency.schema import read_report
from edge.runtime.manifest import read_manifest
from runtime_tests.faults import Command, Interrupted, shim
from runtime_tests.forked import Server
from runtime_tests.tiny import save_tiny

#: Every process has a limit of its own, and EDGE_FAULT_POINTS may ask for many.
pytestmark = pytest.mark.timeout(0)


COMMANDS = ("export.to_pte", "edge.checkpoints.__main__", "edge.training.train", "edge.latency.__main__")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Starts commands with ``fault.c`` preloaded."""
    with Server(COMMANDS, LD_PRELOAD=str(shim(tmp_path_factory))) as server:
        yield server


def forked(server: Server, *command: object) -> Command:
    return lambda variables: server.run(command, **variables)[0]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def made_anew(folder: Path, earlier: Path | None) -> Callable[[], None]:
    """Prepare a folder that holds an earlier output, or nothing."""

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if earlier is not None:
            shutil.copytree(earlier, folder / "out")

    return prepare


def test_export_over_an_earlier_one(tmp_path: Path, server: Server) -> None:
    """Tests that the earlier program or the new one is there at every moment, with its own manifest."""
    two, four = (save_tiny(tmp_path / f"{bits}", grid_for_bits(bits), n_layers=1) for bits in (2, 4))
    folder = tmp_path / "folder"
    export = ("export.to_pte", "--bits", 4, "--model", four, "--output", tmp_path / "earlier")
    assert server.run(export)[0][0] == 0

    def check() -> None:
        assert read_manifest(folder / "out").bits in (2, 4)  # refuses what is not whole

    command = forked(server, "export.to_pte", "--bits", 2, "--model", two, "--output", folder / "out")
    prepare = made_anew(folder, tmp_path / "earlier")
    Interrupted(command, folder, prepare, check, lambda: tree(folder)).survives(2)


def test_two_exports_at_once(tmp_path: Path, server: Server) -> None:
    """Tests that one is refused, or comes later, and that the manifest is of one that ended well."""
    models = {bits: save_tiny(tmp_path / f"{bits}", grid_for_bits(bits), n_layers=1) for bits in (2, 4)}
    output = ("--output", tmp_path / "folder/out")
    exports = [("export.to_pte", "--bits", bits, "--model", models[bits], *output) for bits in models]
    ended = dict(zip(models, server.run(*exports), strict=True))
    ended_well = [bits for bits, (code, _) in ended.items() if code == 0]
    assert read_manifest(tmp_path / "folder/out").bits in ended_well
    for bits in {2, 4} - set(ended_well):
        code, printed = ended[bits]
        assert code == 2
        assert "another process is writing" in printed
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["out"]


def test_packing_a_checkpoint(tmp_path: Path, server: Server) -> None:
    model, folder = save_tiny(tmp_path / "model", grid_for_bits(3), n_layers=1), tmp_path / "folder"

    def check() -> None:
        if (folder / "out").exists():
            open_model(folder / "out")  # refuses what is not whole

    command = forked(server, "edge.checkpoints", "--model", model, "--output", folder / "out")
    prepare = made_anew(folder, None)
    Interrupted(command, folder, prepare, check, lambda: tree(folder)).survives(2)


def test_training(full: Path, text: Path, tmp_path: Path, server: Server) -> None:
    """Tests that a run which was interrupted anywhere ends with the weights of one that was not."""
    folder = tmp_path / "folder"
    data = ("--data", f"{text}:{24 * 17}", "--eval-data", f"{text}:200", "--data-cache", folder / "tokens")
    flags = ("--context=16", "--batch-size=4", "--steps=6", "--save-steps=2", "--bits=2", "--use_cpu=True")
    command = forked(server, "edge.training", "--model", full, "--output", folder / "out", *data, *flags)

    def result() -> dict[str, bytes]:
        kept = {name: content for name, content in tree(folder).items() if ".writing/" not in name}
        return {name: content for name, content in kept.items() if name.startswith(("out/", "tokens/"))}

    def check() -> None:
        if (folder / "out").exists():
            load_checkpoint(folder / "out")

    prepare = made_anew(folder, None)
    Interrupted(command, folder, prepare, check, result).survives(2)


def test_latency(tmp_path: Path, server: Server) -> None:
    """Tests that no page is half written, and that the same command completes what was measured."""
    model, folder = save_tiny(tmp_path / "model", grid_for_bits(2), n_layers=1), tmp_path / "folder"
    export = ("export.to_pte", "--bits", 2, "--model", model, "--output", tmp_path / "program")
    assert server.run(export)[0][0] == 0

    def check() -> None:
        out = folder / "out"
        assert not (out / "report.json").exists() or read_report(out / "report.json").programs
        page = out / "report.html"
        assert not page.exists() or page.read_text().rstrip().endswith("</html>")

    def result() -> tuple[list[str], bool]:
        check()
        kept = sorted(p.name for p in (folder / "out").iterdir() if not p.name.endswith(".writing"))
        return kept, read_report(folder / "out/report.json").finished

    short = ("--prompts=4", "--contexts=8", "--generated=2", "--rounds=2", "--opponents=none")
    command = forked(server, "edge.latency", tmp_path / "program", "--output", folder / "out", *short)
    prepare, complete = made_anew(folder, None), "is a finished report"
    Interrupted(command, folder, prepare, check, result, complete).survives(2)
