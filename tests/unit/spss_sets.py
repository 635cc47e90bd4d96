"""Multiple-response sets put into files of SPSS, which pyreadstat reads and cannot write."""

from __future__ import annotations

import struct
from pathlib import Path

SET_RECORD = 7
"""Subtype of the extension record of multiple-response sets; 19 is that of SPSS 14 and later."""


def marks(name: str, counted: str, label: str, *variables: str) -> str:
    """A set of variables of which each says by a counted value whether one thing was marked."""
    return f"${name}=D{len(counted)} {counted} {len(label.encode())} {label} {' '.join(variables).lower()}\n"


def categories(name: str, label: str, *variables: str) -> str:
    """A set of variables of which each holds one of the things that were named."""
    return f"${name}=C {len(label.encode())} {label} {' '.join(variables).lower()}\n"


def declare_sets(path: Path, *sets: str, subtype: int = SET_RECORD) -> None:
    """Put the record of multiple-response sets into a .sav or .zsav file that pyreadstat wrote."""
    text = "".join(sets).encode()
    whole = path.read_bytes()
    record = struct.pack("<iiii", 7, subtype, 1, len(text)) + text
    end = _end_of_dictionary(whole)
    path.write_bytes(_moved(whole[:end] + record + whole[end:], end, len(record)))


def _end_of_dictionary(whole: bytes) -> int:
    """Return where the dictionary's last record, 999 and a filler, begins."""
    at = whole.index(struct.pack("<iii", 7, 3, 4))  # the first record of extensions
    while struct.unpack_from("<i", whole, at)[0] == 7:
        size, count = struct.unpack_from("<ii", whole, at + 8)
        at += 16 + size * count
    assert struct.unpack_from("<ii", whole, at) == (999, 0)
    return at


def _moved(whole: bytes, end: int, by: int) -> bytes:
    """Return the file with the places that the compressed data of a .zsav name moved."""
    if whole[:4] != b"$FL3":
        return whole
    head = end + by + 8
    header, trailer, length = struct.unpack_from("<qqq", whole, head)
    changed = bytearray(whole)
    struct.pack_into("<qqq", changed, head, header + by, trailer + by, length)
    at = trailer + by
    blocks = struct.unpack_from("<i", whole, at + 20)[0]
    for i in range(blocks):
        place = at + 24 + 24 * i
        first, second = struct.unpack_from("<qq", whole, place)
        struct.pack_into("<qq", changed, place, first + by, second + by)
    return bytes(changed)
