"""`feedmesh log copy`: the log of a mesh on this machine into Kafka, as it is."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from services.chassis.errors import StorageFault
from services.chassis.log import embedded_store
from services.chassis.log.embedded_store import LogStore
from services.chassis.log.log import DATA_TOPICS
from services.chassis.storage.store import Store
from services.cli.faults import UsageFault
from services.cli.log.opening import check_brokers
from services.cli.mesh.layout import Layout
from services.cli.mesh.log_settings import LogSettings
from services.cli.options import DEFAULT_DATA_DIR, Bootstrap, DataDir, KafkaFile

_LOG: Final = "ingest/log"


def copy(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    bootstrap: Bootstrap = "",
    kafka: KafkaFile = None,
) -> None:
    """Copy the log of this mesh into Kafka, compare the two, and let the mesh go on from there.

    Stop the mesh first (`feedmesh down`); where Ingest runs on its own, stopping that is enough, and reads go
    on meanwhile. Every record keeps its offset, so stores, tokens and models stay as they are. Interrupted,
    the same command goes on where it stopped. The old log stays in the data folder, unused.
    """
    layout = Layout.open(data_dir)
    console = Console()
    with _source(data_dir) as source:
        settings = _settings(layout, source, bootstrap=bootstrap, kafka=kafka)
        check_brokers(settings)
        # Late: only a mesh that goes to Kafka needs aiokafka.
        from services.chassis.log.kafka.copying import copy_log

        with _bars() as bars:
            copied = asyncio.run(copy_log(source, settings.connection, settings.topics, progress=bars.show))
        settings.write(data_dir)
    console.print(
        f"{copied.records:,} records of {copied.size_bytes:,} bytes are the same in both logs, digest "
        f"{copied.digest}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"log {source.log_id} is in Kafka now; start the mesh as ever: feedmesh up --data-dir {data_dir}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"the old one is in {data_dir / _LOG}, and is not used any more", style="dim", soft_wrap=True
    )


def _settings(layout: Layout, source: LogStore, *, bootstrap: str, kafka: Path | None) -> LogSettings:
    """Where to copy to. The counts are the log's own: records keep their partitions."""
    if not bootstrap and kafka is None and layout.log.kind == "kafka":
        return layout.log
    if not bootstrap and kafka is None:
        raise UsageFault("where to? name Kafka's brokers: --bootstrap host:port,host:port")
    asked = LogSettings.from_file(kafka, bootstrap=bootstrap)
    partitions = source.topics[DATA_TOPICS[0]]
    return dataclasses.replace(asked, topics=dataclasses.replace(asked.topics, partitions=partitions))


@contextmanager
def _source(data_dir: Path) -> Iterator[LogStore]:
    path = data_dir / _LOG
    if not path.exists():
        raise UsageFault(f"{data_dir} has no log on this machine (no {path}); there is nothing to copy")
    try:
        store = Store(path, embedded_store.families())
    except StorageFault as fault:
        raise UsageFault(
            f"the log at {path} cannot be opened: {fault}\nis the mesh running? stop it first: "
            f"feedmesh down --data-dir {data_dir}"
        ) from fault
    with store:
        yield LogStore(store, {})


class _Bars:
    """One bar a step."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, int] = {}

    def show(self, step: str, done: int, total: int) -> None:
        """So much of the step is done."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=total)
        self._progress.update(self._tasks[step], completed=done)  # type: ignore[arg-type]


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        yield _Bars(progress)
