"""Facts about a Linux or Android device (CPU, cores, frequencies, memory), read by one shell script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge.latency.devices.core_names import core_name
from edge.latency.devices.cores import chosen_cores, parse_cores
from edge.latency.devices.device import DeviceError, DeviceRecord, Ended

#: Runs in any POSIX shell with the few tools of Android's toybox. Every line reads "key: value", as those of
#: /proc do already. What a device lacks or hides is left out.
SCRIPT = """
exec 2>/dev/null
echo "uname: $(uname -srm)"
cat /proc/cpuinfo /proc/meminfo /proc/self/status
for core in /sys/devices/system/cpu/cpu[0-9]*; do
  for item in cpuinfo_max_freq scaling_cur_freq scaling_governor; do
    value=$(cat "$core/cpufreq/$item") && echo "$item ${core##*/cpu}: $value"
  done
done
for item in ro.product.manufacturer ro.product.model ro.soc.model; do
  value=$(getprop "$item") && echo "$item: $value"
done
value=$(tr -d '\\0' </proc/device-tree/model) && echo "board: $value"
true
"""

#: Instruction sets that the kernels, or the float code around them, can use; Linux's names.
FEATURES = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512dq", "avx512bw", "avx512vl"),
    *("avx512_vnni", "avx512vbmi"),
    *("asimd", "fphp", "asimdhp", "asimddp", "i8mm", "sve", "sve2"),
)


@dataclass(frozen=True)
class Circumstances:
    """Output of the script; frequencies (kHz) and governors by core, as far as they are readable."""

    name: str
    cpu: str
    features: list[str]
    allowed: list[int]
    max_khz: dict[int, int]
    current_khz: dict[int, int]
    governors: dict[int, str]
    memory_bytes: int | None
    system: str

    def record(self, kind: str, wanted: list[int] | None) -> DeviceRecord:
        """The record of a measurement on the wanted cores. Raises ValueError for cores that do not exist."""
        cores = chosen_cores(wanted, self.allowed, self.name)
        return DeviceRecord(
            kind=kind,
            name=self.name,
            cpu=self.cpu,
            features=self.features,
            cores=cores,
            max_khz=highest(self.max_khz, cores),
            governors=list(dict.fromkeys(self.governors[core] for core in cores if core in self.governors)),
            memory_bytes=self.memory_bytes,
            system=self.system,
        )


def highest(khz: dict[int, int], cores: Sequence[int]) -> int | None:
    """The highest frequency among the cores; None where none of theirs is known."""
    return max((khz[core] for core in cores if core in khz), default=None)


def read_circumstances(run: Callable[[Sequence[str]], Ended]) -> Circumstances:
    """Run the script by ``run``, which takes words of a command. Raises DeviceError where it fails."""
    ended = run(["sh", "-c", SCRIPT])
    if ended.failure is not None:
        raise DeviceError(f"the device does not tell what it is: its shell {ended.failure}")
    return parse(ended.stdout)


def parse(text: str) -> Circumstances:
    """Parse the output of the script."""
    lines = [
        (key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in text.split("\n"))
    ]
    told = {key: value for key, value in lines if value}
    system = told.get("uname", "unknown")
    machine = system.split()[-1]
    words = set(told.get("flags", told.get("Features", "")).split())
    memory = told.get("MemTotal", "").split()  # "16318480 kB"
    return Circumstances(
        name=_name(told) or f"{machine} computer",
        cpu=_cpu(told, lines) or machine,
        features=[feature for feature in FEATURES if feature in words],
        allowed=parse_cores(told.get("Cpus_allowed_list", "0")),
        max_khz=_numbers(_by_core(lines, "cpuinfo_max_freq")),
        current_khz=_numbers(_by_core(lines, "scaling_cur_freq")),
        governors=_by_core(lines, "scaling_governor"),
        memory_bytes=int(memory[0]) * 1024 if memory else None,
        system=system,
    )


def _name(told: dict[str, str]) -> str:
    """Maker and model of a phone, or the name of a board."""
    maker, model = told.get("ro.product.manufacturer", ""), told.get("ro.product.model", "")
    if not model:
        return told.get("board", "")
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}"


def _cpu(told: dict[str, str], lines: list[tuple[str, str]]) -> str:
    """Model name on x86; elsewhere the chip, where Android tells it, and its types of cores."""
    parts = [int(value, 16) for key, value in lines if key == "CPU part"]
    implementers = [int(value, 16) for key, value in lines if key == "CPU implementer"]
    types = Counter(map(core_name, implementers, parts))
    if not types:
        return told.get("model name", "")
    cores = next(iter(types)) if len(types) == 1 else " + ".join(f"{n}x {name}" for name, n in types.items())
    return f"{told['ro.soc.model']}: {cores}" if "ro.soc.model" in told else cores


def _by_core(lines: list[tuple[str, str]], item: str) -> dict[int, str]:
    """Values by core, ascending, from lines "ITEM CORE: value"."""
    found = {int(key.split()[1]): value for key, value in lines if key.startswith(f"{item} ") and value}
    return dict(sorted(found.items()))


def _numbers(values: dict[int, str]) -> dict[int, int]:
    return {core: int(value) for core, value in values.items() if value.isdigit()}
