"""Labels: what became of a pin that was shown.

An action belongs to the last time that its user was shown the pin, when that is at most the window ago. Of
several actions the strongest counts; a hide says no, whatever came before it.
Pure columns; no record is looked at twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.realpin.declaration import ActionType

GRADES: Final[Mapping[int, int]] = {ActionType.CLOSEUP: 1, ActionType.CLICK: 2, ActionType.SAVE: 3}
"""What an action says of a pin, as a gain of NDCG: looked at, gone to, kept."""
GRADE_NAMES: Final = {grade: ActionType(action).name.lower() for action, grade in GRADES.items()}


@dataclass(slots=True)
class Deeds:
    """Engagements and hides of pins, in any order."""

    users: list[int] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    grades: list[int] = field(default_factory=list)
    """As in `GRADES`; 0: a hide."""
    times_ms: list[int] = field(default_factory=list)

    def add(self, user: int, pin: int, action: int, time_ms: int) -> None:
        """Note one; other actions are passed over."""
        grade = GRADES.get(action, 0)
        if grade or action == ActionType.HIDE:
            self.users.append(user)
            self.pins.append(pin)
            self.grades.append(grade)
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
    grades = graded(users=users, pins=pins, times_ms=times_ms, deeds=deeds, window_ms=window_ms)
    return (grades > 0).astype(np.float32)


def graded(
    *,
    users: NDArray[np.uint64],
    pins: NDArray[np.uint64],
    times_ms: NDArray[np.int64],
    deeds: Deeds,
    window_ms: int,
) -> NDArray[np.float32]:
    """The greatest of `GRADES` that each row earned, 0 where nothing was done or it was hidden; float32,
    aligned with the rows shown."""
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
    row, grade = row[same], np.array(deeds.grades, np.float32)[deed[same] - shown]
    np.maximum.at(labels, row, grade)
    labels[row[grade == 0]] = 0.0
    return labels
