"""Programs in several threads and processes at once: each gives the logits that it gives alone.

What runs at once is in together.py, in a process of its own: one that hangs ends, and fork meets no threads
of pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.formats import grid_for_bits
from edge.ops import kernel_names
from export import to_pte
from runtime_tests.forked import Server
from runtime_tests.ops.attention_case import supported
from runtime_tests.ops.tables import RUNS_BASE3
from runtime_tests.tiny import save_tiny

#: Large enough that the ops share their work between threads.
SHAPE = {"n_layers": 1, "dim": 576, "n_heads": 9, "n_kv_heads": 3, "head_dim": 64, "ffn_dim": 1536}
UNPACKING = next((name for name in kernel_names() if name not in RUNS_BASE3 and supported(name)), None)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("programs")
    for bits in (1.58, 4):
        model = save_tiny(folder / f"model-{bits}", grid_for_bits(bits), **SHAPE)
        to_pte.main(["--bits", str(bits), "--model", str(model), "--output", str(folder / f"{bits}")])
    return [folder / "1.58", folder / "4"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(["edge.runtime.load", "executorch.runtime"]) as server:
        yield server


@pytest.fixture(params=["selected", UNPACKING or "none"])
def kernel(request: pytest.FixtureRequest) -> dict[str, str]:
    """The kernel of this CPU, and one that keeps ternary tables unpacked, which threads then share."""
    if request.param == "none":
        pytest.skip("this CPU has no kernel that unpacks ternary tables")
    return {} if request.param == "selected" else {"EDGE_FORCE_KERNEL": request.param}


def run(server: Server, script: str, programs: list[Path], **environment: str) -> list[str]:
    [(code, said)] = server.run(["runtime_tests.runtime.together", script, *programs], **environment)
    assert code == 0, said
    return said.split()


def test_two_programs_in_two_threads(server, programs, kernel):
    run(server, "two_programs", programs, **kernel)


def test_one_method_from_two_threads(server, programs):
    run(server, "one_method", programs)


def test_programs_that_open_and_close_beside_one_that_runs(server, programs, kernel):
    run(server, "open_and_close", programs, **kernel)


def test_a_fork_after_loading(server, programs):
    """Tests that the child, which inherits no threads, and the parent both go on."""
    run(server, "fork", programs)


def test_four_readers_of_one_file(server, programs):
    printed = run(server, "four_readers", programs)
    assert len(printed) == 5
    assert len(set(printed)) == 1
