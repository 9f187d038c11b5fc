"""A made-up phone in a folder: its /proc and /sys, its tools, and an ``adb`` that reaches it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

SERIAL = "R5CT"
#: Four small cores and four large ones.
PARTS = [0xD05] * 4 + [0xD0B] * 4
MAX_KHZ = [1_800_000] * 4 + [2_400_000] * 4
GOVERNORS = ["schedutil"] * 4 + ["performance"] * 4
_TOOLS = ("cat", "chmod", "ls", "mkdir", "rm", "sleep", "tr")


@dataclass
class State:
    """State of the stand-in.

    Attributes:
        devices: state by serial number, as ``adb devices`` lists them.
        machine: what ``uname -m`` says.
        free_kb: what df says is free.
        room_kb: what a file that is pushed really finds.
        lose_at: which command of adb, counted from 1, loses the phone; None: none does.
        lose_at_benchmark: the same, counting only runs of --benchmark.
        core: that qemu plays; the default is the one that it plays fastest.
    """

    devices: dict[str, str] = field(default_factory=lambda: {SERIAL: "device"})
    machine: str = "aarch64"
    free_kb: int = 4_000_000
    room_kb: int = 4_000_000
    lose_at: int | None = None
    lose_at_benchmark: int | None = None
    core: str = "cortex-a53"


class Phone:
    """The phone below ``base``; ``bin`` there holds its adb."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.root = base / "root"
        self.bin = base / "bin"
        for folder in ("data/local/tmp", "proc/self", "system/bin"):
            (self.root / folder).mkdir(parents=True)
        self._write_proc_and_sys()
        self.tell()
        adb = f'exec {sys.executable} -S {Path(__file__).with_name("stand_in_adb.py")} "$@"'
        _script(self.bin / "adb", f"STAND_IN_PHONE={base} {adb}")

    def tell(self, **changes: object) -> None:
        """Puts the phone into a state; what is not named is as usual."""
        state = State(**changes)  # type: ignore[arg-type]
        (self.base / "state.json").write_text(json.dumps(asdict(state)))
        self._write_tools(state)

    def add_system(self, folder: Path) -> None:
        """Gives programs of Android its loader and libraries; beside the root, whose /proc is not theirs."""
        (self.base / "android").symlink_to(folder)

    def left_behind(self) -> list[str]:
        return sorted(path.name for path in (self.root / "data/local/tmp").iterdir())

    def commands(self) -> list[list[str]]:
        """The arguments of every adb so far."""
        path = self.base / "commands"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def masks(self) -> list[str]:
        """Every mask that taskset was given so far."""
        path = self.base / "masks"
        return path.read_text().split() if path.exists() else []

    def _write_proc_and_sys(self) -> None:
        blocks = [
            f"processor\t: {core}\nFeatures\t: fp asimd aes fphp asimdhp asimddp\n"
            f"CPU implementer\t: 0x41\nCPU part\t: {part:#05x}\n\n"
            for core, part in enumerate(PARTS)
        ]
        (self.root / "proc/cpuinfo").write_text("".join(blocks))
        (self.root / "proc/meminfo").write_text("MemTotal:        7654321 kB\nMemFree:  12345 kB\n")
        (self.root / "proc/self/status").write_text(
            "Name:\tcat\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n"
        )
        for core, (khz, governor) in enumerate(zip(MAX_KHZ, GOVERNORS, strict=True)):
            folder = self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True)
            (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
            (folder / "scaling_cur_freq").write_text(f"{khz // 2}\n")
            (folder / "scaling_governor").write_text(f"{governor}\n")

    def _write_tools(self, state: State) -> None:
        """A phone's own tools where they are installed here (toybox, mksh), else this computer's."""
        tools = self.root / "system/bin"
        links = {name: shutil.which("toybox") or shutil.which(name) for name in _TOOLS}
        links["sh"] = shutil.which("mksh") or shutil.which("sh")
        for name, target in links.items():
            (tools / name).unlink(missing_ok=True)
            (tools / name).symlink_to(str(target))
        _script(
            tools / "uname",
            f'case "$*" in\n-m) echo {state.machine};;\n-srm) echo Linux 5.10.149 {state.machine};;\n'
            '*) echo "uname: Unknown option $*" >&2; exit 1;;\nesac',
        )
        _script(
            tools / "getprop",
            'case "$1" in\nro.product.manufacturer) echo Acme;;\nro.product.model) echo One;;\n'
            "ro.soc.model) echo AC100;;\n*) echo;;\nesac",
        )
        _script(
            tools / "df",
            '[ "$1" = -k ] || exit 1\necho "Filesystem     1K-blocks     Used Available Use% Mounted on"\n'
            f'echo "/dev/block/dm-44 115249236 99999999 {state.free_kb}  97% /data/user/0"',
        )
        _script(
            tools / "taskset",
            f"case $1 in *[!0-9a-f]*) echo \"taskset: bad mask '$1'\" >&2; exit 1;; esac\n"
            f'echo "$1" >>{self.base}/masks\nshift\nexec "$@"',
        )


def _script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(0o755)
