"""`feedmesh publish`: one event, written as a row of `docs/loading.md`."""

from __future__ import annotations

import base64
import os
import time
from typing import Annotated

import typer
from rich.console import Console

from feedmesh.type.v1 import type_pb2
from services.cli.connection import Connection
from services.cli.faults import UsageFault
from services.cli.load.columns import Row
from services.cli.load.faults import RowFault
from services.cli.load.rows import KINDS, RowReader
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir


def publish(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.", metavar="KIND")],
    columns: Annotated[list[str], typer.Argument(help="Columns of the row.", metavar="NAME=VALUE...")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Publish one event, e.g. `feedmesh publish follow user=ada board=bob/sea`.

    Prints the token; `feedmesh feed USER --token TOKEN` sees the event. docs/loading.md has the columns.
    """
    row = _row(columns)
    with Connection(Layout.open(data_dir)) as connection:
        reader = RowReader(
            pin_schema=connection.schema(type_pb2.OBJECT_KIND_PIN), now_ms=time.time_ns() // 1_000_000
        )
        try:
            _complete(connection, reader, kind, row)
            events = reader.events(kind, row)
        except RowFault as fault:
            raise UsageFault(f"{kind}: {fault}\nsee docs/loading.md for an example of each row") from fault
        for event in events:
            event.id = f"cli-{os.urandom(12).hex()}"
        token = connection.publish(events)
    Console().print(base64.urlsafe_b64encode(token).decode(), soft_wrap=True, highlight=False)


def _row(columns: list[str]) -> Row:
    row = {}
    for column in columns:
        name, equals, value = column.partition("=")
        if not equals:
            raise UsageFault(f"{column!r}: write columns as NAME=VALUE, such as user=ada")
        row[name] = value
    return row


def _complete(connection: Connection, reader: RowReader, kind: str, row: Row) -> None:
    """Actions and saves carry the board, owner and interests of their pin; its interests need its age."""
    if kind in {"action", "save", "put-pin-interests"} and row.get("pin"):
        pin = reader.names.id_of("pin", row["pin"], column="pin")
        for item in connection.objects(type_pb2.OBJECT_KIND_PIN, [pin]).values():
            reader.know(item)
