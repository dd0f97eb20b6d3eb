"""`log`: events acknowledged durable, the wait for an acknowledgement, the wait until an event is visible.

Once with the embedded log, once with Kafka (three real brokers), where Java and Maven are there. The whole
mesh runs and follows, and the brokers, too, are on the same machine. Throughput: 8 Publish calls in flight
with 500 events each. Visible: from the start of a Publish of one save until Polaris answers a read with its
token. Peer of the embedded log: bare RocksDB in this process, the same records in groups of the same size,
each synced. Of Kafka: `bare_kafka.py`, in transactions as large as Ingest's were on average.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console

from services.chassis.log.kafka.config import KafkaConfig, KafkaConnection, KafkaTopicsConfig
from services.chassis.storage import Store
from services.chassis.storage.options import log_family, small_family
from services.cli.connection import Connection
from services.cli.mesh.layout import Layout
from services.cli.mesh.log_settings import LogSettings
from services.cli.up import running_mesh
from tests.bench.bare_kafka import Bare, bare_aiokafka, bare_librdkafka, groups, our_log
from tests.bench.log_load import BATCH, PACED_RATE, RECORDS_AN_EVENT, Measured, measure, quantiles
from tests.bench.processes import machine
from tests.bench.report import Row, beside
from tests.kafka.cluster import KafkaCluster
from tests.kafka.jars import why_kafka_is_not_here

_SINGLE_RECORDS = 3


def run() -> tuple[list[Row], list[str]]:
    notes = [machine(), "whole mesh and, for Kafka, three brokers on the same cores"]
    with _folder() as folder:
        measured = _measure_mesh(folder / "embedded", LogSettings())
        rows = _rows("embedded", measured)
        bare = _bare_rocksdb(folder / "bare")
        rows.append(_records("embedded: records", measured.records_per_s, "bare RocksDB, same groups", bare))
    why_not = why_kafka_is_not_here()
    if why_not:
        return rows, [*notes, f"without Kafka: {why_not}"]
    with _folder() as folder, KafkaCluster(folder / "brokers") as cluster:
        connection = KafkaConnection(bootstrap=cluster.bootstrap)
        topics = KafkaTopicsConfig()
        measured = _measure_mesh(folder / "kafka", LogSettings("kafka", connection, topics))
        rows += _rows("kafka", measured)
        rows += _beside_clients(measured, connection, topics)
    notes.append(
        f"kafka: {measured.group_records:,.0f} records a transaction, {measured.record_bytes:.0f} bytes "
        f"each, {topics.partitions} partitions a topic, 3 replicas, 2 in sync"
    )
    return rows, notes


def _measure_mesh(folder: Path, log: LogSettings) -> Measured:
    layout = Layout.create(folder, ports=None, hosts={}, log=log)
    with running_mesh(layout) as mesh, Connection(layout) as connection:
        mesh.wait_until_ready(Console())
        return measure(connection, layout)


def _rows(kind: str, measured: Measured) -> list[Row]:
    costs = sorted(measured.cpu_us_per_event.items(), key=lambda entry: -entry[1])
    return [
        Row(f"{kind}: events acknowledged durable", measured.events_per_s, "events/s"),
        Row(f"{kind}: followers caught up after the last acknowledgement", measured.caught_up_s, "s"),
        *(Row(f"{kind}: CPU of {name}", cost, "µs/event") for name, cost in costs),
        *quantiles(f"{kind}: acknowledgement of one event, {PACED_RATE}/s", measured.acks_s),
        *quantiles(f"{kind}: event to visible (save → Polaris)", measured.visible_s),
    ]


def _beside_clients(measured: Measured, connection: KafkaConnection, topics: KafkaTopicsConfig) -> list[Row]:
    """The same transactions by bare clients, and by our log alone; the mesh has stopped."""
    make = groups(
        records=round(measured.group_records),
        size=round(measured.record_bytes),
        partitions=topics.partitions,
    )
    batch, single = make(round(measured.group_records)), make(_SINGLE_RECORDS)
    aiokafka = asyncio.run(bare_aiokafka(connection, batch, single))
    librdkafka = bare_librdkafka(connection, batch, single)
    ours = our_log(KafkaConfig(connection=connection, topics=topics), batch, single)
    rows = []
    for peer, bare in (("bare aiokafka", aiokafka), ("bare librdkafka", librdkafka)):
        rows += [
            _records("kafka: records, the whole mesh", measured.records_per_s, peer, bare.records_per_s),
            _records("kafka: records, our log alone", ours.records_per_s, peer, bare.records_per_s),
            _wait("kafka: transaction of 3 records, our log alone", ours, peer, bare),
        ]
    return rows


def _records(name: str, value: float, peer: str, peer_value: float) -> Row:
    return beside(name, value, "records/s", peer=peer, peer_value=peer_value, more_is_better=True)


def _wait(name: str, ours: Bare, peer: str, bare: Bare) -> Row:
    own, theirs = (float(np.quantile(one.waits_s, 0.5)) * 1e3 for one in (ours, bare))
    return beside(f"{name}, p50", own, "ms", peer=peer, peer_value=theirs, more_is_better=False)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="feedmesh-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare_rocksdb(path: Path) -> float:
    """Records a second of the store alone: groups of one batch's records of 100 bytes, each synced."""
    group = int(BATCH * RECORDS_AN_EVENT)
    with Store(path, {"records": log_family(), "system": small_family()}) as store:
        value = bytes(100)
        written = 0
        began = time.perf_counter()
        while time.perf_counter() - began < 5:
            batch = store.batch()
            for index in range(group):
                batch.put("records", (written + index).to_bytes(11, "big"), value)
            store.write(batch, sync=True)
            written += group
        return written / (time.perf_counter() - began)
