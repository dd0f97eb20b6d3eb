"""The commands of `feedmesh log`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.chassis.log.log import DEAD_LETTERS, LogReader
from services.cli.connection import Connection
from services.cli.faults import CliFault
from services.cli.log.copying import copy
from services.cli.log.dead_letters import dead_letters
from services.cli.log.lag import as_documents, followers, lag_table
from services.cli.log.opening import NAME, opened_log
from services.cli.log.reading import Found, check_topic, follow, read_to_end, start_positions
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
        rows = [_topic(log, topic) for topic in log.topics]
        log_id = log.log_id
    if layout.log.kind == "kafka":
        _add_replicas(rows, layout)
    if as_json:
        print(json.dumps({"log": log_id, "kind": layout.log.kind, "topics": rows}, indent=1))
        return
    where = "" if layout.log.kind == "embedded" else f" at {layout.log.connection.bootstrap}"
    console = Console()
    console.print(f"log {log_id}, {layout.log.kind}{where}", highlight=False, soft_wrap=True)
    console.print(_table(rows))


@log_app.command()
def lag(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """How far each follower is behind the end of the log. Exit code 1 when one is lost or does not answer."""
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
    troubled = [one.process for one in seen if one.trouble]
    if troubled:
        raise CliFault(f"look at {', '.join(troubled)}; logs are in {data_dir / 'log'}")


@log_app.command()
def tail(
    topic: Annotated[str, typer.Argument(help=f"graph, pins, actions, counts, objects or {DEAD_LETTERS}.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    partition: Annotated[int | None, typer.Option(help="One partition; left away, all.", min=0)] = None,
    start: Annotated[str, typer.Option("--from", help="begin, end, or an offset (of one --partition).")] = "",
    limit: Annotated[
        int | None,
        typer.Option(help=f"Records at most; {LIMIT} without --follow.", min=1, show_default=False),
    ] = None,
    forever: Annotated[bool, typer.Option("--follow", help="Wait for more, until Ctrl-C.")] = False,
) -> None:
    """Print records as JSON, one a line; without --follow from the oldest, with it from the newest."""
    with Connection(Layout.open(data_dir)) as connection, opened_log(connection) as log:
        partitions = check_topic(log, topic, partition)
        positions = start_positions(log, topic, partitions, start or ("end" if forever else "begin"))
        records: Iterator[Found] = follow(log, positions) if forever else read_to_end(log, positions)
        most = limit if limit is not None or forever else LIMIT
        for found in islice(records, most):
            print(json.dumps(readable(*found), ensure_ascii=False), flush=True)


log_app.command("dead-letters")(dead_letters)
log_app.command()(copy)


def _topic(log: LogReader, topic: str) -> dict[str, Any]:
    begins, ends = log.begin_offsets(topic), log.end_offsets(topic)
    return {
        "topic": topic,
        "partitions": len(ends),
        "begin": sum(begins),
        "end": sum(ends),
        "records at most": sum(ends) - sum(begins),
    }


def _add_replicas(rows: list[dict[str, Any]], layout: Layout) -> None:
    from services.chassis.log.kafka.topics import read_states

    states = read_states(layout.log.connection, name=NAME)
    for row in rows:
        state = states[row["topic"]]
        row |= {"replicas": state.replication, "in sync": state.in_sync, "leaderless": state.leaderless}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "topic" else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:,}" for value in row.values()))
    return table
