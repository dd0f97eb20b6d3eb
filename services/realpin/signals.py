"""Owns the aggregation along time: a user's `SignalState`, and the `SignalSet` that changes and reads it.

`last`      id -> (time, weight); the newest time of an id wins, the newest ids stay.
`decayed`   id -> sum of weight * 2^((t - now) / half_life), kept as forward decay (Cormode et al.,
            "Forward decay", ICDE 2009): every term is scaled by its own time against a landmark, so late
            events add what they would have added in order, and a read costs one multiplication. The
            landmark is a whole number of half-lives, and moves by exact powers of two before a double
            could overflow.
`windowed`  (time slice, action) -> count; slices of `window / buckets`.

Order matters only where a limit cuts: an id that was dropped comes back as new. A state is not thread-safe:
the follower owns those that it changes, and readers decode the blob that was written (`state_codec.py`).
Knows neither gRPC nor storage: the offline trainer replays events through this file. Reading is
`signal_columns.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp2
from operator import itemgetter
from typing import Any, TypeAlias

import xxhash

from services.realpin.declaration import MS_PER_HOUR, ActionType, SignalConfig
from services.realpin.signal_columns import SignalColumns, columns_of
from services.realpin.slots import (
    TYPE_BITS,
    TYPE_MASK,
    DecayedMark,
    DecayedSlot,
    LastSlot,
    SignalState,
    Slot,
    WindowedSlot,
)

__all__ = ["Signal", "SignalColumns", "SignalSet", "SignalState"]

# Doubles reach 2^1023: with this much in the exponent a sum of 2^500 terms still fits.
EXPONENT_MAX = 400
# A term this many half-lives older than the landmark is far below any weight that is answered.
EXPONENT_MIN = -400
# Counters held for each slice of a window before the slices past it are dropped: every action, and some room.
SLICES_SLACK = len(ActionType) + 2

assert max(ActionType) <= TYPE_MASK, "an action must fit beside its slice in one key"


@dataclass(frozen=True, slots=True)
class Signal:
    """A declaration, ready to use."""

    config: SignalConfig
    signature: int
    """Of all that gives stored values their meaning: a state of another signature starts empty."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.config.name

    @property
    def kept_max(self) -> int:
        """Ids that are held before all past the limit are dropped; the slack makes dropping rare."""
        return self.config.limit + (self.config.limit >> 1)

    @property
    def half_life_ms(self) -> float:
        """Of a decayed signal."""
        return self.config.half_life_hours * MS_PER_HOUR

    @property
    def slice_ms(self) -> int:
        """Of a windowed signal: length of one part."""
        return max(1, round(self.config.window_hours * MS_PER_HOUR / self.config.buckets))

    @property
    def slot_type(self) -> type[Slot]:
        """What holds it for one user."""
        if self.config.kind == "last":
            return LastSlot
        return DecayedSlot if self.config.kind == "decayed" else WindowedSlot


# Where `act` finds the ids of a signal, in the order of its tuple.
_OF = {"pin": 0, "interest": 1, "board": 2, "owner": 3}

# Steps of one action, precomputed as bare tuples: `act` runs for every event of a replay.
_MarkStep: TypeAlias = tuple[int, int, float, int, int]  # slot number, of, weight, limit, kept_max
_DecayStep: TypeAlias = tuple[int, int, float, float, int, int]  # … weight, 1 / half-life, limit, kept_max
_CountStep: TypeAlias = tuple[int, int, int]  # slot number, slice_ms, kept_max


@dataclass(frozen=True, slots=True)
class _Plan:
    marks: tuple[_MarkStep, ...]
    decays: tuple[_DecayStep, ...]
    counts: tuple[_CountStep, ...]


