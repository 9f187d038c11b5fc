"""One phone through the ``adb`` program: commands, files, and errors with their cure."""

from __future__ import annotations

import shlex
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edge.latency.devices.device import DeviceError, Ended
from edge.latency.devices.process import run_process

#: Seconds for commands other than the tools; starting adb's server takes some.
_SHORT_SECONDS = 60.0
_CURES = {
    "unauthorized": 'does not trust this computer: unlock it and accept its question "Allow USB debugging?"',
    "authorizing": "is being asked whether it trusts this computer: give the command again in a moment",
    "connecting": "is still connecting: give the command again in a moment",
    "offline": "does not answer (offline): plug it in anew, or run: adb reconnect offline",
    "no permissions": "may not be opened by this user: install udev rules for it "
    "(apt-get install android-sdk-platform-tools-common) and plug it in anew",
}
_MARK = "edge-latency: ended with "
# Some versions of adb report a lost connection as success, so the mark shows that the command really ended.
# When adb ends early (Ctrl-C, a timeout), the phone sends its shell SIGHUP, and the command must end too.
_SCRIPT = """trap 'kill -9 $!; exit' HUP
{command} &
wait $!
echo "
{mark}$?" >&2"""


class AdbConnection:
    """A phone that adb lists and may use, by its serial number. Every method may raise DeviceError."""

    def __init__(self, serial: str | None) -> None:
        """Connect to the phone of that serial number, or to the only one."""
        if shutil.which("adb") is None:
            raise DeviceError("adb is missing: install Android's platform-tools (apt-get install adb)")
        states = _listed()
        if not states:
            raise DeviceError(
                "adb sees no device: connect a phone, switch on USB debugging in its developer options, "
                "and see that it is listed by: adb devices"
            )
        if serial is None and len(states) > 1:
            raise DeviceError(
                f"adb sees {_spell(states)}: choose one, as in --device adb:{next(iter(states))}"
            )
        self.serial = serial or next(iter(states))
        if self.serial not in states:
            raise DeviceError(f"adb sees no device {self.serial}, only {_spell(states)}")
        state = states[self.serial]
        if state != "device":
            known = next((cure for start, cure in _CURES.items() if state.startswith(start)), None)
            raise DeviceError(
                f"the phone {self.serial} {known or f'is in the state {state}: start Android on it'}"
            )

    def run(self, words: Sequence[str], timeout_seconds: float) -> Ended:
        """Run a command there, its words as given. Raises TimeoutError too, once it has been killed."""
        script = _SCRIPT.format(command=shlex.join(words), mark=_MARK)
        ended = run_process(["adb", "-s", self.serial, "shell", script], timeout_seconds=timeout_seconds)
        stderr, mark, code = ended.stderr.rpartition(f"\n{_MARK}")
        if not mark:
            raise DeviceError(
                f"the connection to {self.serial} was lost ({ended.failure or 'its shell ended early'}): "
                "check its cable, and that adb devices lists it"
            )
        return Ended(_as_signal(int(code)), ended.stdout, stderr)

    def shell(self, words: Sequence[str]) -> Ended:
        """Run a short command."""
        try:
            return self.run(words, _SHORT_SECONDS)
        except TimeoutError as error:
            raise DeviceError(f"{words[0]} on the phone {self.serial} {error}") from error

    def check(self, words: Sequence[str]) -> str:
        """Run a short command that must succeed; returns its output."""
        ended = self.shell(words)
        if ended.failure is not None:
            raise DeviceError(f"{words[0]} failed on the phone {self.serial}: {ended.failure}")
        return ended.stdout

    def push(self, sources: Sequence[Path], target: str) -> None:
        """Copy a file to the path ``target``, or several into the folder ``target``."""
        self._transfer("push", [*map(str, sources), target])

    def pull(self, remote: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="edge-latency-") as folder:
            local = Path(folder) / "pulled"
            self._transfer("pull", [remote, str(local)])
            return local.read_bytes()

    def _transfer(self, command: str, arguments: list[str]) -> None:
        try:
            ended = run_process(["adb", "-s", self.serial, command, *arguments])
        except TimeoutError as error:
            raise DeviceError(f"adb {command} {error}") from error
        if ended.failure is not None:
            raise DeviceError(f"adb {command} failed for the phone {self.serial}: {ended.failure}")


def _listed() -> dict[str, str]:
    """Phones that adb lists: state by serial number, in adb's order."""
    try:
        ended = run_process(["adb", "devices"], timeout_seconds=_SHORT_SECONDS)
    except TimeoutError as error:
        raise DeviceError(f"adb devices {error}: run adb kill-server and give the command again") from error
    if ended.failure is not None:
        raise DeviceError(f"adb devices failed: {ended.failure}")
    # Only the list has tabs; lines on the start of adb's server may stand before it.
    pairs = (line.split("\t", 1) for line in ended.stdout.splitlines() if "\t" in line)
    return {serial.strip(): state.strip() for serial, state in pairs}


def _spell(states: dict[str, str]) -> str:
    return ", ".join(f"{serial} ({state.split('(')[0].strip()})" for serial, state in states.items())


def _as_signal(code: int) -> int:
    """Convert a shell's exit code to subprocess's: 128+n means that signal n ended the command."""
    return 128 - code if code - 128 in set(signal.Signals) else code
