"""The feature log joined with what people did: logged rows in, labelled rows out.

Of the event log only the topic of actions is read: what was shown, with which features, stands in the rows.
The order of serving and action is that of the services' own clocks. Actions that are still to come, for pages
that were served within the window before the log's end, are missing; the newest labels are a little low.
A user who asked to be forgotten teaches nothing: pages served before that are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest
from services.chassis.log.log import LogReader, Positions, Tail
from services.cli.train.feature_rows import FeatureRows, request_numbers, taken
from services.cli.train.history import Action, History, Progress, Saved, read_history
from services.cli.train.labels import Deeds, graded
from services.cli.train.material import AsServed, Material, served_material
from services.realpin.ingest import Forgotten
from services.scorpion.feature_log_files import LoggedRows
from services.scorpion.training import TrainingData

ACTIONS = "actions"


class ActionsOf:
    """A log of which `read_history` sees the actions alone: every other topic looks empty to it."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._ends: dict[str, list[int]] = {}

    @property
    def log_id(self) -> str:
        """As of the log."""
        return self._log.log_id

    @property
    def topics(self) -> Mapping[str, int]:
        """As of the log."""
        return self._log.topics

    def begin_offsets(self, topic: str) -> list[int]:
        """Of actions as they are; of other topics where they end."""
        return self._log.begin_offsets(topic) if topic == ACTIONS else self.end_offsets(topic)

    def end_offsets(self, topic: str) -> list[int]:
        """As they were when first asked for: a topic must not begin before it ends."""
        if topic not in self._ends:
            self._ends[topic] = self._log.end_offsets(topic)
        return self._ends[topic]

    def tail(self, positions: Positions) -> Tail:
        """As of the log."""
        return self._log.tail(positions)

    def append_dead_letter(self, letter: bytes) -> None:
        """As of the log."""
        self._log.append_dead_letter(letter)

    def close(self) -> None:
        """As of the log."""
        self._log.close()


def read_actions(log: LogReader, *, records_max: int, progress: Progress) -> History:
    """What people did. Raises BadRequest beyond `records_max`, LogUnavailable when the log is silent."""
    return read_history(ActionsOf(log), records_max=records_max, progress=progress)


def labels_of(rows: LoggedRows, actions: History, *, window_ms: int) -> NDArray[np.float32]:
    """Grade of each row (`labels.py`): an action counts for the last page that served its user the pin."""
    deeds = Deeds()
    for time_ms, happening in zip(actions.times_ms, actions.happenings, strict=True):
        if isinstance(happening, Action | Saved) and happening.acted.pin:
            acted = happening.acted
            deeds.add(acted.user, acted.pin, acted.action, time_ms)
    return graded(users=rows.users, pins=rows.pins, times_ms=rows.served_ms, deeds=deeds, window_ms=window_ms)


def joined(found: FeatureRows, actions: History, *, window_ms: int) -> Material:
    """Rows to train on. Raises BadRequest when there are none."""
    rows = found.rows
    if rows is not None:
        rows = taken(rows, np.flatnonzero(_remembered(rows, actions)))
    if rows is None or not len(rows):
        others = f": {found.other_count:,} rows have another {', '.join(found.changed[:5])}"
        raise BadRequest(
            "the feature log has no rows to train on"
            + (others if found.other_count else "; feedgen's feature_log_share says how much is logged")
        )
    data = TrainingData(
        matrix=np.ascontiguousarray(rows.features),
        labels=labels_of(rows, actions, window_ms=window_ms),
        sessions=request_numbers(rows),
        times_ms=rows.served_ms,
        saved_ms=rows.saved_at.astype(np.int64) * 1000,
        light_scores=np.nan_to_num(rows.light_scores),
    )
    served = AsServed(rows.scores.astype(np.float64), rows.models, rows.positions.astype(np.int64))
    return served_material(data, served, window_ms=window_ms, passed_over=found.other_count)


def _remembered(rows: LoggedRows, actions: History) -> NDArray[np.bool_]:
    """Rows served after their user was last forgotten, or whose user never was."""
    forgotten = {
        happening.user: time_ms
        for time_ms, happening in zip(actions.times_ms, actions.happenings, strict=True)
        if isinstance(happening, Forgotten)
    }
    users, place = np.unique(rows.users, return_inverse=True)
    last_ms = np.array([forgotten.get(user, -1) for user in users.tolist()], np.int64)
    kept: NDArray[np.bool_] = rows.served_ms > last_ms[place]
    return kept
