"""Loads files of rows through Publish: checked first, resumable, each row counted once.

Owns the order of things: every file is read and checked before anything is published, so a faulty file
changes nothing; then rows are published in order, one request in flight while the next is prepared; after
each acknowledgement the place is written down. Event ids come from the file's fingerprint and the row's
number, so a row that was sent again after a crash counts once. With other keywords of interests, a file that
was loaded before gives the objects and interests of its pins anew, and nothing that counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import Unavailable
from services.chassis.rpc.channel import Pending
from services.cli.connection import EVENTS_MAX, Connection
from services.cli.faults import UsageFault
from services.cli.load.faults import RowFault
from services.cli.load.files import rows_of
from services.cli.load.rows import RowReader

FAULTS_SHOWN_MAX: Final = 20
_EVENTS_OF_A_ROW_MAX: Final = 3
_BATCH_ROWS: Final = EVENTS_MAX // _EVENTS_OF_A_ROW_MAX
_KINDS: Final = {
    "user": type_pb2.OBJECT_KIND_USER,
    "interest": type_pb2.OBJECT_KIND_INTEREST,
    "board": type_pb2.OBJECT_KIND_BOARD,
    "pin": type_pb2.OBJECT_KIND_PIN,
}

Progress = Callable[[int], None]
"""Called with the number of rows that were done since the last call."""


@dataclass(frozen=True)
class Loaded:
    """What became of a file."""

    row_count: int
    skipped_count: int
    """Rows that an earlier run had loaded."""
    token: bytes


def check(paths: list[Path], reader: RowReader, progress: Progress) -> dict[Path, int]:
    """Read every row; the rows of each file.

    Raises:
        UsageFault: rows are faulty; the text has the first of them. Nothing was published.
    """
    faults: list[str] = []
    counts: dict[Path, int] = {}
    for path in paths:
        counts[path] = 0
        for placed in rows_of(path):
            counts[path] += 1
            progress(1)
            if isinstance(placed, tuple):
                faults.append(f"{path}, row {placed[0]}: {placed[1]}")
                continue
            try:
                reader.events(placed.kind, placed.row)
            except RowFault as fault:
                faults.append(f"{path}, row {placed.number} ({placed.kind or 'no type'}): {fault}")
    if faults:
        more = f"\n… and {len(faults) - FAULTS_SHOWN_MAX} more" if len(faults) > FAULTS_SHOWN_MAX else ""
        raise UsageFault(
            "\n".join(["nothing was loaded:", *faults[:FAULTS_SHOWN_MAX]])
            + more
            + "\nsee docs/loading.md for an example of each row"
        )
    return counts


def check_names(connection: Connection, reader: RowReader) -> None:
    """Compare the names of this load with those that the mesh has.

    Raises:
        UsageFault: a name would take the id of another name that was loaded before.
    """
    for kind, number in _KINDS.items():
        names = dict(reader.names.named(kind))
        for id_, there in connection.objects(number, list(names)).items():
            key = getattr(there, kind).key
            if key and key != names[id_]:
                raise UsageFault(
                    f"nothing was loaded: {kind} {names[id_]!r} has the same 64-bit id {id_} as "
                    f"{kind} {key!r}, which is in the mesh; rename it"
                )


def load(connection: Connection, path: Path, reader: RowReader, progress: Progress) -> Loaded:
    """Publish the rows of a checked file that no earlier run has published.

    Raises:
        FeedmeshError: the mesh did not take them; run the same command again to go on.
    """
    place = _Place.of(path, connection.layout.data_dir, keywords=reader.keywords.fingerprint)
    skipped = place.row_count
    progress(skipped)
    token = b""
    flight: _Flight | None = None
    for events, row, row_count in _batches(path, reader, place):
        # Two requests at once could reach the log in either order, and an unfollow overtake its follow.
        if flight is not None:
            token = _land(connection, flight, place, progress)
            flight = None
        if events:
            flight = _Flight(connection.start_publish(events), events, row, row_count)
        else:
            place.write(row)
            progress(row_count)
    if flight is not None:
        token = _land(connection, flight, place, progress)
    return Loaded(place.row_count - skipped, skipped, token)


class _Flight(NamedTuple):
    """A request on its way."""

    pending: Pending[ingest_pb2.PublishResponse]
    events: list[event_pb2.Event]
    row_count: int
    """Rows of the file until its end."""
    done: int
    """Rows that it is."""


def _land(connection: Connection, flight: _Flight, place: _Place, progress: Progress) -> bytes:
    try:
        token = flight.pending.result().token
    except Unavailable:
        # By way of any other Ingest that there is; what was written already counts once.
        token = connection.publish(flight.events)
    place.write(flight.row_count)
    progress(flight.done)
    return token


def _batches(
    path: Path, reader: RowReader, place: _Place
) -> Iterator[tuple[list[event_pb2.Event], int, int]]:
    """Events of up to `_BATCH_ROWS` rows, rows of the file until their end, and how many rows they are."""
    events: list[event_pb2.Event] = []
    row_count = batch_rows = 0
    for placed in rows_of(path):
        if isinstance(placed, tuple):
            raise UsageFault(f"{path} changed while it was loaded (row {placed[0]}); run the command again")
        row_count += 1
        made = reader.events(placed.kind, placed.row)
        if row_count <= place.row_count:
            continue
        for index, event in enumerate(made):
            by_keywords = _is_by_keywords(placed.kind, event)
            fingerprint = place.keyed_fingerprint if by_keywords else place.fingerprint
            event.id = f"load-{fingerprint}-{placed.number}-{index}"
            if by_keywords or row_count > place.counted_row_count:
                events.append(event)
        batch_rows += 1
        if batch_rows == _BATCH_ROWS:
            yield events, row_count, batch_rows
            events, batch_rows = [], 0
    if batch_rows:
        yield events, row_count, batch_rows


def _is_by_keywords(kind: str, event: event_pb2.Event) -> bool:
    """Whether an event may be another one with other keywords. A save stays as it was: it counts."""
    return kind == "pin" and event.WhichOneof("body") in ("put_object", "put_pin_interests")


class _Place:
    """How far a file has been loaded into this mesh; survives in the data folder."""

    def __init__(self, folder: Path, *, fingerprint: str, keyed_fingerprint: str) -> None:
        self.fingerprint = fingerprint
        """Of the file."""
        self.keyed_fingerprint = keyed_fingerprint
        """Of the file and of the keywords, when there are any."""
        self._counted_path = folder / f"load-{fingerprint}.json"
        self._path = folder / f"load-{keyed_fingerprint}.json"
        self.counted_row_count = _kept_row_count(self._counted_path)
        """Rows loaded with whatever keywords: what counts has been counted."""
        self.row_count = _kept_row_count(self._path)
        """Rows loaded with these keywords."""

    @classmethod
    def of(cls, file: Path, data_dir: Path, *, keywords: str) -> _Place:
        with file.open("rb") as content:
            fingerprint = hashlib.file_digest(content, "sha256").hexdigest()[:24]
        keyed = f"{fingerprint}-{keywords}" if keywords else fingerprint
        return cls(data_dir / "run", fingerprint=fingerprint, keyed_fingerprint=keyed)

    def write(self, row_count: int) -> None:
        self.row_count = row_count
        _keep_row_count(self._path, row_count)
        if row_count > self.counted_row_count:
            self.counted_row_count = row_count
            _keep_row_count(self._counted_path, row_count)


def _kept_row_count(path: Path) -> int:
    return int(json.loads(path.read_text())["row_count"]) if path.exists() else 0


def _keep_row_count(path: Path, row_count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"row_count": row_count}))
    fresh.replace(path)
