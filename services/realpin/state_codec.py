"""Owns the stored form of a `SignalState`: versioned, checked, and readable after the declaration changed.

    header    version u8 | signals u8 | crc32 u32 of everything after it
    a signal  signature u64 | bytes u32 | its section
    last      rows u32 | ids u64 | times i64 ms | weights f32
    decayed   landmark i64 | rows u32 | ids u64 | sums f64 | times u32 s
    windowed  rows u32 | keys u64 | counts u32 | 16 times u32 s

A section is found by its signature: one that is no longer declared is dropped, one that is new starts empty.
Values are kept as they are in memory (doubles), so a replica that restarts computes what the other computes.
Refuses a wrong checksum, a wrong length and a newer version with CorruptValue.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection

from services.chassis.errors import CorruptValue
from services.realpin.signals import SignalSet
from services.realpin.slots import TYPE_MASK, DecayedSlot, LastSlot, SignalState, Slot, WindowedSlot

VERSION = 1
_HEADER = struct.Struct("<BBI")
_SECTION = struct.Struct("<QI")
_ACTIONS = TYPE_MASK + 1


def encode(signals: SignalSet, state: SignalState) -> bytes:
    """Return the state as bytes."""
    parts: list[bytes] = []
    for signal, slot in zip(signals.signals, state.slots, strict=True):
        section = _encode_slot(slot)
        parts += (_SECTION.pack(signal.signature, len(section)), section)
    body = b"".join(parts)
    return _HEADER.pack(VERSION, len(signals.signals), zlib.crc32(body)) + body


def decode(signals: SignalSet, blob: bytes, numbers: Collection[int] | None = None) -> SignalState:
    """Return the state that `encode` wrote, upgraded to the declaration of `signals`.

    `numbers`: only these slots are filled, the others stay empty (None: all).

    Raises:
        CorruptValue: the bytes are damaged, or of a newer version.
    """
    sections = _sections(blob)
    slots: list[Slot] = []
    for number, signal in enumerate(signals.signals):
        slot = signal.empty()
        section = sections.get(signal.signature)
        if section is not None and (numbers is None or number in numbers):
            try:
                _decode_slot(slot, section)
            except struct.error as error:
                raise CorruptValue(f"section of signal {signal.name} has a wrong length") from error
        slots.append(slot)
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
    for _ in range(count):
        signature, size = _SECTION.unpack_from(blob, offset)
        offset += _SECTION.size
        sections[signature] = blob[offset : offset + size]
        offset += size
    return sections


def _encode_slot(slot: Slot) -> bytes:
    if isinstance(slot, LastSlot):
        n = len(slot.marks)
        times = [mark[0] for mark in slot.marks.values()]
        weights = [mark[1] for mark in slot.marks.values()]
        return struct.pack(f"<I{n}Q{n}q{n}f", n, *slot.marks, *times, *weights)
    if isinstance(slot, DecayedSlot):
        n = len(slot.marks)
        sums = [mark[0] for mark in slot.marks.values()]
        touched = [mark[1] for mark in slot.marks.values()]
        return struct.pack(f"<qI{n}Q{n}d{n}I", slot.landmark, n, *slot.marks, *sums, *touched)
    n = len(slot.counts)
    return struct.pack(f"<I{n}Q{n}I{_ACTIONS}I", n, *slot.counts, *slot.counts.values(), *slot.touched)


def _decode_slot(slot: Slot, section: bytes) -> None:
    if isinstance(slot, LastSlot):
        (n,) = struct.unpack_from("<I", section)
        row = struct.unpack(f"<{n}Q{n}q{n}f", section[4:])
        slot.marks = dict(zip(row[:n], zip(row[n : 2 * n], row[2 * n :], strict=True), strict=True))
    elif isinstance(slot, DecayedSlot):
        slot.landmark, n = struct.unpack_from("<qI", section)
        row = struct.unpack(f"<{n}Q{n}d{n}I", section[12:])
        slot.marks = dict(
            zip(row[:n], map(list, zip(row[n : 2 * n], row[2 * n :], strict=True)), strict=True)
        )
    else:
        _decode_windowed(slot, section)


def _decode_windowed(slot: WindowedSlot, section: bytes) -> None:
    (n,) = struct.unpack_from("<I", section)
    row = struct.unpack(f"<{n}Q{n}I{_ACTIONS}I", section[4:])
    slot.counts = dict(zip(row[:n], row[n : 2 * n], strict=True))
    slot.touched = list(row[2 * n :])
