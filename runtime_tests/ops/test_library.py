"""Choosing a kernel, finding the library, and the sentences when that fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge.ops
from edge.ops.library import runner_environment

ROOT = Path(edge.ops.__file__).resolve().parents[2]


# An editable install puts a finder in front of sys.path that leads back to its own tree.
_CWD_FIRST = (
    "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'ScikitBuild' not in type(f).__name__]\n"
)


def python(code: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _CWD_FIRST + code],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_the_portable_kernel_is_always_there():
    assert edge.ops.kernel_names()[-1] == "scalar"
    assert edge.ops.selected_kernel() in edge.ops.kernel_names()


def test_a_forced_kernel_is_the_one_that_runs():
    result = python("import edge.ops; print(edge.ops.selected_kernel())", EDGE_FORCE_KERNEL="scalar")
    assert result.stdout.strip() == "scalar", result.stderr


def test_an_unknown_kernel_is_refused_by_every_use():
    code = """
import torch, edge.ops
from edge.ops.packing import pack_half
packed = pack_half(torch.zeros(1, 4))
for use in (edge.ops.selected_kernel, lambda: torch.ops.lowbit.linear(torch.ones(1, 4), packed, 1)):
    try:
        use()
    except ValueError as error:
        print(error)
"""
    result = python(code, EDGE_FORCE_KERNEL="avx9")
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 2, result.stderr
    assert all("no kernel 'avx9' (EDGE_FORCE_KERNEL)" in line and "scalar" in line for line in lines)


@pytest.fixture
def source_copy(tmp_path: Path) -> Path:
    """A repository whose edge/ may be damaged."""
    ignore = shutil.ignore_patterns("assets", "__pycache__", "lib", "bin")
    shutil.copytree(ROOT / "edge", tmp_path / "edge", ignore=ignore)
    return tmp_path


def test_a_source_tree_uses_the_installed_library(source_copy):
    result = python("import edge.ops; print(edge.ops.__file__, edge.ops.library_path())", cwd=source_copy)
    expected = f"{source_copy}/edge/ops/__init__.py {edge.ops.library_path()}"
    assert result.stdout.strip() == expected, result.stderr


def test_a_library_older_than_the_sources_is_refused(source_copy):
    with open(source_copy / "edge/ops/csrc/core/linear.cc", "a") as source:
        source.write("// changed\n")
    result = python("import edge.ops", cwd=source_copy)
    assert "ImportError" in result.stderr
    assert "built from other sources" in result.stderr
    assert "pip install ." in result.stderr


def test_changed_encodings_need_a_new_table_and_a_new_build(source_copy):
    encodings = source_copy / "edge/formats/encoding.py"
    encodings.write_text(encodings.read_text().replace('"base3", 9, (), 3, 20', '"base3", 9, (), 3, 25'))
    assert "encodings.inc differs from edge/formats" in python("import edge.ops", cwd=source_copy).stderr
    generated = python("import runpy; runpy.run_module('edge.formats', run_name='__main__')", cwd=source_copy)
    assert generated.returncode == 0, generated.stderr
    assert "built from other sources" in python("import edge.ops", cwd=source_copy).stderr


def test_a_missing_library_names_the_cure(source_copy):
    library = source_copy / "edge/ops/library.py"
    library.write_text(library.read_text().replace('"edge-lowbit"', '"edge-not-installed"'))
    result = python("import edge.ops", cwd=source_copy)
    assert 'liblowbit_ops.so has not been built; run "pip install ."' in result.stderr


def test_what_was_built_is_relocatable():
    """No path of the build machine in the library: its search path is relative to itself."""
    for built in (edge.ops.library_path(), edge.ops.runner_path()):
        assert b"$ORIGIN/../lib:$ORIGIN/../../../executorch/lib\0" in built.read_bytes()


def test_runner_environment_points_at_the_wheel():
    first = runner_environment()["LD_LIBRARY_PATH"].split(os.pathsep)[0]
    assert (Path(first) / "libexecutorch.so").is_file()
