"""What a benchmark says: rows of values, each beside a peer measured in the same run where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

OUT = Path("build/bench")


@dataclass(frozen=True)
class Row:
    """One figure. `ratio` is above 1 where ours is better than the peer's."""

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None


def beside(name: str, value: float, unit: str, *, peer: str, peer_value: float, more_is_better: bool) -> Row:
    """A row with its peer."""
    ratio = value / peer_value if more_is_better else peer_value / value
    return Row(name, value, unit, peer, peer_value, ratio)


def publish(bench: str, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Print the table and write `build/bench/<bench>.json`."""
    table = Table(title=bench, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in ("what", "value", "unit", "peer", "peer value", "ratio"):
        table.add_column(column, justify="right" if "value" in column or column == "ratio" else "left")
    for row in rows:
        peer_value = "" if row.peer_value is None else _figure(row.peer_value)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
        table.add_row(row.name, _figure(row.value), row.unit, row.peer, peer_value, ratio)
    console = Console(width=140)
    console.print(table)
    for note in notes:
        console.print(f"  {note}", style="dim", soft_wrap=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{bench}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def _figure(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"
