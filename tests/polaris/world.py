"""A Polaris without a log: records go through the view into a real store, a restart reads it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.polaris.v1 import polaris_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.columns.packed import unpack_u64
from services.chassis.log.records import INTEREST_VERSION
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store
from services.polaris import store
from services.polaris.config import PolarisConfig
from services.polaris.ingest import PinsView
from services.polaris.lists import Lists
from services.polaris.metrics import PolarisMetrics
from services.polaris.service import PolarisServicer

NOW_MS = 1_770_000_000_000
DAY_MS = 86_400_000
USER = 77
ELSEWHERE = 999
BOARD: polaris_pb2.ListKind.ValueType = polaris_pb2.LIST_KIND_BOARD
INTEREST: polaris_pb2.ListKind.ValueType = polaris_pb2.LIST_KIND_INTEREST


def record(event: event_pb2.Event, *, key: int, time_ms: int = NOW_MS) -> record_pb2.Record:
    """The event at a board."""
    return record_pb2.Record(
        record_id=1, key=key, role=record_pb2.ROLE_BOARD, time_ms=time_ms, version=1, event=event
    )


def save(
    board: int, pin: int, *, quality: float = 0.5, time_ms: int = NOW_MS, flags: int = 0
) -> record_pb2.Record:
    """A pin is saved."""
    saved = event_pb2.SavePin(pin=pin, board=board, user=USER, quality=quality, flags=flags)
    return record(event_pb2.Event(save_pin=saved), key=board, time_ms=time_ms)


def remove(board: int, pin: int, *, time_ms: int = NOW_MS) -> record_pb2.Record:
    """A pin is taken off."""
    event = event_pb2.Event(remove_pin=event_pb2.RemovePin(pin=pin, board=board, user=USER))
    return record(event, key=board, time_ms=time_ms)


def put_interests(
    pin: int,
    interest: int,
    *,
    weight: float = 1.0,
    quality: float = 0.5,
    created_ms: int = 0,
    time_ms: int = NOW_MS,
    flags: int = 0,
) -> record_pb2.Record:
    """A pin is put into an interest, and into another whose record lies elsewhere."""
    put = event_pb2.PutPinInterests(
        pin=pin,
        interests=[ELSEWHERE, interest],
        weights=[0.125, weight],
        quality=quality,
        created_ms=created_ms,
        flags=flags,
    )
    return at_interest(put, key=interest, time_ms=time_ms)


def remove_interests(pin: int, interest: int, *, time_ms: int = NOW_MS) -> record_pb2.Record:
    """A pin is taken out of an interest."""
    put = event_pb2.PutPinInterests(pin=pin, interests=[ELSEWHERE], removed_interests=[interest])
    return at_interest(put, key=interest, time_ms=time_ms)


def at_interest(put: event_pb2.PutPinInterests, *, key: int, time_ms: int = NOW_MS) -> record_pb2.Record:
    """The event at an interest."""
    made = record(event_pb2.Event(put_pin_interests=put), key=key, time_ms=time_ms)
    made.role, made.version = record_pb2.ROLE_INTEREST, INTEREST_VERSION
    return made


def put_board(board: int, *, owner: int) -> record_pb2.Record:
    """A board is made."""
    put = event_pb2.PutBoard(board=board, board_data=type_pb2.Board(owner=owner))
    return record(event_pb2.Event(put_board=put), key=board)


def delete_board(board: int, *, owner: int = 5) -> record_pb2.Record:
    """A board is deleted."""
    event = event_pb2.Event(delete_board=event_pb2.DeleteBoard(board=board, owner=owner))
    return record(event, key=board)


class Polaris:
    """One process's parts, on a store that outlives it."""

    def __init__(
        self, path: Path, *, config: PolarisConfig | None = None, owned: OwnedShards | None = None
    ) -> None:
        self.config = config or PolarisConfig()
        self._path = path
        self._owned = owned or OwnedShards.everything(64)
        self._open()

    def _open(self) -> None:
        self.database = Store(self._path, store.families())
        config = self.config
        self.lists = Lists.empty(config)
        self.arena = self.lists.boards.arena
        store.load(self.database, self.lists, removals_before_ms=NOW_MS - config.removal_kept_s * 1000)
        self.registry = CollectorRegistry()
        metrics = PolarisMetrics(self.registry, self.lists)
        self.view = PinsView(self.lists, metrics, config=config, owned=self._owned, database=self.database)
        self.servicer = PolarisServicer(
            self.lists, metrics, config=config, owned=self._owned, clock=FakeClock(NOW_MS)
        )

    def follow(self, *records: record_pb2.Record) -> None:
        """One batch."""
        changes = [change for change in map(self.view.decode, records) if change is not None]
        batch = self.database.batch()
        self.view.apply(changes, batch)
        self.database.write(batch)

    def restart(self, *, config: PolarisConfig | None = None) -> None:
        """Memory is gone, the store stays."""
        self.database.close()
        self.config = config or self.config
        self._open()

    def close(self) -> None:
        """Release the store."""
        self.database.close()

    def retrieve(
        self, boards: list[int], request: polaris_pb2.RetrieveRequest | None = None
    ) -> polaris_pb2.RetrieveResponse:
        """Retrieve from these boards."""
        asked = polaris_pb2.RetrieveRequest(boards_u64=np.array(boards, dtype=np.uint64).tobytes())
        if request is not None:
            asked.MergeFrom(request)
        return self.servicer.Retrieve(asked, None)  # type: ignore[arg-type]

    def list_pins(
        self, board: int, *, limit: int = 0, kind: polaris_pb2.ListKind.ValueType = BOARD
    ) -> polaris_pb2.ListPinsResponse:
        """List one board or interest."""
        request = polaris_pb2.ListPinsRequest(board=board, limit=limit, kind=kind)
        return self.servicer.ListPins(request, None)  # type: ignore[arg-type]

    def pins(self, board: int, *, kind: polaris_pb2.ListKind.ValueType = BOARD) -> list[int]:
        """Pins of a board or interest, best first."""
        listed: list[int] = unpack_u64(self.list_pins(board, limit=10_000, kind=kind).pins_u64).tolist()
        return listed

    def metric(self, name: str, kind: str = "board", **labels: str) -> float:
        """A metric's value; 0 when it was never touched."""
        labels["kind"] = kind
        return self.registry.get_sample_value(f"feedmesh_polaris_{name}", labels) or 0.0
