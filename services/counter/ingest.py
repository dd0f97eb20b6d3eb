"""From the log to the table and the store: the view of the topic `counts`.

A record carries entities that one action counts for. `apply` counts the whole batch in a few kernel calls
and writes each row that changed once, whole: the rows, the offset and the recent ids are one atomic batch,
so kill -9 counts nothing twice. The table is ahead of the disk by at most the batch that is being written.
Counts of the past are right, too: decay goes by the record's time, never by a clock.
Next: `table.py`, `store.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedmesh.log.v1 import record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import PoisonRecord
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Batch
from services.counter.counters import ACTIONS, Counters
from services.counter.metrics import CounterMetrics
from services.counter.store import CounterStore
from services.counter.table import CounterTable

_NAMES: Final = {number: name for name, number in ACTIONS.items()}


@dataclass(frozen=True, slots=True)
class Counted:
    """One record: every entity counts once for the action."""

    entities: NDArray[np.uint64]
    action: int
    time_ms: int


class CountsView:
    """The view that a Follower drives."""

    topics: Sequence[str] = ("counts",)

    def __init__(
        self,
        table: CounterTable,
        store: CounterStore,
        counters: Counters,
        metrics: CounterMetrics,
        owned: OwnedShards,
    ) -> None:
        self._table = table
        self._store = store
        self._counted = counters.counted
        self._metrics = metrics
        self._owned = owned

    def load(self) -> None:
        """Fill the table from the store; before the follower starts."""
        for rows in self._store.load():
            self._metrics.refused(self._table.load(rows))
        self._measure()

    def decode(self, record: record_pb2.Record) -> Counted | None:
        """What a record counts; None when no counter counts it.

        Raises:
            PoisonRecord: no entity, entity 0, or an action that this version does not know.
        """
        entities, action = _entities(record)
        if entities is None:
            return None
        if action not in _NAMES:
            raise PoisonRecord(f"a record counts the unknown action {action}", action=action)
        if not len(entities) or not entities.all():
            raise PoisonRecord(f"a record counts {_NAMES[action]} for no entity, or for entity 0")
        return Counted(entities, action, record.time_ms) if action in self._counted else None

    def apply(self, changes: Sequence[Counted], batch: Batch) -> None:
        """Count, and put every changed row into `batch`."""
        if not changes:
            return
        sizes = np.fromiter((len(change.entities) for change in changes), np.intp, len(changes))
        entities = np.concatenate([change.entities for change in changes])
        actions = np.repeat(np.fromiter((c.action for c in changes), np.uint8, len(changes)), sizes)
        times_ms = np.repeat(np.fromiter((c.time_ms for c in changes), np.int64, len(changes)), sizes)
        # With fewer partitions than shards, a record may pack entities of shards that are not served here.
        here = self._owned.owns(entities)
        if not here.all():
            entities, actions, times_ms = entities[here], actions[here], times_ms[here]
        rows, refused_count = self._table.add(entities, actions, times_ms)
        self._store.put(batch, rows)
        for action, count in enumerate(np.bincount(actions)):
            if count:
                self._metrics.counted(_NAMES[action], int(count))
        self._metrics.refused(refused_count)
        self._metrics.wrote(len(rows.entities))
        self._measure()

    def _measure(self) -> None:
        self._metrics.sized(entity_count=self._table.entity_count, size_bytes=self._table.size_bytes)


def _entities(record: record_pb2.Record) -> tuple[NDArray[np.uint64] | None, int]:
    """Entities and action of a record; None for events that count nothing.

    Ingest packs impressions, many pins to a record; a save or another action comes as the whole event.
    """
    body = record.WhichOneof("body")
    if body == "counts":
        return np.array(record.counts.entities, np.uint64), record.counts.type
    event = record.event.WhichOneof("body") if body == "event" else None
    if event == "save_pin":
        pin, action = record.event.save_pin.pin, int(type_pb2.ACTION_TYPE_SAVE)
    elif event == "action":
        pin, action = record.event.action.pin, int(record.event.action.type)
    else:
        return None, 0
    if pin != record.key:
        raise PoisonRecord(f"{event} of pin {pin} lies under key {record.key}", pin=pin)
    return np.array([pin], np.uint64), action
