"""Owns the shape of a user's signals in memory: one slot for each declared signal.

Plain dicts and lists, because one event touches a handful of ids: an array would cost more than it holds.
`signals.py` changes them, `signal_columns.py` reads them, `state_codec.py` stores them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

TYPE_BITS = 4
TYPE_MASK = (1 << TYPE_BITS) - 1

DecayedMark: TypeAlias = list[Any]
"""[sum scaled to the slot's landmark: float, time_s: int]; a list, to be changed in place."""


class LastSlot:
    """`marks`: id -> (time_ms, weight)."""

    __slots__ = ("marks",)

    def __init__(self) -> None:
        self.marks: dict[int, tuple[int, float]] = {}


class DecayedSlot:
    """`marks` by id; `landmark`: whole half-lives since 1970."""

    __slots__ = ("landmark", "marks")

    def __init__(self) -> None:
        self.marks: dict[int, DecayedMark] = {}
        self.landmark = 0


class WindowedSlot:
    """`counts`: slice << TYPE_BITS | action -> count; `touched`: time_s by action."""

    __slots__ = ("counts", "touched")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.touched = [0] * (TYPE_MASK + 1)


Slot: TypeAlias = LastSlot | DecayedSlot | WindowedSlot


class SignalState:
    """What is known of one user: the slots in the order of the declaration. Not thread-safe."""

    __slots__ = ("slots",)

    def __init__(self, slots: list[Any]) -> None:
        self.slots = slots
