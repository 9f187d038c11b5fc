"""Names of ARM cores, which /proc/cpuinfo gives as two numbers: the designer and the part."""

from __future__ import annotations

import re

#: A line per designer (ARM, Qualcomm, Samsung, Apple, Ampere), then its parts, all in hexadecimal.
_TABLE = """
0x41: d03=Cortex-A53, d04=Cortex-A35, d05=Cortex-A55, d06=Cortex-A65, d07=Cortex-A57, d08=Cortex-A72,
  d09=Cortex-A73, d0a=Cortex-A75, d0b=Cortex-A76, d0c=Neoverse-N1, d0d=Cortex-A77, d0e=Cortex-A76AE,
  d40=Neoverse-V1, d41=Cortex-A78, d42=Cortex-A78AE, d43=Cortex-A65AE, d44=Cortex-X1, d46=Cortex-A510,
  d47=Cortex-A710, d48=Cortex-X2, d49=Neoverse-N2, d4a=Neoverse-E1, d4b=Cortex-A78C, d4c=Cortex-X1C,
  d4d=Cortex-A715, d4e=Cortex-X3, d4f=Neoverse-V2, d80=Cortex-A520, d81=Cortex-A720, d82=Cortex-X4,
  d84=Neoverse-V3, d85=Cortex-X925, d87=Cortex-A725, d8e=Neoverse-N3
0x51: 001=Oryon, 800=Kryo 2xx Gold, 801=Kryo 2xx Silver, 802=Kryo 3xx Gold, 803=Kryo 3xx Silver,
  804=Kryo 4xx Gold, 805=Kryo 4xx Silver
0x53: 002=Exynos M3, 003=Exynos M4, 004=Exynos M5
0x61: 022=Apple Icestorm, 023=Apple Firestorm, 024=Apple Icestorm, 025=Apple Firestorm,
  028=Apple Icestorm, 029=Apple Firestorm, 032=Apple Blizzard, 033=Apple Avalanche,
  034=Apple Blizzard, 035=Apple Avalanche, 038=Apple Blizzard, 039=Apple Avalanche
0xc0: ac3=Ampere-1, ac4=Ampere-1A
"""

_NAMES: dict[tuple[int, int], str] = {}
for designer, parts in re.findall(r"^0x(\w+): (.*(?:\n  .*)*)", _TABLE, re.MULTILINE):
    for part, name in re.findall(r"(\w{3})=([^,\n]+)", parts):
        _NAMES[int(designer, 16), int(part, 16)] = name


def core_name(designer: int, part: int) -> str:
    """Name of a core, or its numbers where it is not known here."""
    return _NAMES.get((designer, part), f"core {designer:#04x}:{part:#05x}")


def with_core_names(text: str) -> str:
    """Put names in place of numbers as ``core_name`` writes them; the app reports numbers only."""
    return re.sub(
        r"core (0x\w{2}):(0x\w{3})", lambda found: core_name(int(found[1], 16), int(found[2], 16)), text
    )
