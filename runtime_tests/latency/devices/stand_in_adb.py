"""A stand-in for ``adb``, with a folder for a phone. ``phone.py`` makes both and says what state they are in.

It takes the arguments that the project gives to adb, as adb does, and refuses all others. A command for the
phone's shell runs in a shell here, with the phone's paths moved into the folder and nothing on PATH but what
a phone has; programs for aarch64 run under qemu, which must find in the folder whatever they load, the loader
that they name included.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

BASE = Path(os.environ["STAND_IN_PHONE"])
ROOT = BASE / "root"
STATE = json.loads((BASE / "state.json").read_text())
PHONE_PATHS = re.compile(
    r"/data/local/tmp|/proc/(?:cpuinfo|meminfo|self/status|device-tree)|/sys/devices/system/cpu"
)
#: The first word of a line, or the one after taskset's mask.
PROGRAM = re.compile(r"^(taskset \S+ )?(/data/\S+)", re.MULTILINE)
AARCH64 = 183  # e_machine in an ELF header
PR_SET_PDEATHSIG = 1
#: Settings of qemu: where it looks for a program's loader, and how that loader finds Android's libraries.
EMULATOR = {
    "QEMU_LD_PREFIX": str(BASE / "android"),
    "QEMU_SET_ENV": "LD_PRELOAD=/system/lib64/liblog.so,LD_LIBRARY_PATH=/system/lib64",
}


class AdbError(Exception):
    """An error that adb prints on stderr; its exit code is 1."""


def main(arguments: list[str]) -> int:
    # Ctrl-C ends adb, and does not reach the phone, whose shell then sees the line hung up.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with (BASE / "commands").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    commands = (BASE / "commands").read_text().splitlines()
    count = len(commands)
    lose_at = STATE["lose_at"] or count + 1
    if STATE["lose_at_benchmark"]:
        benchmarks = [at for at, line in enumerate(commands, 1) if "--benchmark" in line]
        lose_at = [*benchmarks, *[count + 1] * STATE["lose_at_benchmark"]][STATE["lose_at_benchmark"] - 1]
    if count == 1:
        print("* daemon not running; starting now at tcp:5037\n* daemon started successfully")
    try:
        if arguments in (["devices"], ["devices", "-l"]):
            return list_devices({} if count > lose_at else STATE["devices"])
        serial = arguments[1] if len(arguments) > 1 and arguments[0] == "-s" else None
        command, *rest = arguments if serial is None else arguments[2:] or [""]
        if command not in COMMANDS:
            raise AdbError(f"adb: unknown command {command}")
        choose({} if count > lose_at else STATE["devices"], serial)
        if count == lose_at:
            return 0  # as older versions of adb end when the line breaks: in silence
        return COMMANDS[command](rest)
    except AdbError as error:
        print(error, file=sys.stderr)
        return 1


def list_devices(states: dict[str, str]) -> int:
    print("List of devices attached")
    for serial, state in states.items():
        print(f"{serial}\t{state}")
    print()
    return 0


def choose(states: dict[str, str], serial: str | None) -> None:
    if serial is None and len(states) != 1:
        raise AdbError("adb: more than one device/emulator" if states else "adb: no devices/emulators found")
    if serial is not None and serial not in states:
        raise AdbError(f"adb: device '{serial}' not found")
    state = states[serial or next(iter(states))]
    if state == "unauthorized":
        raise AdbError("adb: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set")
    if state != "device":
        raise AdbError(f"adb: device {state}")


def shell(arguments: list[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        raise AdbError("adb: the stand-in has no interactive shell, and takes no options of one")
    command = PHONE_PATHS.sub(lambda match: f"{ROOT}{match[0]}", PROGRAM.sub(under_qemu, " ".join(arguments)))
    process = subprocess.Popen(
        [ROOT / "system/bin/sh", "-c", command],
        env={"PATH": str(ROOT / "system/bin"), "HOME": "/", "TMPDIR": "/data/local/tmp", **EMULATOR},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=hang_up_when_adb_ends,
    )
    for stream, text in zip((sys.stdout, sys.stderr), process.communicate(), strict=True):
        stream.buffer.write(text.replace(str(ROOT).encode(), b""))
        stream.flush()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def hang_up_when_adb_ends() -> None:
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
    ):  # a phone knows nothing of what this computer's shell ignores
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)


def under_qemu(match: re.Match[str]) -> str:
    path = ROOT / match[2].lstrip("/")
    header = path.read_bytes()[:20] if path.is_file() else b""
    is_arm = header[:4] == b"\x7fELF" and int.from_bytes(header[18:20], "little") == AARCH64
    qemu = f"{shutil.which('qemu-aarch64')} -cpu {STATE['core']} " if is_arm else ""
    return f"{match[1] or ''}{qemu}{match[2]}"


def push(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0].startswith("-"):
        raise AdbError("adb: push requires <source> and <destination> arguments")
    *sources, target = arguments
    remote = on_phone(target)
    if len(sources) > 1 and not remote.is_dir():
        raise AdbError(f"adb: error: target '{target}' is not a directory")
    for source in map(Path, sources):
        if not source.is_file():
            raise AdbError(f"adb: error: cannot stat '{source}': No such file or directory")
        failed = f"adb: error: failed to copy '{source}' to '{target}'"
        if source.stat().st_size > STATE["room_kb"] * 1024:
            raise AdbError(f"{failed}: remote couldn't write file: No space left on device")
        if not str(remote).startswith(str(ROOT / "data/local/tmp")):
            raise AdbError(f"{failed}: remote couldn't create file: Permission denied")
        shutil.copy(source, remote)
    print(f"{len(sources)} file{'s' * (len(sources) > 1)} pushed, 0 skipped. 23.4 MB/s (1 bytes in 0.001s)")
    return 0


def pull(arguments: list[str]) -> int:
    if len(arguments) != 2:
        raise AdbError("adb: the stand-in pulls one file to one path")
    remote, local = arguments
    if not on_phone(remote).is_file():
        raise AdbError(f"adb: error: failed to stat remote object '{remote}': No such file or directory")
    shutil.copy(on_phone(remote), local)
    print(f"{remote}: 1 file pulled, 0 skipped. 12.3 MB/s (1 bytes in 0.001s)")
    return 0


def on_phone(path: str) -> Path:
    return ROOT / path.lstrip("/")


COMMANDS = {"shell": shell, "push": push, "pull": pull}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
