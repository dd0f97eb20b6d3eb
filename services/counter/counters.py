"""The domain of declared counters: which action adds how much to which column.

A *total* adds whole weights for ever and stops at 2^32 - 1. A *decayed* counter halves every half-life:
its value at a time t is the sum of weight · 2^(-(t - event time)/half-life) over the events before t.
It may go below zero while it is counted (a hide weighs against saves); it is answered as 0 then.
A *windowed* counter adds whole weights of the last hours, in slots: at a time t it has the events of t's slot
and of the slots before it, one window in all, so those of the last window, less up to one slot.
Compiled once into small arrays that the kernels index by action. Next: `table.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest
from services.counter.row_kernels import Columns, Rules
from services.counter.window_kernels import CELL_MAX

ACTIONS: Final[Mapping[str, int]] = {
    "impression": 1,
    "closeup": 2,
    "click": 3,
    "save": 4,
    "hide": 5,
    "served": 6,
}
"""Names in the configuration → numbers of `feedmesh.type.v1.ActionType`."""
ACTION_COUNT: Final = 1 + max(ACTIONS.values())
WEIGHT_MAX: Final = 1_000_000
WINDOW_WEIGHT_MAX: Final = 1_000
"""A slot stops at 65,535: heavier events would fill it at once."""
assert WINDOW_WEIGHT_MAX <= CELL_MAX
WINDOW_SLOTS_MAX: Final = 32


class UnknownCounter(BadRequest):
    """A request names a counter that is not declared."""


class CounterKind(StrEnum):
    """How a counter keeps what it counted."""

    TOTAL = "total"
    DECAYED = "decayed"
    WINDOWED = "windowed"


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """One declared counter."""

    name: str
    kind: CounterKind
    weights: Mapping[str, float]
    """By name of the action, not empty."""
    half_life_ms: int = 0
    """Of a decayed counter; 0 for others."""
    window_ms: int = 0
    """Of a windowed counter; 0 for others."""
    window_slots: int = 0
    """Slots that a window is cut into; 0 for others."""

    @property
    def slot_ms(self) -> int:
        """Length of a slot, rounded down, so that no event counts longer than the window; 0: no window."""
        return self.window_ms // self.window_slots if self.window_slots else 0

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a counter needs a name")
        if not self.weights:
            raise ValueError(f"counter {self.name} counts no action: give it actions")
        for action, weight in self.weights.items():
            self._check_weight(action, weight)
        self._check_times()

    def _check_weight(self, action: str, weight: float) -> None:
        if action not in ACTIONS:
            raise ValueError(f"counter {self.name}: no action {action!r}, there are {', '.join(ACTIONS)}")
        weight_max = WINDOW_WEIGHT_MAX if self.kind is CounterKind.WINDOWED else WEIGHT_MAX
        if not 0 < abs(weight) <= weight_max:
            raise ValueError(f"counter {self.name}: weight {weight} of {action} must be up to {weight_max}")
        if self.kind is not CounterKind.DECAYED and (weight < 0 or weight != int(weight)):
            raise ValueError(
                f"counter {self.name}: a {self.kind} counter adds whole positive weights, not {weight}"
            )

    def _check_times(self) -> None:
        if self.kind is CounterKind.DECAYED:
            if self.half_life_ms <= 0:
                raise ValueError(f"counter {self.name} is decayed: it needs a half-life above 0")
        elif self.half_life_ms:
            raise ValueError(f"counter {self.name} is {self.kind}: it has no half-life")
        if self.kind is CounterKind.WINDOWED:
            if not 1 <= self.window_slots <= WINDOW_SLOTS_MAX:
                raise ValueError(
                    f"counter {self.name} has {self.window_slots} slots, it needs 1 to {WINDOW_SLOTS_MAX}"
                )
            if self.slot_ms <= 0:
                raise ValueError(f"counter {self.name} is windowed: it needs a window of 1 ms a slot or more")
        elif self.window_ms or self.window_slots:
            raise ValueError(f"counter {self.name} is {self.kind}: it has no window")


class Counters:
    """All declared counters, in order. Immutable; raises ValueError for none, or a name twice.

    Columns: totals first, then decayed, then windowed, each in declared order.
    """

    def __init__(self, specs: Sequence[CounterSpec]) -> None:
        names = [spec.name for spec in specs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"counters need different names, and at least one: {names}")
        self.names: tuple[str, ...] = tuple(names)
        totals, decayed, windowed = (
            tuple(spec for spec in specs if spec.kind is kind)
            for kind in (CounterKind.TOTAL, CounterKind.DECAYED, CounterKind.WINDOWED)
        )
        self.specs: tuple[CounterSpec, ...] = (*totals, *decayed, *windowed)
        """In the order of the columns."""
        self.total_count: int = len(totals)
        self.decayed_count: int = len(decayed)
        self.cell_count: int = sum(spec.window_slots for spec in windowed)
        """Slots of all windows of a row."""
        self.rules: Rules = Rules(
            total_weights=_weights(totals).astype(np.uint32),
            decayed_weights=_weights(decayed),
            half_lives_ms=np.array([spec.half_life_ms for spec in decayed], np.float64),
            window_weights=_weights(windowed).astype(np.int64),
            rings=_rings(windowed),
        )
        self.counted: frozenset[int] = frozenset(ACTIONS[name] for spec in specs for name in spec.weights)
        """Actions that some counter counts."""
        self._columns = {spec.name: column for column, spec in enumerate(self.specs)}

    def rows(self, count: int) -> Columns:
        """Rows without events."""
        return Columns(
            last_ms=np.zeros(count, np.int64),
            totals=np.zeros((count, self.total_count), np.uint32),
            decayed=np.zeros((count, self.decayed_count), np.float32),
            cells=np.zeros((count, self.cell_count), np.uint16),
        )

    def columns(self, names: Sequence[str]) -> NDArray[np.int32]:
        """Columns of these counters, in the order asked for. Raises UnknownCounter."""
        try:
            return np.array([self._columns[name] for name in names], np.int32)
        except KeyError as error:
            raise UnknownCounter(
                f"no counter {error.args[0]!r} is declared; there are {', '.join(self.names)}",
                counter=error.args[0],
            ) from error


def _weights(specs: Sequence[CounterSpec]) -> NDArray[np.float64]:
    weights = np.zeros((ACTION_COUNT, len(specs)), np.float64)
    for column, spec in enumerate(specs):
        for action, weight in spec.weights.items():
            weights[ACTIONS[action], column] = weight
    return weights


def _rings(specs: Sequence[CounterSpec]) -> NDArray[np.int64]:
    rings = np.array([(0, spec.window_slots, spec.slot_ms) for spec in specs], np.int64).reshape(-1, 3)
    rings[:, 0] = np.cumsum(rings[:, 1]) - rings[:, 1]
    return rings
