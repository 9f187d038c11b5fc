"""The APK that build.py makes, taken apart, and its libraries run without a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from android_demo import build as app_build
from android_demo.parts import bionic, verify
from android_demo.parts.command import PartsError
from android_demo.parts.java import write_dex
from android_demo.parts.native import CPUS, LIBRARIES
from android_demo.parts.package import PAGE_BYTES, identity, package
from edge.files import sha256_of
from edge.latency.devices.tools import read_libraries
from runtime_tests.android_builds import ARM_CORES, LOADER, AndroidNatives, android_command
from runtime_tests.android_demo.conftest import WIDTHS
from runtime_tests.native_builds import made_once, require, run
from runtime_tests.ops import runner_process

PROMPT, COUNT = "1,15,7", 8


@dataclass(frozen=True)
class Built:
    """An APK with one program, and what it was made of."""

    apk: Path
    native: dict[str, Path]
    program: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, android_natives, story_program) -> Built:
    """The APK of build.py's own steps, with the program of 1.58 bits alone."""
    require("keytool", "aapt", "zipalign", "apksigner")
    program, parts = story_program("1.58"), android_natives.parts
    native = {abi: android_natives.build(abi).folder for abi in CPUS}

    def make(folder: Path) -> None:
        dex = write_dex(folder / "java", parts)
        assets = app_build.gather_assets(folder / "assets", parts, [program])
        package(folder / "package", assets, dex, native, folder / "debug.keystore")

    folder = made_once(tmp_path_factory, "app-apk", make)
    return Built(folder / "package" / "signed.apk", native, program)


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory: pytest.TempPathFactory, built: Built, android_natives) -> Path:
    """The APK's files, with what starts its libraries on this computer beside the libraries of each ABI."""

    def unpack(folder: Path) -> None:
        with zipfile.ZipFile(built.apk) as archive:
            archive.extractall(folder)
        for abi in CPUS:
            _compile_starter(android_natives, folder / "lib" / abi, abi)

    return made_once(tmp_path_factory, "app-unpacked", unpack)


def _compile_starter(natives: AndroidNatives, libraries: Path, abi: str) -> None:
    """An executable that starts as Linux's do, and takes the place of a JVM."""
    target = f"{CPUS[abi]}-linux-musl"
    java = Path(str(shutil.which("javac"))).resolve().parents[1] / "include"
    clang = [*natives.clang(abi), "-isystem", java, "-isystem", java / "linux"]
    start = natives.musl(abi) / "usr" / "lib" / target / "Scrt1.o"
    libc = natives.musl(abi) / "lib" / target / "libc.so"
    link = [libraries / "liblowbit_app.so", libc, "-Wl,--allow-shlib-undefined"]
    link += ["-Wl,--dynamic-linker=/system/bin/linker64", "-Wl,-rpath,$ORIGIN"]
    run([*clang, "-fPIE", "-pie", start, LOADER / "no_jvm.c", *link, "-o", libraries / "no_jvm"])


@pytest.fixture
def start(unpacked: Path, android_system: Path):
    """Run the libraries of an ABI under musl's loader and return the lines printed."""

    def started(abi: str, core: str, *words: object) -> list[str]:
        command = android_command(android_system, abi, unpacked / "lib" / abi / "no_jvm", core)
        result = subprocess.run([*command, *map(str, words)], capture_output=True, text=True, timeout=120)
        assert result.returncode in (0, 2), result.stdout + result.stderr
        return result.stdout.splitlines()

    return started


def expected_ids(program: Path) -> list[int]:
    """What lowbit_runner generates on this computer."""
    options = ["--tokens", PROMPT, "--threads", 1, "--max-new-tokens", COUNT]
    return runner_process.ids(runner_process.run("--model", program, *options))


@pytest.mark.parametrize(("abi", "core"), [("x86_64", "this"), *(("arm64-v8a", core) for core in ARM_CORES)])
def test_the_libraries_of_the_apk_give_the_tokens_of_lowbit_runner(start, unpacked, abi, core):
    program = unpacked / "assets" / "programs" / "program" / "model.pte"
    ids, statistics = start(abi, core, program, PROMPT, COUNT, 100)
    assert [int(word) for word in ids.split(",")] == expected_ids(program)
    assert json.loads(statistics)["end"] == "length"


@pytest.mark.parametrize("abi", CPUS)
@pytest.mark.parametrize("variant", [*((bits, "lowbit") for bits in WIDTHS), ("4", "xnnpack-8da4w")])
def test_android_runs_every_program_of_the_family(start, story_program, abi, variant):
    """XNNPACK's program too, though its kernels are another build than the wheel's."""
    program = story_program(*variant) / "model.pte"
    ids, _ = start(abi, ARM_CORES[-1], program, PROMPT, COUNT, 100)
    assert [int(word) for word in ids.split(",")] == expected_ids(program)


