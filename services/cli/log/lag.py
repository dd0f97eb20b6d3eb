"""Who is behind the log, by how much: as each process's own metrics say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from typing import Any, Final
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from services.cli.mesh.layout import FOLLOWING, Layout, Process

_TIMEOUT_S: Final = 2.0
_STALE_S: Final = 2.0
"""From here on answers are marked as stale, when `follower.stale_after_ms` is as by default."""
_OPENER: Final = build_opener(ProxyHandler({}))
"""A proxy that the environment names is for the world outside, not for processes of this machine."""
_LAG: Final = "feedmesh_follower_lag_records"
_LOST: Final = "feedmesh_follower_lost_partitions"
_SILENT: Final = "feedmesh_follower_log_silent_seconds"


@dataclass
class Behind:
    """One follower."""

    process: str
    answers: bool = True
    lag: dict[str, int] = field(default_factory=dict)
    """Offsets behind the end, by topic."""
    lost: dict[str, int] = field(default_factory=dict)
    """Partitions that cannot be followed any more, by topic."""
    silent_s: float | None = None
    """Since when it has not heard from the log; None: it does not say."""

    @property
    def trouble(self) -> bool:
        """Whether somebody should look."""
        return not self.answers or any(self.lost.values())


def followers(layout: Layout) -> list[Behind]:
    """Every follower of the mesh, in the layout's order. Those that hang are waited for together."""
    wanted = [process for process in layout.processes if process.service in FOLLOWING]
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(_look, wanted))


def lag_table(seen: Sequence[Behind]) -> Table:
    """For people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "topic", "offsets behind", "log heard", "lost partitions"):
        table.add_column(column, justify="left" if column in {"process", "topic"} else "right")
    for one in seen:
        if not one.answers:
            table.add_row(one.process, "–", "[red]no answer[/]", "–", "–")
        elif not one.lag:
            table.add_row(one.process, "–", "[yellow]starting[/]", _heard(one), "–")
        for topic, behind in one.lag.items():
            lost = one.lost.get(topic, 0)
            table.add_row(one.process, topic, f"{behind:,}", _heard(one), f"[red]{lost}[/]" if lost else "0")
    return table


def _heard(one: Behind) -> str:
    if one.silent_s is None:
        return "–"
    text = f"{one.silent_s:,.1f} s ago"
    return text if one.silent_s < _STALE_S else f"[red]{text}[/]"


def as_documents(seen: Sequence[Behind]) -> list[dict[str, Any]]:
    """For machines."""
    return [asdict(one) for one in seen]


def _look(process: Process) -> Behind:
    seen = Behind(process.name)
    try:
        for name, labels, value in _samples(process.metrics_address):
            if name == _LAG:
                seen.lag[labels["topic"]] = int(value)
            elif name == _LOST:
                seen.lost[labels["topic"]] = int(value)
            elif name == _SILENT:
                # JSON knows no infinity.
                seen.silent_s = value if math.isfinite(value) else None
    except (OSError, ValueError, HTTPException):
        return Behind(process.name, answers=False)
    return seen


def _samples(address: str) -> Iterator[tuple[str, dict[str, str], float]]:
    with _OPENER.open(f"http://{address}/metrics", timeout=_TIMEOUT_S) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
