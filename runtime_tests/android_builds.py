"""The app's native build for Android, made once per run of pytest, and what runs it without a phone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from android_demo.parts import bionic
from android_demo.parts.command import PartsError
from android_demo.parts.debian import ARCHITECTURES, musl
from android_demo.parts.native import CPUS, NativeBuild, llvm_root
from android_demo.parts.npm import node_modules
from runtime_tests.native_builds import made_once, require, run

LOADER = Path(__file__).parent / "android_demo" / "loader"
EMULATOR = "qemu-aarch64"
#: Cores that qemu knows, one for each of our kernels: neon, dotprod, i8mm.
ARM_CORES = ("cortex-a53", "neoverse-n1", "max")


@dataclass(frozen=True)
class AndroidNatives:
    """The builds of both ABIs below ``cache``."""

    cache: Path
    parts: Path

    def build(self, abi: str) -> NativeBuild:
        return NativeBuild(self.cache, self.parts, abi)

    def bionic_names(self) -> set[str]:
        """All that the libraries of Android 26 have, as far as it is known here."""
        libraries = (self.build(abi).folder / "libexecutorch_jni.so" for abi in CPUS)
        return set().union(*bionic.names(libraries).values())

    def clang(self, abi: str) -> list[object]:
        """The compiler of an ABI with musl's headers."""
        cpu, llvm = CPUS[abi], llvm_root()
        include = self.musl(abi) / "usr" / "include" / f"{cpu}-linux-musl"
        target = [llvm / "bin" / "clang", f"--target={cpu}-linux-musl", "-nostdlibinc", "-isystem", include]
        return [*target, "-fuse-ld=lld", "-nostdlib", "-Wall", "-Wextra", "-Werror"]

    def musl(self, abi: str) -> Path:
        return musl(self.cache) / ARCHITECTURES[abi]


@pytest.fixture(scope="session")
def npm_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node_modules folder of the parts that the app takes from npm."""
    require("npm")

    def fetch(folder: Path) -> None:
        try:
            node_modules(folder)
        except PartsError as error:
            pytest.skip(str(error))

    return node_modules(made_once(tmp_path_factory, "app-npm", fetch))


@pytest.fixture(scope="session")
def android_natives(tmp_path_factory: pytest.TempPathFactory, npm_parts: Path) -> AndroidNatives:
    """The app's libraries and tools for both ABIs. Do not change them."""
    require("javac", "apt-get", "dpkg-deb", "cmake", "ninja")
    try:
        llvm_root()
    except PartsError as error:
        pytest.skip(str(error))

    def make(cache: Path) -> None:
        for abi in CPUS:
            NativeBuild(cache, npm_parts, abi).build()

    return AndroidNatives(made_once(tmp_path_factory, "app-natives", make), npm_parts)


@pytest.fixture(scope="session")
def android_system(tmp_path_factory: pytest.TempPathFactory, android_natives: AndroidNatives) -> Path:
    """A folder with ABI/system of each ABI: musl's loader as linker64, and what musl lacks in liblog.so."""

    def make(folder: Path) -> None:
        for abi, cpu in CPUS.items():
            programs, libraries = (folder / abi / "system" / name for name in ("bin", "lib64"))
            programs.mkdir(parents=True)
            libraries.mkdir()
            musl_library = android_natives.musl(abi) / "lib" / f"{cpu}-linux-musl" / "libc.so"
            shutil.copy2(musl_library, programs / "linker64")  # it is the loader too
            names = [LOADER / "bionic_names.c", "-o", libraries / "liblog.so"]
            run([*android_natives.clang(abi), "-fPIC", "-shared", *names])

    return made_once(tmp_path_factory, "app-system", make)


@pytest.fixture(scope="session")
def android_tools(tmp_path_factory: pytest.TempPathFactory, android_natives: AndroidNatives) -> Path:
    """The folder that a phone is measured with. Do not change it."""
    made = made_once(
        tmp_path_factory,
        "app-tools",
        lambda folder: android_natives.build("arm64-v8a").write_tools(folder / "tools"),
    )
    return made / "tools"


def android_command(system: Path, abi: str, program: Path, core: str = "max") -> list[str]:
    """Start a program of Android on this computer; an ARM one as the kernel would, under qemu."""
    root = system / abi
    if abi == "arm64-v8a":
        require(EMULATOR)
        log = ["-E", "LD_PRELOAD=/system/lib64/liblog.so", "-E", "LD_LIBRARY_PATH=/system/lib64"]
        return [EMULATOR, "-cpu", core, "-L", str(root), *log, str(program)]
    libraries = root / "system" / "lib64"
    loader = [root / "system" / "bin" / "linker64", "--library-path", f"{program.parent}:{libraries}"]
    return [str(word) for word in (*loader, "--preload", libraries / "liblog.so", program)]
