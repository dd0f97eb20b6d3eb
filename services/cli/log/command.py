"""The commands of `feedmesh log`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.chassis.errors import LogUnavailable
from services.chassis.log.log import DEAD_LETTERS, LogReader
from services.cli.connection import Connection
from services.cli.faults import CliFault, MeshUnavailable, UsageFault
from services.cli.log.copying import copy
from services.cli.log.dead_letters import dead_letters
from services.cli.log.lag import as_documents, followers, lag_table
from services.cli.log.opening import NAME, opened_log
from services.cli.log.reading import check_topic, follow, read_to_end, start_positions
from services.cli.log.records_text import readable
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir

LIMIT: Final = 20
_WATCH_S: Final = 1.0

log_app = typer.Typer(
    name="log",
    help="Look at the log: topics, who is behind, records, what could not be applied; move it to Kafka.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


@log_app.command()
def topics(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Topics with their partitions and offsets, and on Kafka their replicas."""
    layout = Layout.open(data_dir)
    with Connection(layout) as connection, opened_log(connection) as log:
        log_id = log.log_id
        rows = topic_rows(log, _replicas(layout) if layout.log.kind == "kafka" else {})
    if as_json:
        print(json.dumps({"log": log_id, "kind": layout.log.kind, "topics": rows}, indent=1))
        return
    where = "" if layout.log.kind == "embedded" else f" at {layout.log.connection.bootstrap}"
    console = Console()
    console.print(f"log {log_id}, {layout.log.kind}{where}", highlight=False, soft_wrap=True)
    console.print(topics_table(rows))


@log_app.command()
def lag(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """How far each follower is behind the end of the log.

    Exit code 1 when a follower does not answer or has lost partitions, 3 when none answers.
    """
    if watch and as_json:
        raise UsageFault("--watch is for people, --json for machines; give one of them")
    layout = Layout.open(data_dir)
    seen = followers(layout)
    if watch:
        with Live(lag_table(seen), console=Console(), auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_S)
                live.update(lag_table(followers(layout)), refresh=True)
    if as_json:
        print(json.dumps(as_documents(seen), indent=1))
    else:
        Console().print(lag_table(seen))
    if not any(one.answers for one in seen):
        raise MeshUnavailable("no follower answers; is the mesh up? see `feedmesh status`")
    troubled = [one.process for one in seen if one.trouble]
    if troubled:
        raise CliFault(f"look at {', '.join(troubled)}; logs are in {data_dir / 'log'}")


@log_app.command()
def tail(
    topic: Annotated[str, typer.Argument(help=f"graph, pins, actions, counts, objects or {DEAD_LETTERS}.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    partition: Annotated[
        int | None, typer.Option(help="One partition; left away, all.", min=0, metavar="NUMBER")
    ] = None,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="begin, end, or an offset (of one --partition); begin without --follow, end with it.",
            metavar="PLACE",
            show_default=False,
        ),
    ] = "",
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"Records at most; {LIMIT} without --follow.", min=1, metavar="COUNT", show_default=False
        ),
    ] = None,
    forever: Annotated[bool, typer.Option("--follow", help="Wait for more, until Ctrl-C.")] = False,
) -> None:
    """Print records as JSON, one a line, in order within a partition.

    Without --follow the oldest come first, and it ends where the log ends now; with it, what comes from now
    on. Ids are strings: they have 64 bits, more than JSON's numbers.
    """
    with Connection(Layout.open(data_dir)) as connection, opened_log(connection) as log:
        partitions = check_topic(log, topic, partition)
        positions = start_positions(log, topic, partitions, start or ("end" if forever else "begin"))
        most = limit if limit is not None or forever else LIMIT
        with closing(follow(log, positions) if forever else read_to_end(log, positions)) as records:
            for found in islice(records, most):
                print(json.dumps(readable(*found), ensure_ascii=False), flush=True)


log_app.command("dead-letters")(dead_letters)
log_app.command()(copy)


def topic_rows(log: LogReader, replicas: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """One row for each topic; `replicas` has what only Kafka can tell, by topic.

    Offsets are None where a partition has no leader: nobody can tell them, and asking takes long.
    """
    rows = []
    for topic, partitions in log.topics.items():
        kafka = replicas.get(topic, {})
        begin, end = (None, None) if kafka.get("leaderless") else _offsets(log, topic)
        most = end - begin if begin is not None and end is not None else None
        row = {"topic": topic, "partitions": partitions, "begin": begin, "end": end, "records_at_most": most}
        rows.append({**row, **kafka})
    return rows


def _offsets(log: LogReader, topic: str) -> tuple[int, int] | tuple[None, None]:
    try:
        return sum(log.begin_offsets(topic)), sum(log.end_offsets(topic))
    except LogUnavailable:
        # What can be told of the others is what somebody in trouble wants to see.
        return None, None


def _replicas(layout: Layout) -> dict[str, dict[str, int]]:
    from services.chassis.log.kafka.topics import read_states

    return {
        topic: {"replicas": state.replication, "in_sync": state.in_sync, "leaderless": state.leaderless}
        for topic, state in read_states(layout.log.connection, name=NAME).items()
    }


def topics_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """For people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in rows[0]:
        name = column == "topic"
        table.add_column(column.replace("_", " "), justify="left" if name else "right", no_wrap=name)
    for row in rows:
        cells = [
            "?" if value is None else value if isinstance(value, str) else f"{value:,}"
            for value in row.values()
        ]
        table.add_row(*cells, style="red" if row.get("leaderless") else None)
    return table
