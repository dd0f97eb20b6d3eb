"""The domain of declared counters: which action adds how much to which column.

A *total* adds whole weights for ever and stops at 2^32 - 1. A *decayed* counter halves every half-life:
its value at a time t is the sum of weight · 2^(-(t - event time)/half-life) over the events before t.
It may go below zero while it is counted (a hide weighs against saves); it is answered as 0 then.
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


class UnknownCounter(BadRequest):
    """A request names a counter that is not declared."""


class CounterKind(StrEnum):
    """How a counter keeps what it counted."""

    TOTAL = "total"
    DECAYED = "decayed"


@dataclass(frozen=True, slots=True)
class CounterSpec:
    """One declared counter."""

    name: str
    kind: CounterKind
    weights: Mapping[str, float]
    """By name of the action, not empty."""
    half_life_ms: int = 0
    """Of a decayed counter; 0 for a total."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a counter needs a name")
        if not self.weights:
            raise ValueError(f"counter {self.name} counts no action: give it actions")
        total = self.kind is CounterKind.TOTAL
        for action, weight in self.weights.items():
            if action not in ACTIONS:
                raise ValueError(f"counter {self.name}: no action {action!r}, there are {', '.join(ACTIONS)}")
            if not 0 < abs(weight) <= WEIGHT_MAX:
                raise ValueError(
                    f"counter {self.name}: weight {weight} of {action} must be up to {WEIGHT_MAX}"
                )
            if total and (weight < 0 or weight != int(weight)):
                raise ValueError(f"counter {self.name}: a total adds whole positive weights, not {weight}")
        if total and self.half_life_ms:
            raise ValueError(f"counter {self.name} is a total: it has no half-life")
        if not total and self.half_life_ms <= 0:
            raise ValueError(f"counter {self.name} is decayed: it needs a half-life above 0")


class Counters:
    """All declared counters, in order. Immutable; raises ValueError for none, or a name twice.

    Columns: totals first, then decayed, each in declared order.
    """

    def __init__(self, specs: Sequence[CounterSpec]) -> None:
        names = [spec.name for spec in specs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"counters need different names, and at least one: {names}")
        self.names: tuple[str, ...] = tuple(names)
        totals = [spec for spec in specs if spec.kind is CounterKind.TOTAL]
        decayed = [spec for spec in specs if spec.kind is CounterKind.DECAYED]
        self.totals: tuple[str, ...] = tuple(spec.name for spec in totals)
        self.decayed: tuple[str, ...] = tuple(spec.name for spec in decayed)
        self.total_weights: NDArray[np.uint32] = _weights(totals).astype(np.uint32)
        """Shape (action, total)."""
        self.decayed_weights: NDArray[np.float64] = _weights(decayed)
        """Shape (action, decayed)."""
        self.half_lives_ms: NDArray[np.float64] = np.array([s.half_life_ms for s in decayed], np.float64)
        self.counted: frozenset[int] = frozenset(ACTIONS[name] for spec in specs for name in spec.weights)
        """Actions that some counter counts."""
        # For the kernels: column c of the totals is c, column c of the decayed ones is -1 - c.
        self._columns = {name: column for column, name in enumerate(self.totals)}
        self._columns.update({name: -1 - column for column, name in enumerate(self.decayed)})

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
