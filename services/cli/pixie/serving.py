"""Which graph the running Pixies answer from.

One that does not answer is not an error: it reads the folder when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedmesh.pixie.v1 import pixie_pb2
from services.chassis.errors import FeedmeshError, NotFound
from services.chassis.rpc.method import Method
from services.cli.connection import Connection
from services.cli.faults import UsageFault
from services.cli.mesh.layout import Layout

GET_GRAPH: Final = Method(
    "/feedmesh.pixie.v1.PixieService/GetGraph", pixie_pb2.GetGraphRequest, pixie_pb2.GetGraphResponse
)
_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Answering:
    """What one Pixie said."""

    process: str
    version: str
    """Empty: it has no graph."""
    refused: str
    """Why it does not answer from the newest version; empty: it does."""


def answering(data_dir: Path) -> Sequence[Answering]:
    """Every Pixie of the mesh that answers, within 2 s; none when there is no mesh."""
    try:
        layout = Layout.open(data_dir)
    except UsageFault:
        return []
    found = []
    with Connection(layout) as connection:
        for process in layout.processes:
            if process.service == "pixie":
                found += _ask(connection, process.name, process.address)
    return found


def _ask(connection: Connection, name: str, address: str) -> list[Answering]:
    request = pixie_pb2.GetGraphRequest()
    pending = connection.channels.start(address, GET_GRAPH, request, timeout_s=_TIMEOUT_S, retry=False)
    try:
        graph = pending.result()
    except NotFound as fault:
        return [Answering(name, "", str(fault))]
    except FeedmeshError:
        return []
    return [Answering(name, graph.version, graph.refused)]
