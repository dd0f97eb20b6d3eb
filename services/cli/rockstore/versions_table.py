"""What `feedmesh rockstore versions` and `rollback` print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.table import Table

from feedmesh.rockstore.v1 import admin_pb2

_MB: Final = 1 << 20


def versions_tables(by_host: Mapping[str, admin_pb2.Generations]) -> Iterator[Table]:
    """One table for each host, with one line for each generation; times are UTC."""
    for host, generations in by_host.items():
        table = Table(title=host, title_justify="left", box=None, pad_edge=False, header_style="dim")
        for column in ("number", "rows", "schema", "version", "MB"):
            table.add_column(column, justify="right", no_wrap=True)
        for column in ("prepared", "gone", "state"):
            table.add_column(column, no_wrap=column == "prepared")
        for one in generations.generations:
            table.add_row(
                str(one.number),
                f"{one.row_count:,}",
                str(one.schema_version),
                str(one.version),
                f"{one.size_bytes / _MB:,.1f}",
                _time(one.made_ms),
                _time(one.gone_ms),
                _state(one.number, generations),
            )
        if not generations.generations:
            table.title = f"{host}: nothing is loaded"
        yield table


def live_text(generations: admin_pb2.Generations) -> str:
    """Which generation is answered."""
    if not generations.live:
        return "no loaded rows are answered"
    live = next(one for one in generations.generations if one.number == generations.live)
    return f"generation {live.number} is live, {live.row_count:,} rows prepared {_time(live.made_ms)} UTC"


def _state(number: int, generations: admin_pb2.Generations) -> str:
    if number == generations.live:
        return "live"
    if generations.before and number == generations.before[0]:
        return "next back"
    return "kept" if number in generations.before else "not live"


def _time(time_ms: int) -> str:
    if not time_ms:
        return "never"
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
