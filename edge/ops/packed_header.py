"""Read and write the header of a packed table (``csrc/core/layout.h``)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from edge.formats.encoding import BASE3, ENCODING_BY_ID, Encoding
from edge.formats.weight import GROUP_SIZES

MAGIC = 0x3157424C  # the bytes "LBW1"
VERSION = 2
HEADER_BYTES = 64
ROWS_PER_BLOCK = 16
K_MULTIPLE = 64
LINE_BYTES = 64
MAX_ROWS = 1 << 24
MAX_K = 65536  # keeps every int32 accumulator in range; check_accumulators has the bound
#: ScaleType of layout.h.
FLOAT32, FLOAT16, BFLOAT16 = range(3)
_HAS_ZEROS = 1
_HEADER = struct.Struct("<IHHIIIIIHHfIQQQ")


@dataclass(frozen=True)
class PackedHeader:
    """The first 64 bytes of a packed table (``csrc/core/layout.h``).

    Attributes:
        encoding: how the codes lie in bytes.
        n, k: logical shape, rows (output channels) by columns (input channels).
        group_size: columns that share a scale; None for one scale per row.
        scale_type: of the stored scales; 0 for float32, and with groups 1 for float16 and 2 for bfloat16.
        zero: the code that stands for 0 in the whole table; None where a zero is stored with every scale.
        digest: hash of the codes of a base-3 table; 0 for other encodings.
    """

    encoding: Encoding
    n: int
    k: int
    group_size: int | None = None
    scale_type: int = FLOAT32
    zero: float | None = 0.0
    digest: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n <= MAX_ROWS or not 1 <= self.k <= MAX_K:
            raise ValueError(
                f"a packed table holds 1 to {MAX_ROWS} rows of 1 to {MAX_K} values, not [{self.n}, {self.k}]"
            )

    @property
    def n_padded(self) -> int:
        return _round_up(self.n, ROWS_PER_BLOCK)

    @property
    def k_padded(self) -> int:
        return _round_up(self.k, BASE3.group_columns if self.encoding == BASE3 else K_MULTIPLE)

    @property
    def groups(self) -> int:
        """Groups of a block, padding included; 0 for one scale per row."""
        return 0 if self.group_size is None else -(-self.k_padded // self.group_size)

    @property
    def row_arrays(self) -> int:
        """Arrays of one float32 per row in front of the codes: scales and maybe zeros."""
        if self.group_size is not None:
            return 0
        return 1 if self.zero is not None else 2

    @property
    def codes_offset(self) -> int:
        return HEADER_BYTES + 4 * self.n_padded * self.row_arrays

    @property
    def code_lines(self) -> int:
        """Lines of codes in a block."""
        return self.k_padded // self.encoding.group_columns * self.encoding.group_lines

    @property
    def scale_lines(self) -> int:
        """Lines of scales and zeros in a block."""
        return self.groups if self.zero is None else -(-self.groups // 2)

    @property
    def block_lines(self) -> int:
        """Lines of a block: codes, scales and zeros."""
        return self.code_lines + self.scale_lines

    @property
    def total_bytes(self) -> int:
        return self.codes_offset + self.n_padded // ROWS_PER_BLOCK * self.block_lines * LINE_BYTES

    def to_bytes(self) -> bytes:
        """Write the header as it stands in front of the table, 64 bytes."""
        return _HEADER.pack(
            MAGIC,
            VERSION,
            self.encoding.encoding_id,
            self.n,
            self.k,
            self.n_padded,
            self.k_padded,
            self.group_size or 0,
            self.scale_type,
            _HAS_ZEROS if self.zero is None else 0,
            self.zero or 0.0,
            0,
            self.codes_offset,
            self.total_bytes,
            self.digest,
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> PackedHeader:
        """Read and check a header; its digest is not compared with the codes.

        Raises:
            ValueError: truncated, of another layout version, or any field altered.
        """
        if len(raw) < HEADER_BYTES:
            raise ValueError(
                f"packed table is truncated: {len(raw)} bytes, the header alone has {HEADER_BYTES}"
            )
        fields = _HEADER.unpack(raw[:HEADER_BYTES])
        magic, version, encoding_id, n, k, _, _, group, scale_type, flags, zero, _, _, _, digest = fields
        if magic != MAGIC:
            raise ValueError("not a packed low-bit table (the first four bytes are not 'LBW1')")
        if version != VERSION:
            raise ValueError(
                f"packed table has layout version {version}, this build reads {VERSION}; export again"
            )
        if encoding_id not in ENCODING_BY_ID:
            raise ValueError(
                f"packed table has encoding {encoding_id}, which this build does not read (it knows "
                f"{sorted(ENCODING_BY_ID)}); write it again from the trained weights"
            )
        has_zeros = bool(flags & _HAS_ZEROS)
        header = cls(
            ENCODING_BY_ID[encoding_id], n, k, group or None, scale_type, None if has_zeros else zero, digest
        )
        if not header.is_sound() or header.to_bytes() != raw[:HEADER_BYTES]:
            raise ValueError(f"packed table has a damaged header for [{n}, {k}] {header.encoding.name}")
        header.check_accumulators()
        return header

    def is_sound(self) -> bool:
        """Returns True if the fields of the header are consistent with each other."""
        encoding, grouped = self.encoding, self.group_size is not None
        if self.group_size not in (None, *GROUP_SIZES) or (grouped and not encoding.has_scale_groups):
            return False
        if self.scale_type not in ((FLOAT16, BFLOAT16) if grouped else (FLOAT32,)):
            return False
        if self.digest and encoding != BASE3:
            return False
        if self.zero is None or not encoding.codes:
            return bool(encoding.codes) or self.zero == 0
        return 0 <= self.zero <= encoding.codes - 1 and float(2 * self.zero).is_integer()

    def check_accumulators(self) -> None:
        """Raise ValueError unless the sums of a row fit int32, doubled where the zero lies between codes."""
        zero = self.zero or 0.0
        step = 1 if float(zero).is_integer() else 2
        code_max = 3 if self.encoding == BASE3 else (1 << self.encoding.code_bits) - 1
        largest = max(step * code_max, step * zero) * self.k_padded * 127
        if self.encoding.codes and largest >= 1 << 31:
            raise ValueError(f"packed table of {self.k} columns could overflow 32-bit sums at zero {zero:g}")


def _round_up(value: int, multiple: int) -> int:
    return (value + multiple - 1) // multiple * multiple
