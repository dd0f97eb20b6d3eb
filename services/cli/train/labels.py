"""Labels: what became of a pin that was shown.

An action belongs to the last time that its user was shown the pin, when that is at most the window ago.
Pure columns; no record is looked at twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.realpin.declaration import ActionType

ENGAGED: Final = frozenset({ActionType.CLOSEUP, ActionType.CLICK, ActionType.SAVE})


@dataclass(slots=True)
class Deeds:
    """Engagements and hides of pins, in any order."""

    users: list[int] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    hides: list[bool] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)

    def add(self, user: int, pin: int, action: int, time_ms: int) -> None:
        """Note one; other actions are passed over."""
        hide = action == ActionType.HIDE
        if hide or action in ENGAGED:
            self.users.append(user)
            self.pins.append(pin)
            self.hides.append(hide)
            self.times_ms.append(time_ms)


def engaged(
    *,
    users: NDArray[np.uint64],
    pins: NDArray[np.uint64],
    times_ms: NDArray[np.int64],
    deeds: Deeds,
    window_ms: int,
) -> NDArray[np.float32]:
    """1 for rows that were engaged with and not hidden, else 0; float32, aligned with the rows shown."""
    shown = len(users)
    labels = np.zeros(shown, np.float32)
    if not deeds.users:
        return labels
    all_users = np.concatenate([users, np.array(deeds.users, np.uint64)])
    all_pins = np.concatenate([pins, np.array(deeds.pins, np.uint64)])
    all_times = np.concatenate([times_ms, np.array(deeds.times_ms, np.int64)])
    is_deed = np.arange(len(all_users)) >= shown
    # By user and pin, then time; of one moment, the showing comes before the deed.
    order = np.lexsort((is_deed, all_times, all_pins, all_users))
    place = np.arange(len(order))
    last_shown = np.maximum.accumulate(np.where(is_deed[order], -1, place))
    at = np.flatnonzero(is_deed[order] & (last_shown >= 0))
    row, deed = order[last_shown[at]], order[at]
    same = (
        (all_users[row] == all_users[deed])
        & (all_pins[row] == all_pins[deed])
        & (all_times[deed] - all_times[row] <= window_ms)
    )
    row, hide = row[same], np.array(deeds.hides, np.bool_)[deed[same] - shown]
    labels[row[~hide]] = 1.0
    # A hide says no, whatever came before it.
    labels[row[hide]] = 0.0
    return labels
