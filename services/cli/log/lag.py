"""Who is behind the log, by how much: as each process's own metrics say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from services.cli.mesh.layout import FOLLOWING, Layout, Process

_TIMEOUT_S: Final = 2.0
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
    silent_s: float = 0.0
    """Since when it has not heard from the log."""

    @property
    def trouble(self) -> bool:
        """Whether somebody should look."""
        return not self.answers or any(self.lost.values())


def followers(layout: Layout) -> list[Behind]:
    """Every follower of the mesh, in the layout's order."""
    return [_look(process) for process in layout.processes if process.service in FOLLOWING]


def lag_table(seen: Sequence[Behind]) -> Table:
    """For people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "topic", "offsets behind", "log heard", "lost partitions"):
        table.add_column(column, justify="left" if column in {"process", "topic"} else "right")
    for one in seen:
        if not one.answers:
            table.add_row(one.process, "–", "[red]no answer[/]", "–", "–")
        for topic, behind in one.lag.items():
            lost = one.lost.get(topic, 0)
            table.add_row(
                one.process,
                topic,
                f"{behind:,}",
                f"{one.silent_s:.1f} s ago",
                f"[red]{lost}[/]" if lost else "0",
            )
    return table


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
                seen.silent_s = value
    except (OSError, ValueError):
        return Behind(process.name, answers=False)
    return seen


def _samples(address: str) -> Iterator[tuple[str, dict[str, str], float]]:
    with urlopen(f"http://{address}/metrics", timeout=_TIMEOUT_S) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
