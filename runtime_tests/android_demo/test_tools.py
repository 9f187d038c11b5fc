"""The tools for a phone's shell: executables of Android that run through the app's libraries."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from android_demo.parts import verify
from android_demo.parts.native import CPUS, LIBRARIES, TOOLS
from runtime_tests.android_builds import AndroidNatives, android_command
from runtime_tests.native_builds import run
from runtime_tests.ops import runner_process

GREEDY = ("--tokens", "3,14,15,9,2", "--max-new-tokens", "8", "--threads", "1")
SPEED = ("--benchmark", "--prompt-length", "4", "--generate", "2", "--runs", "1", "--threads", "2")
BUILT = [(abi, tool) for abi in CPUS for tool in TOOLS]


@pytest.mark.parametrize(("abi", "tool"), BUILT, ids=lambda value: getattr(value, "name", value))
def test_an_executable_is_one_that_android_26_starts(android_natives, abi, tool):
    path = android_natives.build(abi).folder / tool
    headers, dynamic = run(["readelf", "-hlW", path]), run(["readelf", "-dW", path])
    assert "[Requesting program interpreter: /system/bin/linker64]" in headers
    assert re.search(r"Type: +DYN", headers)  # Android starts no other since API 21
    assert "Library runpath: [$ORIGIN]" in dynamic
    assert "TEXTREL" not in dynamic
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    own = set(LIBRARIES) if tool.name == "lowbit_runner" else set(LIBRARIES) - {"liblowbit_app.so"}
    assert set(needed) == {*own, "libc.so", "libm.so", "libdl.so"}


@pytest.mark.parametrize("abi", CPUS)
def test_the_executables_need_no_name_that_android_26_lacks(android_natives, abi):
    folder = android_natives.build(abi).folder
    paths = [folder / name for name in (*LIBRARIES, *TOOLS)]
    known = android_natives.bionic_names()
    verify.check_libraries(abi, paths, known)
    with pytest.raises(verify.PartsError, match=r"lowbit_runner \(.*lacks: \{'__libc_init'\}"):
        verify.check_libraries(abi, paths, known - {"__libc_init"})


def start(
    natives: AndroidNatives, system: Path, abi: str, *words: object
) -> subprocess.CompletedProcess[str]:
    command = android_command(system, abi, natives.build(abi).folder / "lowbit_runner")
    return subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("abi", CPUS)
def test_it_gives_the_bits_of_the_runner_on_linux(
    android_natives, android_system, tiny_program, tmp_path, abi
):
    arguments = ("--model", tiny_program, *GREEDY, "--logits")
    expected = runner_process.run(*arguments, tmp_path / "linux")
    result = start(android_natives, android_system, abi, *arguments, tmp_path / "android")
    assert result.returncode == 0, result.stderr
    assert runner_process.ids(result) == runner_process.ids(expected)
    assert (tmp_path / "android").read_bytes() == (tmp_path / "linux").read_bytes()


def shape(value: object) -> object:
    """Keys and types of a JSON value, without its figures, of which any may be whole."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return float if type(value) is int else type(value)


@pytest.mark.parametrize("abi", CPUS)
def test_its_benchmark_has_the_schema_of_the_runner_on_linux(
    android_natives, android_system, tiny_program, abi
):
    expected = json.loads(runner_process.run("--model", tiny_program, *SPEED).stdout)
    result = start(android_natives, android_system, abi, "--model", tiny_program, *SPEED)
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert shape(measured) == shape(expected)
    assert (measured["model_bytes"], measured["threads"]) == (tiny_program.stat().st_size, 2)
    assert measured["kernel"] == ("i8mm" if abi == "arm64-v8a" else expected["kernel"])


@pytest.mark.parametrize("abi", CPUS)
def test_what_it_cannot_do_is_one_sentence(android_natives, android_system, tiny_program, tmp_path, abi):
    trace = tmp_path / "trace"
    result = start(android_natives, android_system, abi, "--model", tiny_program, *SPEED, "--etdump", trace)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == (
        "lowbit_runner: --etdump needs a tracer, which ExecuTorch has on Linux and not here: leave it out"
    )
    assert not trace.exists()
    result = start(android_natives, android_system, abi, "--model", tmp_path / "lost.pte", *SPEED)
    assert result.returncode == 2
    assert "cannot read the program" in result.stderr.splitlines()[-1]
