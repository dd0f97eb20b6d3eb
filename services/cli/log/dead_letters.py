"""`feedmesh log dead-letters`: what could not be applied, why, and once more after a fix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import typer
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedmesh.log.v1 import log_pb2, record_pb2
from services.chassis.errors import BadRequest
from services.chassis.log.log import DEAD_LETTERS, LogReader
from services.chassis.log.records import LETTER_VALUE_BYTES_MAX
from services.chassis.rpc.method import Method
from services.cli.connection import Connection
from services.cli.faults import CliFault, UsageFault
from services.cli.log.opening import opened_log
from services.cli.log.reading import read_to_end, record_at
from services.cli.log.records_text import readable
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir

REPLAY: Final = Method(
    "/feedmesh.log.v1.LogService/ReplayDeadLetter",
    log_pb2.ReplayDeadLetterRequest,
    log_pb2.ReplayDeadLetterResponse,
)
_SHOWN_MAX: Final = 200
_TIMEOUT_S: Final = 10.0


class Letter(NamedTuple):
    """A dead letter and its offset in `dead-letters`."""

    offset: int
    letter: record_pb2.DeadLetter


def dead_letters(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False,
    service: Annotated[
        str, typer.Option(help="Only those of this service.", metavar="NAME", show_default=False)
    ] = "",
    show: Annotated[
        int | None, typer.Option("--show", help="Print this one whole.", metavar="OFFSET", min=0)
    ] = None,
    replay: Annotated[
        list[int] | None,
        typer.Option(
            "--replay",
            help="Give this one to its service once more; may be repeated.",
            metavar="OFFSET",
            min=0,
        ),
    ] = None,
    replay_all: Annotated[
        bool, typer.Option("--replay-all", help="Give all (or those of --service) once more.")
    ] = False,
) -> None:
    """List records that a service could not apply; show one, or replay them after a fix.

    A replayed record is applied by the service that buried it alone. Replayed twice it counts once, unless
    thousands of other records of its partition came between. One that still cannot be applied comes back
    as a new dead letter.
    """
    if (show is not None) + bool(replay) + replay_all > 1:
        raise UsageFault("--show, --replay and --replay-all are different things to do; give one of them")
    with Connection(Layout.open(data_dir)) as connection, opened_log(connection) as log:
        if show is not None:
            whole = readable(DEAD_LETTERS, 0, show, _bytes_at(log, show))
            print(json.dumps(whole, indent=1, ensure_ascii=False))
        elif replay:
            # All are looked for before the first is replayed.
            _replay(connection, log, [_letter(offset, _bytes_at(log, offset)) for offset in replay])
        elif replay_all:
            _replay(connection, log, _letters(log, service=service))
        else:
            _list([_summary(one) for one in _letters(log, service=service)], as_json=as_json)


def _letters(log: LogReader, *, service: str) -> Iterator[Letter]:
    """Those that are there now; `service`: empty for all."""
    (begin,) = log.begin_offsets(DEAD_LETTERS)
    for found in read_to_end(log, {(DEAD_LETTERS, 0): begin}):
        one = _letter(found.offset, found.value)
        if not service or one.letter.service == service:
            yield one


def _letter(offset: int, value: bytes) -> Letter:
    try:
        return Letter(offset, record_pb2.DeadLetter.FromString(value))
    except DecodeError:
        reason = "these bytes are no dead letter; somebody else writes here"
        return Letter(offset, record_pb2.DeadLetter(reason=reason, value=value))


def _bytes_at(log: LogReader, offset: int) -> bytes:
    value = record_at(log, DEAD_LETTERS, 0, offset)
    if value is None:
        raise UsageFault(f"no dead letter at offset {offset}; see `feedmesh log dead-letters`")
    return value


def _summary(one: Letter) -> dict[str, Any]:
    letter = one.letter
    return {
        "offset": one.offset,
        "time": _time(letter.time_ms),
        "service": letter.service,
        "topic": letter.topic,
        "partition": letter.partition,
        "record_offset": letter.offset,
        "reason": letter.reason,
    }


def _time(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if ms else ""


def _list(summaries: list[dict[str, Any]], *, as_json: bool) -> None:
    console = Console()
    if as_json:
        print(json.dumps(summaries, indent=1, ensure_ascii=False))
        return
    if not summaries:
        console.print("no dead letters: every record could be applied")
        return
    console.print(letters_table(summaries[-_SHOWN_MAX:]))
    if len(summaries) > _SHOWN_MAX:
        console.print(f"the last {_SHOWN_MAX} of {len(summaries):,}; --json has all", style="dim")
    console.print(
        "--show OFFSET prints one; after a fix of the service, --replay OFFSET gives it the record once more",
        style="dim",
        soft_wrap=True,
    )


def letters_table(summaries: Sequence[dict[str, Any]]) -> Table:
    """For people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("offset", "time (UTC)", "service", "record", "why"):
        table.add_column(column, justify="right" if column == "offset" else "left", no_wrap=column != "why")
    for one in summaries:
        where = f"{one['topic']}/{one['partition']}@{one['record_offset']}"
        # Text, not markup: reasons quote records, which may hold anything.
        cells = (str(one["offset"]), one["time"], one["service"], where, one["reason"])
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    return table


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)


def _replay(connection: Connection, log: LogReader, chosen: Iterable[Letter]) -> None:
    console = Console()
    count = refused = 0
    for offset, letter in chosen:
        count += 1
        try:
            _complete(log, letter)
            request = log_pb2.ReplayDeadLetterRequest(offset=offset, dead_letter=letter.SerializeToString())
            connection.router.call_one("ingest", 1, REPLAY, request, _TIMEOUT_S)
        except BadRequest as fault:
            refused += 1
            console.print(Text(_printable(f"{offset} not replayed: {fault}"), style="red"), soft_wrap=True)
        else:
            where = f"{letter.topic}/{letter.partition}"
            console.print(Text(_printable(f"{offset} written to {where} again, for {letter.service} alone")))
    if refused:
        raise CliFault(f"{refused} of {count} dead letters cannot be replayed")
    if not count:
        console.print("no dead letters to replay")


def _complete(log: LogReader, letter: record_pb2.DeadLetter) -> None:
    """A letter has the first megabyte of its record; the log may still have all. Raises BadRequest."""
    if len(letter.value) < LETTER_VALUE_BYTES_MAX:
        return
    value = record_at(log, letter.topic, letter.partition, letter.offset)
    if value is None:
        raise BadRequest("the letter has a part of its record only, and the log no longer has the record")
    letter.value = value
