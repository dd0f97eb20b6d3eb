"""Publishes the world into a running mesh: restartable, with a few requests on their way at a time.

Owns the place (`run/demo.json`): which world a data folder holds, and how many batches of each chapter the
log has acknowledged. A world is made again from its seed and its moment, so nothing else is kept. A run that
was cut off goes on at the last acknowledged batch; what is sent twice counts once, by the events' ids.
Several requests at once may reach the log in another order. That is harmless here: nothing in a chapter takes
back what another event of it did, and every view goes by the events' times.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Self

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from services.chassis.errors import Exhausted, TooLate, Unavailable
from services.chassis.log.token import Token
from services.chassis.rpc.channel import Pending
from services.cli.connection import Connection
from services.cli.faults import CliFault

BATCH_EVENTS: Final = 500
"""Half of what Publish takes: impressions become a record for nearly each of their pins."""
IN_FLIGHT: Final = 3
_TIMEOUT_S: Final = 30.0
_TRIES: Final = 5
_RETRY_S: Final = 0.5


@dataclass
class Place:
    """What of which world a data folder holds."""

    path: Path
    seed: int
    scale: float
    now_ms: int
    batches: dict[str, int] = field(default_factory=dict)
    """Acknowledged, by chapter."""
    loaded: bool = False
    turn: int = 0
    """Feeds that were shown: each run is about somebody else."""
    token: str = ""
    """Of everything that was published, hexadecimal."""

    @classmethod
    def open(cls, data_dir: Path, *, seed: int, scale: float, now_ms: int) -> Self:
        """The place of this folder; a new one when it holds no world.

        Raises:
            CliFault: the folder holds another world.
        """
        path = data_dir / "run" / "demo.json"
        if not path.exists():
            return cls(path, seed, scale, now_ms)
        kept = cls(path, **json.loads(path.read_text()))
        if (kept.seed, kept.scale) != (seed, scale):
            raise CliFault(
                f"{data_dir} holds the world of seed {kept.seed} at scale {kept.scale:g}; give the same, "
                "or another --data-dir"
            )
        return kept

    def write(self) -> None:
        """Make it durable enough: after a crash, a little is sent again."""
        values = {name: value for name, value in asdict(self).items() if name != "path"}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(values))
        fresh.replace(self.path)


@dataclass(frozen=True)
class Chapter:
    """Events that are published together."""

    name: str
    events: Callable[[], Iterable[event_pb2.Event]]
    event_count: int


def load(connection: Connection, place: Place, chapter: Chapter, progress: Callable[[int], None]) -> None:
    """Publish what is missing of a chapter; `progress` gets events done since the last call.

    Raises FeedmeshError when the mesh does not take them; the same call again goes on.
    """
    done = place.batches.get(chapter.name, 0)
    events = iter(chapter.events())
    for _ in islice(events, done * BATCH_EVENTS):
        pass
    progress(min(done * BATCH_EVENTS, chapter.event_count))
    flight: deque[tuple[list[event_pb2.Event], Pending[ingest_pb2.PublishResponse]]] = deque()
    for batch in _batches(events):
        if len(flight) == IN_FLIGHT:
            _land(connection, place, chapter, *flight.popleft(), progress)
        flight.append((batch, connection.start_publish(batch, timeout_s=_TIMEOUT_S)))
    while flight:
        _land(connection, place, chapter, *flight.popleft(), progress)
    place.write()


def _land(
    connection: Connection,
    place: Place,
    chapter: Chapter,
    batch: list[event_pb2.Event],
    pending: Pending[ingest_pb2.PublishResponse],
    progress: Callable[[int], None],
) -> None:
    token = Token.decode(_result(connection, batch, pending))
    if place.token:
        token = token.merge(Token.decode(bytes.fromhex(place.token)))
    place.token = token.encode().hex()
    place.batches[chapter.name] = place.batches.get(chapter.name, 0) + 1
    if place.batches[chapter.name] % 10 == 0:
        place.write()
    progress(len(batch))


def _result(
    connection: Connection, batch: list[event_pb2.Event], pending: Pending[ingest_pb2.PublishResponse]
) -> bytes:
    """The acknowledgement, asked for again while the mesh is merely busy."""
    for left in reversed(range(_TRIES)):
        try:
            return pending.result().token
        except (Exhausted, TooLate, Unavailable):
            if not left:
                raise
            time.sleep(_RETRY_S)
            pending = connection.start_publish(batch, timeout_s=_TIMEOUT_S)
    raise AssertionError("the last try returns or raises")


def _batches(events: Iterator[event_pb2.Event]) -> Iterator[list[event_pb2.Event]]:
    while batch := list(islice(events, BATCH_EVENTS)):
        yield batch
