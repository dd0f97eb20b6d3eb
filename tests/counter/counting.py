"""Records as Ingest would write them, and a Counter of real parts without a log or a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.counter.config import CounterConfig
from services.counter.counters import ACTIONS, Counters
from services.counter.ingest import CountsView
from services.counter.metrics import CounterMetrics
from services.counter.service import CounterServicer
from services.counter.store import FAMILIES, CounterStore
from services.counter.table import CounterTable

NOW_MS = FakeClock().now_ms()
HOUR_MS = 3_600_000


def counted(*entities: int, action: str, time_ms: int = NOW_MS) -> record_pb2.Record:
    """A record that counts one action for entities."""
    kind = type_pb2.ActionType.ValueType(ACTIONS[action])
    return record_pb2.Record(
        record_id=1,
        key=entities[0] if entities else 0,
        role=record_pb2.ROLE_COUNTS,
        time_ms=time_ms,
        version=1,
        counts=record_pb2.Counts(entities=entities, type=kind),
    )


@dataclass
class Counter:
    """Everything of one process but the log, the server and the follower's thread."""

    raw: Store
    counters: Counters
    table: CounterTable
    view: CountsView
    servicer: CounterServicer
    clock: FakeClock
    registry: CollectorRegistry

    def follow(self, *records: record_pb2.Record) -> None:
        """Apply the records as one batch."""
        changes = [change for change in map(self.view.decode, records) if change is not None]
        batch = self.raw.batch()
        self.view.apply(changes, batch)
        self.raw.write(batch)

    def counts(self, entity: int, *names: str, now_ms: int = NOW_MS) -> list[float]:
        """Counts of one entity, all when no counter is named."""
        asked = np.array([entity], np.uint64)
        asked.flags.writeable = False
        columns = self.counters.columns(names or self.counters.names)
        row: list[float] = self.table.counts(asked, columns, now_ms=now_ms)[0][0].tolist()
        return row


def open_counter(
    path: Path, *, config: CounterConfig | None = None, owned: OwnedShards | None = None
) -> Counter:
    """A Counter over the store at `path`, loaded; the caller closes `raw`."""
    config = config or CounterConfig()
    owned = owned or OwnedShards.everything(8)
    counters = Counters([declared.build() for declared in config.counters])
    registry, clock = CollectorRegistry(), FakeClock()
    metrics = CounterMetrics(registry)
    raw = Store(path, FAMILIES)
    table = CounterTable(counters, config.table_limits)
    view = CountsView(table, CounterStore(raw, counters, owned), counters, metrics, owned)
    view.load()
    servicer = CounterServicer(table, counters, metrics, config=config, owned=owned, clock=clock)
    return Counter(raw, counters, table, view, servicer, clock, registry)


def restarted(counter: Counter, path: Path, *, config: CounterConfig | None = None) -> Counter:
    """What another process finds in the store of this one."""
    counter.raw.close()
    return open_counter(path, config=config)


def entities_of(packed: bytes) -> Sequence[int]:
    """The entities of a packed column."""
    column: list[int] = np.frombuffer(packed, "<u8").tolist()
    return column
