"""`feedmesh log dead-letters`: what could not be applied, why, and once more after a fix."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import typer
from google.protobuf.message import DecodeError
from rich.console import Console
from rich.table import Table

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
    show: Annotated[int | None, typer.Option(help="Print this one whole.", metavar="OFFSET", min=0)] = None,
    replay: Annotated[
        list[int] | None,
        typer.Option(
            help="Give this one to its service once more; may be repeated.", metavar="OFFSET", min=0
        ),
    ] = None,
    replay_all: Annotated[bool, typer.Option("--replay-all", help="Give all of them once more.")] = False,
) -> None:
    """List records that a service could not apply; show one, or replay them after a fix.

    A replayed record is applied by the service that buried it alone, and once, however often it is replayed.
    One that it still cannot apply comes back as a new dead letter.
    """
    with Connection(Layout.open(data_dir)) as connection, opened_log(connection) as log:
        letters = _read(log)
        if show is not None:
            print(json.dumps(_whole(letters, show), indent=1, ensure_ascii=False))
        elif replay or replay_all:
            chosen = letters if replay_all else [_find(letters, offset) for offset in replay or []]
            _replay(connection, log, chosen)
        elif as_json:
            print(json.dumps([_summary(one) for one in letters], indent=1, ensure_ascii=False))
        else:
            _print(letters)


def _read(log: LogReader) -> list[Letter]:
    (begin,) = log.begin_offsets(DEAD_LETTERS)
    letters = []
    for found in read_to_end(log, {(DEAD_LETTERS, 0): begin}):
        try:
            letters.append(Letter(found.offset, record_pb2.DeadLetter.FromString(found.value)))
        except DecodeError:
            reason = "these bytes are no dead letter; somebody else writes here"
            letters.append(Letter(found.offset, record_pb2.DeadLetter(reason=reason, value=found.value)))
    return letters


def _find(letters: list[Letter], offset: int) -> Letter:
    for one in letters:
        if one.offset == offset:
            return one
    raise UsageFault(f"no dead letter at offset {offset}; see `feedmesh log dead-letters`")


def _whole(letters: list[Letter], offset: int) -> dict[str, Any]:
    letter = _find(letters, offset).letter
    return readable(DEAD_LETTERS, 0, offset, letter.SerializeToString())


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


def _print(letters: list[Letter]) -> None:
    console = Console()
    if not letters:
        console.print("no dead letters: every record could be applied")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("offset", "time (UTC)", "service", "record", "why"):
        table.add_column(column, justify="right" if column == "offset" else "left", no_wrap=column != "why")
    for one in letters[-_SHOWN_MAX:]:
        letter = one.letter
        where = f"{letter.topic}/{letter.partition}@{letter.offset}"
        table.add_row(str(one.offset), _time(letter.time_ms), letter.service, where, letter.reason)
    console.print(table)
    if len(letters) > _SHOWN_MAX:
        console.print(f"the last {_SHOWN_MAX} of {len(letters):,}; --json has all", style="dim")
    console.print(
        "--show OFFSET prints one; after a fix of the service, --replay OFFSET gives it the record once more",
        style="dim",
        soft_wrap=True,
    )


def _replay(connection: Connection, log: LogReader, chosen: list[Letter]) -> None:
    console = Console()
    refused = 0
    for offset, letter in chosen:
        try:
            _complete(log, letter)
            request = log_pb2.ReplayDeadLetterRequest(offset=offset, dead_letter=letter.SerializeToString())
            connection.router.call_one("ingest", 1, REPLAY, request, _TIMEOUT_S)
        except BadRequest as fault:
            refused += 1
            console.print(f"[red]{offset} not replayed[/]: {fault}", highlight=False, soft_wrap=True)
        else:
            where = f"{letter.topic}/{letter.partition}"
            console.print(f"{offset} written to {where} again, for {letter.service}", highlight=False)
    if refused:
        raise CliFault(f"{refused} of {len(chosen)} dead letters cannot be replayed")


def _complete(log: LogReader, letter: record_pb2.DeadLetter) -> None:
    """A letter has the first megabyte of its record; the log may still have all. Raises BadRequest."""
    if len(letter.value) < LETTER_VALUE_BYTES_MAX:
        return
    value = record_at(log, letter.topic, letter.partition, letter.offset)
    if value is None:
        raise BadRequest("the letter has a part of its record only, and the log no longer has the record")
    letter.value = value