class SignalSet:
    """The declared signals: makes, changes and reads states. Immutable, and free to share between threads."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self.signals = tuple(signals)
        self.names = tuple(signal.name for signal in self.signals)
        self._slot_types = tuple(signal.slot_type for signal in self.signals)
        self._plans = tuple(_plan(self.signals, action) for action in range(TYPE_MASK + 1))

    @classmethod
    def from_config(cls, signals: Iterable[SignalConfig]) -> SignalSet:
        """The set that the declarations describe. Raises ValueError when two have one name."""
        declared = list(signals)
        names = [config.name for config in declared]
        if len(set(names)) != len(names):
            raise ValueError(f"two signals have one name: {', '.join(names)}")
        return cls([Signal(config, _signature(config)) for config in declared])

    def empty(self) -> SignalState:
        """The state of a user who has done nothing."""
        return SignalState([slot_type() for slot_type in self._slot_types])

    def act(  # noqa: PLR0917  called for every event of a replay: keywords would cost a tenth
        self,
        state: SignalState,
        time_ms: int,
        action_type: int,
        pin: int = 0,
        board: int = 0,
        owner: int = 0,
        interests: Sequence[int] = (),
    ) -> None:
        """Add one action. Ids of 0 are unknown and feed nothing; `action_type` is 0 to 15.

        Costs about 5 µs with the default signals and three interests.
        """
        slots = state.slots
        plan = self._plans[action_type]
        time_s = time_ms // 1000
        ids_by_of = ((pin,) if pin else (), interests, (board,) if board else (), (owner,) if owner else ())
        for number, of, new_weight, limit, kept_max in plan.marks:
            if ids_by_of[of]:
                _mark(slots[number], ids_by_of[of], (time_ms, new_weight), limit, kept_max)
        for number, of, weight, per_ms, limit, kept_max in plan.decays:
            ids = ids_by_of[of]
            if not ids:
                continue
            slot = slots[number]
            exponent = time_ms * per_ms - slot.landmark
            # One comparison for the common case; the sum of one event is written out here, without a call.
            if not EXPONENT_MIN < exponent < EXPONENT_MAX:
                if exponent < 0:
                    continue
                _move_landmark(slot, int(time_ms * per_ms))
                exponent = time_ms * per_ms - slot.landmark
            amount = weight * exp2(exponent)
            slot.packed = None
            marks = slot.marks
            for id in ids:
                mark = marks.get(id)
                if mark is None:
                    marks[id] = [amount, time_s]
                else:
                    mark[0] += amount
                    if time_s > mark[1]:  # noqa: PLR1730  max() costs a call
                        mark[1] = time_s
            if len(marks) > kept_max:
                slot.marks = dict(sorted(marks.items(), key=_weight, reverse=True)[:limit])
        self._count(slots, plan.counts, time_ms, action_type, 1)

    def show(self, state: SignalState, time_ms: int, n: int, type: int = ActionType.IMPRESSION) -> None:
        """Add `n` impressions (or SERVED) at once; they feed windowed signals only."""
        self._count(state.slots, self._plans[type].counts, time_ms, type, n)

    def read(
        self, state: SignalState, now_ms: int, numbers: Iterable[int] | None = None
    ) -> list[SignalColumns]:
        """The signals at `now_ms`, in the order of the declaration; `numbers`: only those (None: all).

        At a `now_ms` before an id's last event, its weight is that of the event's time; windows leave later
        slices out.
        """
        wanted = range(len(self.signals)) if numbers is None else numbers
        return [
            columns_of(signal.config, state.slots[number], now_ms, signal.slice_ms, signal.half_life_ms)
            for number in wanted
            for signal in (self.signals[number],)
        ]

    @staticmethod
    def _count(slots: list[Any], steps: tuple[_CountStep, ...], time_ms: int, action: int, n: int) -> None:
        time_s = time_ms // 1000
        for number, slice_ms, kept_max in steps:
            slot = slots[number]
            counts = slot.counts
            key = (time_ms // slice_ms) << TYPE_BITS | action
            if key in counts:
                counts[key] += n
            else:
                counts[key] = n
                if len(counts) > kept_max:
                    _drop_slices(slot, kept_max // SLICES_SLACK)
            slot.packed = None
            if time_s > slot.touched[action]:  # noqa: PLR1730  max() costs a call
                slot.touched[action] = time_s


def _plan(signals: Sequence[Signal], action: int) -> _Plan:
    marks: list[_MarkStep] = []
    decays: list[_DecayStep] = []
    counts: list[_CountStep] = []
    for number, signal in enumerate(signals):
        config = signal.config
        weights = {int(known): weight for known, weight in config.actions.items()}
        if action not in weights:
            continue
        weight = weights[action]
        if config.kind == "windowed":
            counts.append((number, signal.slice_ms, config.buckets * SLICES_SLACK))
        elif config.kind == "last":
            marks.append((number, _OF[config.of], weight, config.limit, signal.kept_max))
        else:
            per_ms = 1.0 / signal.half_life_ms
            decays.append((number, _OF[config.of], weight, per_ms, config.limit, signal.kept_max))
    return _Plan(tuple(marks), tuple(decays), tuple(counts))


def _signature(config: SignalConfig) -> int:
    """64 bits of what a stored slot means. `weights` and `limit` are left out: old sums stay of use."""
    unit = {
        "last": "",
        "decayed": f"{config.half_life_hours:g}",
        "windowed": f"{config.window_hours:g}/{config.buckets}",
    }[config.kind]
    return xxhash.xxh3_64_intdigest(f"{config.name}|{config.kind}|{config.of}|{unit}".encode())


def _mark(slot: LastSlot, ids: Sequence[int], new: tuple[int, float], limit: int, kept_max: int) -> None:
    marks = slot.marks
    slot.packed = None
    for id in ids:
        old = marks.get(id)
        # Tuples compare by time, then weight: which of two simultaneous actions came first does not matter.
        if old is None or new > old:
            marks[id] = new
    if len(marks) > kept_max:
        slot.marks = dict(sorted(marks.items(), key=itemgetter(1), reverse=True)[:limit])


def _move_landmark(slot: DecayedSlot, landmark: int) -> None:
    """Scale every sum to a later landmark by a power of two: exact, but the oldest become 0 and go."""
    scale = exp2(max(slot.landmark - landmark, EXPONENT_MIN * 2))
    slot.marks = {
        id: [value * scale, time_s] for id, (value, time_s) in slot.marks.items() if value * scale != 0
    }
    slot.landmark = landmark


def _drop_slices(slot: WindowedSlot, slices: int) -> None:
    """Drop all slices but the newest `slices`: no reader can want the others."""
    oldest = (max(slot.counts) >> TYPE_BITS) - slices
    slot.counts = {key: count for key, count in slot.counts.items() if key >> TYPE_BITS >= oldest}


def _weight(item: tuple[int, DecayedMark]) -> float:
    return abs(float(item[1][0]))
