"""Names of ARM cores, which /proc/cpuinfo gives as two numbers: who designed them, and which part it is."""

from __future__ import annotations

_ARM, _QUALCOMM, _SAMSUNG, _APPLE, _AMPERE = 0x41, 0x51, 0x53, 0x61, 0xC0

_NAMES = {
    _ARM: {
        0xD03: "Cortex-A53",
        0xD04: "Cortex-A35",
        0xD05: "Cortex-A55",
        0xD06: "Cortex-A65",
        0xD07: "Cortex-A57",
        0xD08: "Cortex-A72",
        0xD09: "Cortex-A73",
        0xD0A: "Cortex-A75",
        0xD0B: "Cortex-A76",
        0xD0C: "Neoverse-N1",
        0xD0D: "Cortex-A77",
        0xD0E: "Cortex-A76AE",
        0xD40: "Neoverse-V1",
        0xD41: "Cortex-A78",
        0xD42: "Cortex-A78AE",
        0xD43: "Cortex-A65AE",
        0xD44: "Cortex-X1",
        0xD46: "Cortex-A510",
        0xD47: "Cortex-A710",
        0xD48: "Cortex-X2",
        0xD49: "Neoverse-N2",
        0xD4A: "Neoverse-E1",
        0xD4B: "Cortex-A78C",
        0xD4C: "Cortex-X1C",
        0xD4D: "Cortex-A715",
        0xD4E: "Cortex-X3",
        0xD4F: "Neoverse-V2",
        0xD80: "Cortex-A520",
        0xD81: "Cortex-A720",
        0xD82: "Cortex-X4",
        0xD84: "Neoverse-V3",
        0xD85: "Cortex-X925",
        0xD87: "Cortex-A725",
        0xD8E: "Neoverse-N3",
    },
    _QUALCOMM: {
        0x001: "Oryon",
        0x800: "Kryo 2xx Gold",
        0x801: "Kryo 2xx Silver",
        0x802: "Kryo 3xx Gold",
        0x803: "Kryo 3xx Silver",
        0x804: "Kryo 4xx Gold",
        0x805: "Kryo 4xx Silver",
    },
    _SAMSUNG: {0x002: "Exynos M3", 0x003: "Exynos M4", 0x004: "Exynos M5"},
    _APPLE: {
        0x022: "Apple Icestorm",
        0x023: "Apple Firestorm",
        0x024: "Apple Icestorm",
        0x025: "Apple Firestorm",
        0x028: "Apple Icestorm",
        0x029: "Apple Firestorm",
        0x032: "Apple Blizzard",
        0x033: "Apple Avalanche",
        0x034: "Apple Blizzard",
        0x035: "Apple Avalanche",
        0x038: "Apple Blizzard",
        0x039: "Apple Avalanche",
    },
    _AMPERE: {0xAC3: "Ampere-1", 0xAC4: "Ampere-1A"},
}


def core_name(implementer: int, part: int) -> str:
    """A core's name, or its numbers where it is not known here."""
    return _NAMES.get(implementer, {}).get(part, f"core {implementer:#04x}:{part:#05x}")
