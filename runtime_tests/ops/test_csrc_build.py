"""The C++ build: without Python, inside another project, with GCC and with Clang and libc++."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch

import edge.ops
from edge.formats.encoding import cpp_table
from edge.ops import source_hash as hashing
from edge.ops.library import kernel_check_path
from edge.ops.native import rms_norm
from edge.ops.source_hash import source_hash
from runtime_tests.native_builds import (
    CSRC,
    compile_target,
    configure,
    find_clang,
    made_once,
    require,
    run,
)

HERE = Path(__file__).parent
BINUTILS = ("c++", "as", "ld", "ar", "ranlib", "nm", "sh", "uname")


@pytest.fixture(scope="session")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of ``consumer``, built with the default compiler where no Python can be found.

    At -O1, which is fast and inlines less than -O3: a function that stays out of line shows as a symbol.
    """
    require(*BINUTILS)

    def make(folder: Path) -> None:
        (folder / "path").mkdir()
        for tool in BINUTILS:
            (folder / "path" / tool).symlink_to(str(shutil.which(tool)))
        environment = {**os.environ, "PATH": str(folder / "path")}
        options = [f"-DCSRC={CSRC}", "-DEDGE_CORE_ONLY=ON", "-DCMAKE_BUILD_TYPE=Debug"]
        configure(
            HERE / "consumer", folder / "build", *options, "-DCMAKE_CXX_FLAGS_DEBUG=-O1", env=environment
        )
        (folder / "log").write_text(compile_target(folder / "build", "consumer", env=environment))

    return made_once(tmp_path_factory, "consumer", make)


@pytest.fixture(scope="session")
def clang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core and lowbit_kernel_check, built with Clang and libc++."""
    compiler = find_clang()
    if compiler is None:
        pytest.skip("Clang is missing: apt-get install clang-19 libc++-19-dev libc++abi-19-dev")

    def make(folder: Path) -> None:
        options = [
            f"-DCMAKE_CXX_COMPILER={compiler}",
            "-DCMAKE_CXX_FLAGS=-stdlib=libc++",
            "-DEDGE_CORE_ONLY=ON",
        ]
        configure(CSRC, folder / "build", *options)
        (folder / "log").write_text(compile_target(folder / "build", "lowbit_kernel_check"))

    return made_once(tmp_path_factory, "clang", make)


def test_the_checked_in_table_of_formats_is_the_generated_one():
    assert (CSRC / "core" / "encodings.inc").read_text() == cpp_table()


def test_another_project_adds_the_core_without_python(consumer):
    names, selected, normed, built_from = run([consumer / "build" / "consumer"]).splitlines()
    assert names.split(",") == edge.ops.kernel_names()
    assert selected == edge.ops.selected_kernel()
    y = rms_norm(torch.tensor([[3.0, 4.0]]), torch.tensor([1.0, 2.0]), 0.0)
    assert [float.fromhex(value) for value in normed.split()] == y[0].tolist()
    assert built_from == source_hash()
    assert "file(INSTALL" not in (consumer / "build" / "edge" / "cmake_install.cmake").read_text()


def test_clang_and_gcc_give_the_same_bits(clang):
    """The digests are of every compared value, so both compilers computed the same numbers."""
    arguments = ["--rounds", "5"]
    by_clang = run([clang / "build" / "lowbit_kernel_check", *arguments])
    assert "digest" in by_clang
    assert by_clang == run([kernel_check_path(), *arguments])


@pytest.mark.parametrize("build", ["consumer", "clang"])
def test_no_compiler_warns(build, request):
    assert "warning" not in (request.getfixturevalue(build) / "log").read_text()


@pytest.mark.parametrize("build", ["consumer", "clang"])
def test_kernel_objects_define_nothing_that_the_linker_may_share(build, request):
    """An inline function compiled for AVX-512 in one file must not replace the plain copy of another file."""
    require("nm", "readelf")
    objects = sorted(request.getfixturevalue(build).glob("build/**/kernels/**/*.o"))
    assert len(objects) == len(edge.ops.kernel_names())
    for path in objects:
        symbols = re.findall(r"^\S+ ([A-Z]|u) (\S+)$", run(["nm", "--defined-only", path]), re.MULTILINE)
        assert symbols, path
        assert [name for kind, name in symbols if kind in "VWu"] == [], path
        assert "COMDAT" not in run(["readelf", "--section-groups", path])


def test_any_changed_source_changes_the_hash_of_the_build(tmp_path, monkeypatch):
    csrc, build = tmp_path / "csrc", tmp_path / "build"
    shutil.copytree(CSRC, csrc)
    monkeypatch.setattr(hashing, "_CSRC", csrc)
    configure(csrc, build, "-DEDGE_CORE_ONLY=ON")

    def hash_of_build() -> str:
        compile_target(build, "generated/source_hash.inc")
        return (build / "generated" / "source_hash.inc").read_text().split('"')[1]

    seen = [hash_of_build()]
    for name in ("core/linear.cc", "core/encodings.inc", "kernels/new.h", "cmake/kernels.cmake"):
        time.sleep(0.05)  # ninja sees a change only in a later tick of the file system's clock
        with open(csrc / name, "a") as source:
            source.write("\n")
        seen.append(hash_of_build())
        assert seen[-1] == source_hash()
    assert len(set(seen)) == len(seen)


def test_a_build_folder_among_the_sources_is_refused(tmp_path):
    require("cmake", "ninja")
    shutil.copytree(CSRC, tmp_path / "csrc")
    with pytest.raises(AssertionError, match="Choose a build folder outside"):
        configure(tmp_path / "csrc", tmp_path / "csrc" / "build", "-DEDGE_CORE_ONLY=ON")
