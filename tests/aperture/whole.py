"""Aperture's parts over a real store, and records made by hand, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from services.aperture.config import ApertureConfig
from services.aperture.history import Settled
from services.aperture.metrics import ApertureMetrics
from services.aperture.parts import make_parts
from services.aperture.rows import Rows, concat
from services.aperture.store import families
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store

NOW_S = 1_700_000_000 // 86_400 * 86_400 + 43_200
"""Noon of a day, so that hours around it stay in one bucket."""
DAY_S = 86_400
NUM_SHARDS = 4
OWNED = OwnedShards.everything(NUM_SHARDS)


class Aperture:
    """A store with its view and reader; `crash` makes them anew from what was committed."""

    def __init__(self, path: Path, **config: Any) -> None:
        self.config = ApertureConfig(**config)
        self.store = Store(path, families())
        self.open()

    def open(self) -> None:
        """Begin, as a process does."""
        self.metrics = ApertureMetrics(CollectorRegistry())
        parts = make_parts(self.config, store=self.store, owned=OWNED, metrics=self.metrics)
        self.view, self.reader = parts.view, parts.reader
        self.freezer, self.mutable = parts.freezer, parts.mutable
        self.view.load()

    def crash(self) -> None:
        """Lose all memory."""
        self.open()

    def follow(self, *records: record_pb2.Record, commit: bool = True) -> None:
        """Apply the records as one batch."""
        changes = [change for record in records if (change := self.view.decode(record)) is not None]
        batch = self.store.batch()
        self.view.apply(changes, batch)
        if commit:
            self.store.write(batch)

    def settle(self, rounds: int = 50) -> None:
        """Upkeep without records, until there is nothing left to do."""
        for _ in range(rounds):
            if not self.view.upkeep_waits:
                return
            self.keep_up()
        raise AssertionError("the freezer does not come to an end")

    def keep_up(self) -> None:
        """One slice of upkeep, committed."""
        batch = self.store.batch()
        self.view.upkeep(batch)
        self.store.write(batch)

    def read(self, user: int, *, start_s: int = 0) -> tuple[Settled, Rows]:
        """As a request reads."""
        return self.reader.read(user, start_s=start_s)

    def rows(self, user: int) -> list[tuple[int, int, int]]:
        """Every row of the user as (time_s, entity, action), sorted."""
        settled, fresh = self.read(user)
        return as_tuples(concat([settled.rows, fresh]))

    def parts(self, user: int) -> list[tuple[int, bool]]:
        """(bucket, frozen) of what the store has of the user."""
        keys = self.reader._store
        return sorted(
            (part.bucket, part.generation is None) for part in keys.history_back(user, from_bucket=0)
        )


def as_tuples(rows: Rows) -> list[tuple[int, int, int]]:
    """Rows as sorted (time_s, entity, action)."""
    return sorted(zip(rows.times.tolist(), rows.entities.tolist(), rows.types.tolist(), strict=True))


def record(event: event_pb2.Event, *, user: int, time_s: int) -> record_pb2.Record:
    """A record of `actions`."""
    return record_pb2.Record(
        record_id=1, key=user, role=record_pb2.ROLE_SOURCE, time_ms=time_s * 1000, version=1, event=event
    )


def shown(user: int, pins: Sequence[int], *, time_s: int = NOW_S, type: int = 1) -> record_pb2.Record:
    """Impressions."""
    body = event_pb2.Impressions(user=user, pins=pins, type=type)  # type: ignore[arg-type]
    return record(event_pb2.Event(impressions=body), user=user, time_s=time_s)


def acted(user: int, pin: int, *, time_s: int = NOW_S, type: int = 3) -> record_pb2.Record:
    """An action."""
    body = event_pb2.Action(user=user, pin=pin, type=type)  # type: ignore[arg-type]
    return record(event_pb2.Event(action=body), user=user, time_s=time_s)


def forget(user: int, *, time_s: int = NOW_S) -> record_pb2.Record:
    """Forget the user."""
    body = event_pb2.ForgetUser(user=user)
    return record(event_pb2.Event(forget_user=body), user=user, time_s=time_s)
