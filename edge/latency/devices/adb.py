"""A phone with Android on 64-bit ARM, through ``adb``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from edge.latency.devices.adb_connection import AdbConnection
from edge.latency.devices.circumstances import highest, read_circumstances
from edge.latency.devices.cores import on_cores
from edge.latency.devices.device import TIMEOUT_SECONDS, DeviceError, DeviceKind, DeviceRecord, Ended, Tool
from edge.latency.devices.tools import LIBRARIES_NAME, android_tools, read_libraries

#: Android's shell may run its own programs only below /data/local/tmp. The name is fixed, so that a second
#: measurement, or the remains of one that was cut off, are noticed.
FOLDER = "/data/local/tmp/edge-latency"
_TOOLS = f"{FOLDER}/tools"


class AdbDevice:
    """The phone ``serial`` (None: the only one) with the tools of ``folder``, for Android, on ``cores``.

    Everything that it puts on the phone lies in one folder, made on entering and removed on exit.
    """

    record: DeviceRecord

    def __init__(self, serial: str | None, folder: Path, cores: list[int] | None = None) -> None:
        self._serial = serial
        self._folder = folder
        self._cores = cores
        self._installed: dict[Path, str] = {}
        self._undo = ExitStack()

    def __enter__(self) -> AdbDevice:
        self._phone = AdbConnection(self._serial)
        machine = self._phone.check(["uname", "-m"]).strip()
        if machine != "aarch64":
            raise DeviceError(
                f"the phone {self._phone.serial} has a CPU of type {machine}; aarch64 is needed"
            )
        with ExitStack() as undo:
            self._make_folder()
            undo.callback(self._remove_folder)
            self.record = read_circumstances(self._phone.shell).record("adb", self._cores)
            self.record.libraries = read_libraries(self._folder)
            self._phone.check(["mkdir", _TOOLS])
            self._push(sorted(p for p in self._folder.iterdir() if p.name != LIBRARIES_NAME), _TOOLS)
            self._phone.check(["chmod", "-R", "755", _TOOLS])
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def install(self, program: Path) -> str:
        program = program.resolve()
        if program not in self._installed:
            # Numbered, because many programs are called model.pte.
            remote = f"{FOLDER}/{len(self._installed)}-{program.name}"
            self._push([program], remote)
            self._installed[program] = remote
        return self._installed[program]

    def run(self, tool: Tool, arguments: Sequence[str]) -> Ended:
        words = [*on_cores(self._cores), f"{_TOOLS}/{tool}", *arguments]
        try:
            return self._phone.run(words, TIMEOUT_SECONDS)
        except TimeoutError as error:
            return Ended(1, "", str(error))

    def output_path(self, name: str) -> str:
        return f"{FOLDER}/{name}"

    def fetch(self, remote: str) -> bytes:
        content = self._phone.pull(remote)
        self._phone.check(["rm", remote])
        return content

    def current_khz(self) -> int | None:
        return highest(read_circumstances(self._phone.shell).current_khz, self.record.cores)

    def _make_folder(self) -> None:
        ended = self._phone.shell(["mkdir", FOLDER])
        if ended.failure is not None and self._phone.shell(["ls", FOLDER]).returncode == 0:
            raise DeviceError(
                f"{FOLDER} is on the phone {self._phone.serial} already: another measurement is running, or "
                f"was cut off; if none is running, remove it with: {self._removal()}"
            )
        if ended.failure is not None:
            raise DeviceError(f"{FOLDER} cannot be made on the phone {self._phone.serial}: {ended.failure}")

    def _remove_folder(self) -> None:
        try:
            self._phone.check(["rm", "-rf", FOLDER])
        except DeviceError as error:
            print(f"warning: {error}; remove what is left with: {self._removal()}", file=sys.stderr)

    def _removal(self) -> str:
        return f"adb -s {self._phone.serial} shell rm -rf {FOLDER}"

    def _push(self, sources: Sequence[Path], target: str) -> None:
        needed = sum(path.stat().st_size for path in sources)
        free = self._free_bytes()
        if needed > free:
            what = sources[0] if len(sources) == 1 else "the tools"
            raise DeviceError(
                f"{what} needs {needed / 1e6:.1f} MB and the phone {self._phone.serial} has "
                f"{free / 1e6:.1f} MB free in /data: make room there, or measure fewer or smaller programs"
            )
        self._phone.push(sources, target)

    def _free_bytes(self) -> int:
        """Free space by ``df -k``: file system, 1K-blocks, used, available, percentage, mount point."""
        fields = self._phone.check(["df", "-k", FOLDER]).split("\n", 1)[1].split()
        return int(fields[3]) * 1024


KIND = DeviceKind(
    "adb",
    "a phone, over adb",
    lambda serial, cores, tools: AdbDevice(serial, tools, cores),
    variant="SERIAL",
    tools=android_tools,
    has_traces=False,
)
