"""What is said: rows of figures, what is published of the same beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.quality.protocol import Ranking

OUT: Final = Path("build/quality")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `least` is what the project demands of it."""

    name: str
    value: float
    unit: str
    published: float | None = None
    source: str = ""
    """Of the published figure."""
    least: float | None = None

    @property
    def falls_short(self) -> bool:
        """Whether it is below what is demanded."""
        return self.least is not None and self.value < self.least


def rows_of(
    name: str,
    ranking: Ranking,
    *,
    published: tuple[float, float] | None = None,
    source: str = "",
    least: tuple[float, float | None] | None = None,
) -> list[Row]:
    """Both figures of a ranking."""
    hit_rate, ndcg = published or (None, None)
    hit_rate_least, ndcg_least = least or (None, None)
    return [
        Row(name, ranking.hit_rate, "HR@10", hit_rate, source, hit_rate_least),
        Row(name, ranking.ndcg, "NDCG@10", ndcg, source, ndcg_least),
    ]


def publish(name: str, rows: Sequence[Row], notes: Sequence[str], console: Console) -> None:
    """Print the table and write `build/quality/<name>.json`."""
    table = Table(title=name, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in ("what", "measure", "ours", "published", "at least", "published by"):
        table.add_column(column, justify="right" if column in {"ours", "published", "at least"} else "left")
    for row in rows:
        ours = f"{row.value:.4f}"
        table.add_row(
            row.name,
            row.unit,
            f"[red]{ours}[/]" if row.falls_short else ours,
            _figure(row.published),
            _figure(row.least),
            row.source,
        )
    console.print(table)
    for note in notes:
        console.print(f"  {note}", style="dim", soft_wrap=True)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
