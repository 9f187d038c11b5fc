"""The app's native libraries for Android, built without the NDK (without_ndk.cmake says how)."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from android_demo.parts import bionic
from android_demo.parts.command import PartsError, find_tool, run
from android_demo.parts.debian import ARCHITECTURES, musl
from android_demo.parts.npm import EXECUTORCH
from edge.files import replace_directory, sha256_of
from edge.latency.devices.device import LibraryRecord
from edge.latency.devices.tools import write_libraries

CPP = Path(__file__).resolve().parents[1] / "app" / "src" / "main" / "cpp"
CPUS = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}
_TOOLCHAIN = Path(__file__).resolve().with_name("without_ndk.cmake")
_CLANG_VERSIONS = range(25, 17, -1)

#: What the app loads, in the order in which each needs the ones before it.
LIBRARIES = ("libfbjni.so", "libexecutorch_jni.so", "liblowbit_app.so")
#: What measures in a phone's shell, below the folder of a build.
TOOLS = (Path("lowbit_runner"), Path("edge/lowbit_kernel_check"), Path("edge/lowbit_kernel_bench"))


@dataclass(frozen=True)
class NativeBuild:
    """Builds the libraries of one ABI below ``cache``; a second build compiles only what changed."""

    cache: Path
    parts: Path  # node_modules
    abi: str

    @property
    def folder(self) -> Path:
        """CMake keeps the path of its sources, so each checkout has a folder of its own."""
        return self.cache / f"native-{self.abi}-{sha256(str(CPP).encode()).hexdigest()[:8]}"

    def build(self) -> Path:
        """Return the folder of LIBRARIES. Raises PartsError."""
        llvm, cpu = llvm_root(), CPUS[self.abi]
        headers = musl(self.cache) / ARCHITECTURES[self.abi] / "usr" / "include" / f"{cpu}-linux-musl"
        build = self.folder
        known = bionic.names(self._executorch(abi) for abi in CPUS)
        bionic.write_stand_ins(build / "bionic", known, llvm / "bin" / "clang", cpu)
        options = {
            "CMAKE_TOOLCHAIN_FILE": _TOOLCHAIN,
            "CMAKE_MAKE_PROGRAM": find_tool("ninja") or "ninja",
            "ANDROID_ABI": self.abi,
            "LLVM_ROOT": llvm,
            "LIBC_INCLUDE": headers,
            "LIBC_STUBS": build / "bionic",
            "EXECUTORCH_ANDROID": self.parts / EXECUTORCH,
        }
        defined = [f"-D{name}={value}" for name, value in options.items()]
        run(["cmake", "-S", CPP, "-B", build, "-G", "Ninja", *defined], "cmake cannot configure the app")
        run(["cmake", "--build", build], f"the libraries for {self.abi} cannot be built")
        # Its file has the name by which others need it.
        shutil.copyfile(self._executorch(self.abi), build / "libexecutorch_jni.so")
        return build

    def write_tools(self, folder: Path) -> None:
        """Write TOOLS of a finished build, the libraries that an APK takes from it, and a record of these."""
        with replace_directory(folder) as partial:
            for path in (*TOOLS, *map(Path, LIBRARIES)):
                shutil.copy2(self.folder / path, partial / path.name)
            write_libraries(partial, [self._record(self.folder / name) for name in LIBRARIES])

    def _record(self, library: Path) -> LibraryRecord:
        origin = ""
        if sha256_of(library) == sha256_of(self._executorch(self.abi)):
            package = json.loads((self.parts / EXECUTORCH.parent / "package.json").read_text())
            origin = f"{package['name']} {package['version']}"
        return LibraryRecord(name=library.name, sha256=sha256_of(library), origin=origin)

    def _executorch(self, abi: str) -> Path:
        return self.parts / EXECUTORCH / "android" / "libs" / "executorch" / abi / "libexecutorch.so"


def llvm_root() -> Path:
    """The folder of the newest Clang that has lld and libc++'s headers. Raises PartsError."""
    for name in [*(f"clang++-{version}" for version in _CLANG_VERSIONS), "clang++"]:
        tool = find_tool(name)
        root = Path(tool).resolve().parents[1] if tool else None
        if root and (root / "bin" / "ld.lld").exists() and (root / "include" / "c++" / "v1").is_dir():
            return root
    raise PartsError(
        "Clang 18 or newer with its lld and libc++'s headers is missing: "
        "apt-get install clang-19 lld-19 libc++-19-dev"
    )