@pytest.mark.parametrize("abi", CPUS)
def test_the_libraries_of_the_apk_stop_and_refuse(start, built, abi, tmp_path):
    program = built.program / "model.pte"
    ids, statistics = start(abi, ARM_CORES[-1], program, PROMPT, COUNT, 2)
    assert (len(ids.split(",")), json.loads(statistics)["end"]) == (2, "listener")
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(program.read_bytes()[:100_000])
    (line,) = start(abi, ARM_CORES[-1], damaged, PROMPT, COUNT, 2)
    assert line.startswith(f"'{damaged}' is not a usable ExecuTorch program (")


def test_the_apk_passes_its_own_verification(built):
    verify.verify(built.apk, identity())


def test_the_apk_asks_for_nothing_and_runs_where_it_says(built):
    badging = run(["aapt", "dump", "badging", built.apk])
    assert "uses-permission" not in badging
    assert "sdkVersion:'26'" in badging
    assert "native-code: 'arm64-v8a' 'x86_64'" in badging
    assert "application-debuggable" not in badging
    tree = run(["aapt", "dump", "xmltree", built.apk, "AndroidManifest.xml"])
    assert re.search(r"extractNativeLibs\(\w+\)=\(type 0x12\)0x0", tree)


def test_the_signature_is_of_the_whole_file(built, tmp_path):
    said = run(["apksigner", "verify", "--verbose", "--min-sdk-version", "26", built.apk])
    assert "(APK Signature Scheme v2): true" in said
    assert "(APK Signature Scheme v3): true" in said
    changed = tmp_path / "changed.apk"
    content = bytearray(built.apk.read_bytes())
    content[content.index(b"classes.dex") + 200] ^= 1
    changed.write_bytes(content)
    with pytest.raises(PartsError, match="the signature does not verify"):
        verify.verify(changed, identity())


def test_libraries_lie_on_pages_of_16_kilobytes(built):
    with zipfile.ZipFile(built.apk) as archive, built.apk.open("rb") as file:
        for entry in archive.infolist():
            if not entry.filename.endswith((".so", ".pte")):
                continue
            assert entry.compress_type == zipfile.ZIP_STORED, entry.filename
            file.seek(entry.header_offset + 26)
            name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
            assert (entry.header_offset + 30 + name + extra) % PAGE_BYTES == 0, entry.filename


def test_the_apk_has_the_program_whole_and_the_pages_libraries(built, unpacked):
    folder = unpacked / "assets" / "programs" / "program"
    manifest = json.loads((folder / "manifest.json").read_text())
    for record in (manifest["program"], manifest["tokenizer"]):
        assert sha256_of(folder / record["name"]) == record["sha256"]
    vendor = unpacked / "assets" / "vendor"
    assert {path.name for path in vendor.iterdir()} == {
        "tokenizers.js", "tokenizers.LICENSE", "jinja.js", "jinja.LICENSE",
    }  # fmt: skip


def test_a_phone_is_measured_through_the_libraries_of_the_apk(unpacked, android_tools):
    """The very files, and the record of a report says so."""
    recorded = read_libraries(android_tools)
    assert {library.name for library in recorded} == set(LIBRARIES)
    for library in recorded:
        assert sha256_of(unpacked / "lib" / "arm64-v8a" / library.name) == library.sha256
        assert sha256_of(android_tools / library.name) == library.sha256
    (executorch,) = (library for library in recorded if library.origin)
    assert (executorch.name, executorch.origin) == ("libexecutorch_jni.so", "react-native-executorch 0.9.3")


@pytest.mark.parametrize("abi", CPUS)
def test_our_library_exports_jni_and_the_runner_and_needs_what_android_26_has(built, abi):
    library = built.native[abi] / "liblowbit_app.so"
    exported = verify.symbols(library, defined=True)
    assert {name for name in exported if name.startswith(("Java_", "JNI_"))} == {
        "JNI_OnLoad",
        *(f"Java_org_lowbit_demo_core_Native_{name}" for name in
          ("open", "close", "describe", "setWidths", "generate", "benchmark", "memory")),
    }  # fmt: skip
    assert "lowbit_runner_main" in exported
    assert not [name for name in exported if name.startswith("edge_")]
    dynamic = run(["readelf", "-dW", library])
    assert "RUNPATH" not in dynamic  # nor any path of this computer
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert set(needed) <= {"libc.so", "libm.so", "libdl.so", "libexecutorch_jni.so"}


def test_bionics_names_come_from_libraries_that_the_ndk_linked(built):
    executorch = built.native["arm64-v8a"] / "libexecutorch_jni.so"
    assert bionic.api_level(executorch) == 26
    assert {"malloc", "pthread_create", "__errno"} <= bionic.names([executorch])["libc.so"]
    assert "__errno_location" not in bionic.names([executorch])["libc.so"]
    with pytest.raises(PartsError, match="was not linked by the NDK"):
        bionic.names([built.native["arm64-v8a"] / "liblowbit_app.so"])


def test_a_library_that_needs_more_than_android_has_is_refused(android_natives, built):
    paths = [built.native["x86_64"] / name for name in LIBRARIES]
    known = android_natives.bionic_names()
    verify.check_libraries("x86_64", paths, known)
    with pytest.raises(PartsError, match=r"liblowbit_app.so \(x86_64\) needs what Android 26 lacks: .*fgets"):
        verify.check_libraries("x86_64", paths, known - {"fgets"})
