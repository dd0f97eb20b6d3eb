"""Owns the shape of a user's signals: one slot for each declared signal, in memory and packed.

In memory a slot is plain dicts and lists, because one event touches a handful of ids: an array would cost
more than it holds. Packed it is a section of the stored state (`state_codec.py`), little-endian:

    LastSlot      rows u32 | ids u64 | times i64 ms | weights f32
    DecayedSlot   landmark i64 | rows u32 | ids u64 | sums f64 | times u32 s
    WindowedSlot  rows u32 | keys u64 | counts u32 | 16 times u32 s

A slot that was read keeps its packed form, is opened at the first look into it, and is packed again only when
it was changed: most events are impressions, which touch the windowed slots alone. Whoever changes a slot sets
`packed` to None. Sums are kept as doubles, so a replica that restarts computes what the other one computes.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import Any, TypeAlias

TYPE_BITS = 4
TYPE_MASK = (1 << TYPE_BITS) - 1
_ACTIONS = TYPE_MASK + 1

DecayedMark: TypeAlias = list[Any]
"""[sum scaled to the slot's landmark: float, time_s: int]; a list, to be changed in place."""


class Slot(ABC):
    """What is known of one signal of one user. `packed`: None when it is not what the slot holds."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes | None = None) -> None:
        self.packed = packed
        if packed is None:
            self._clear()

    def __getattr__(self, name: str) -> Any:
        # Called for an attribute that is not set: the slot has not been opened yet. Costs nothing afterwards.
        if name.startswith("_") or name not in self.__slots__:
            raise AttributeError(name)
        self._open(self.packed or b"")
        return getattr(self, name)

    def pack(self) -> bytes:
        """The packed form; made anew only after a change."""
        if self.packed is None:
            self.packed = self._packed()
        return self.packed

    @staticmethod
    @abstractmethod
    def fits(packed: bytes) -> bool:
        """Whether the bytes have the length that they speak of: `_open` relies on it."""

    @abstractmethod
    def _clear(self) -> None: ...

    @abstractmethod
    def _open(self, packed: bytes) -> None: ...

    @abstractmethod
    def _packed(self) -> bytes: ...


class LastSlot(Slot):
    """`marks`: id -> (time_ms, weight)."""

    __slots__ = ("marks",)
    marks: dict[int, tuple[int, float]]

    @staticmethod
    def fits(packed: bytes) -> bool:
        """See Slot."""
        return len(packed) >= 4 and len(packed) == 4 + 20 * int.from_bytes(packed[:4], "little")

    def _clear(self) -> None:
        self.marks = {}

    def _open(self, packed: bytes) -> None:
        n = (len(packed) - 4) // 20
        row = struct.unpack(f"<{n}Q{n}q{n}f", packed[4:])
        self.marks = dict(zip(row[:n], zip(row[n : 2 * n], row[2 * n :], strict=True), strict=True))

    def _packed(self) -> bytes:
        n = len(self.marks)
        times = [mark[0] for mark in self.marks.values()]
        weights = [mark[1] for mark in self.marks.values()]
        return struct.pack(f"<I{n}Q{n}q{n}f", n, *self.marks, *times, *weights)


class DecayedSlot(Slot):
    """`marks` by id; `landmark`: whole half-lives since 1970."""

    __slots__ = ("landmark", "marks")
    marks: dict[int, DecayedMark]
    landmark: int

    @staticmethod
    def fits(packed: bytes) -> bool:
        """See Slot."""
        return len(packed) >= 12 and len(packed) == 12 + 20 * int.from_bytes(packed[8:12], "little")

    def _clear(self) -> None:
        self.marks = {}
        self.landmark = 0

    def _open(self, packed: bytes) -> None:
        self.landmark, n = struct.unpack_from("<qI", packed)
        row = struct.unpack(f"<{n}Q{n}d{n}I", packed[12:])
        pairs = zip(row[n : 2 * n], row[2 * n :], strict=True)
        self.marks = dict(zip(row[:n], map(list, pairs), strict=True))

    def _packed(self) -> bytes:
        n = len(self.marks)
        sums = [mark[0] for mark in self.marks.values()]
        touched = [mark[1] for mark in self.marks.values()]
        return struct.pack(f"<qI{n}Q{n}d{n}I", self.landmark, n, *self.marks, *sums, *touched)


class WindowedSlot(Slot):
    """`counts`: slice << TYPE_BITS | action -> count; `touched`: time_s by action."""

    __slots__ = ("counts", "touched")
    counts: dict[int, int]
    touched: list[int]

    @staticmethod
    def fits(packed: bytes) -> bool:
        """See Slot."""
        rows = int.from_bytes(packed[:4], "little")
        return len(packed) >= 4 and len(packed) == 4 + 12 * rows + 4 * _ACTIONS

    def _clear(self) -> None:
        self.counts = {}
        self.touched = [0] * _ACTIONS

    def _open(self, packed: bytes) -> None:
        n = (len(packed) - 4 - 4 * _ACTIONS) // 12
        row = struct.unpack(f"<{n}Q{n}I{_ACTIONS}I", packed[4:])
        self.counts = dict(zip(row[:n], row[n : 2 * n], strict=True))
        self.touched = list(row[2 * n :])

    def _packed(self) -> bytes:
        n = len(self.counts)
        return struct.pack(f"<I{n}Q{n}I{_ACTIONS}I", n, *self.counts, *self.counts.values(), *self.touched)


class SignalState:
    """What is known of one user: the slots in the order of the declaration. Not thread-safe."""

    __slots__ = ("slots",)

    def __init__(self, slots: list[Any]) -> None:
        self.slots = slots
