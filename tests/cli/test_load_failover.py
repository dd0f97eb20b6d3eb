"""A load goes on when the Ingest that it talks to goes away, by way of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from feedmesh.log.v1 import event_pb2
from feedmesh.rockstore.v1 import rockstore_pb2
from services.chassis.errors import Unavailable
from services.cli.connection import Connection
from services.cli.load.loader import load
from services.cli.load.rows import RowReader


class Gone:
    """The answer of an Ingest that has just ended."""

    def result(self) -> None:
        raise Unavailable("gone")


class OtherIngest:
    """A connection whose first Ingest is gone, and whose others take what they are given."""

    def __init__(self, data_dir: Path) -> None:
        self.layout = SimpleNamespace(data_dir=data_dir)
        self.started: list[str] = []
        self.published: list[str] = []

    def start_publish(self, events: Sequence[event_pb2.Event]) -> Gone:
        self.started += [event.id for event in events]
        return Gone()

    def publish(self, events: Sequence[event_pb2.Event]) -> bytes:
        self.published += [event.id for event in events]
        return b"token"


def test_the_same_events_go_to_another_ingest_in_order(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    users.write_text("id,name\n" + "".join(f"u{n},U{n}\n" for n in range(1_200)))
    connection = OtherIngest(tmp_path)
    loaded = load(
        cast(Connection, connection),
        users,
        RowReader(pin_schema=rockstore_pb2.GetSchemaResponse(), now_ms=1),
        lambda rows: None,
    )
    assert (loaded.row_count, loaded.token) == (1_200, b"token")
    assert connection.published == connection.started
    assert len(connection.published) == 1_200
