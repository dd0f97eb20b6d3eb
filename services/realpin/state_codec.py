"""Owns the stored form of a `SignalState`: versioned, checked, and readable after the declaration changed.

    header    version u8 | signals u8 | crc32 u32 of everything after it
    a signal  signature u64 | bytes u32 | its section, as `slots.py` packs it

A section is found by its signature: one that is no longer declared is dropped, one that is new starts empty.
Refuses a wrong checksum, a wrong length and a newer version with CorruptValue.
"""

from __future__ import annotations

import struct
import zlib

from services.chassis.errors import CorruptValue
from services.realpin.signals import SignalSet
from services.realpin.slots import SignalState, Slot

VERSION = 1
_HEADER = struct.Struct("<BBI")
_SECTION = struct.Struct("<QI")


def encode(signals: SignalSet, state: SignalState) -> bytes:
    """Return the state as bytes; costs what changed since it was decoded or encoded."""
    parts: list[bytes] = []
    for signal, slot in zip(signals.signals, state.slots, strict=True):
        section = slot.pack()
        parts += (_SECTION.pack(signal.signature, len(section)), section)
    body = b"".join(parts)
    return _HEADER.pack(VERSION, len(signals.signals), zlib.crc32(body)) + body


def decode(signals: SignalSet, blob: bytes) -> SignalState:
    """Return the state that `encode` wrote, upgraded to the declaration of `signals`.

    Checks everything; a signal is taken apart when it is first looked at.

    Raises:
        CorruptValue: the bytes are damaged, or of a newer version.
    """
    sections = _sections(blob)
    slots: list[Slot] = []
    for signal in signals.signals:
        section = sections.get(signal.signature)
        if section is not None and not signal.slot_type.fits(section):
            raise CorruptValue(f"the section of signal {signal.name} has a wrong length: {len(section)}")
        slots.append(signal.slot_type(section))
    return SignalState(slots)


def _sections(blob: bytes) -> dict[int, bytes]:
    if len(blob) < _HEADER.size:
        raise CorruptValue(f"a state of signals has {len(blob)} bytes, shorter than its header")
    version, count, checksum = _HEADER.unpack_from(blob)
    if version != VERSION:
        raise CorruptValue(f"a state of signals has version {version}, this process reads {VERSION}")
    if zlib.crc32(memoryview(blob)[_HEADER.size :]) != checksum:
        raise CorruptValue("the checksum of a state of signals does not match: restore a checkpoint")
    sections: dict[int, bytes] = {}
    offset = _HEADER.size
    try:
        for _ in range(count):
            signature, size = _SECTION.unpack_from(blob, offset)
            offset += _SECTION.size
            sections[signature] = blob[offset : offset + size]
            offset += size
    except struct.error as error:
        raise CorruptValue(f"a state of signals does not hold its {count} sections") from error
    return sections
