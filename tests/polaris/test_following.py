"""The view behind a real follower: restarts, read your own writes, poison."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import record_pb2
from services.chassis.clock import FakeClock
from services.chassis.log.follower import Follower
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import NewRecord, Positions
from services.chassis.log.memory import MemoryLog
from services.chassis.shards.owned import OwnedShards
from tests.polaris.world import NOW_MS, Polaris, remove, save

PARTITIONS = 4
OWNED = OwnedShards.everything(64)


def publish(log: MemoryLog, *records: record_pb2.Record, first_id: int) -> Positions:
    """Publish with ids of their own; returns the positions after them."""
    new = []
    for at, record in enumerate(records):
        record.record_id = first_id + at
        partition = OWNED.shard_of(record.key) % PARTITIONS
        new.append(NewRecord("pins", partition, record.SerializeToString()))
    return log.publish(new).result()


def follower_of(polaris: Polaris, log: MemoryLog) -> Follower:
    return Follower(
        log=log,
        store=polaris.database,
        view=polaris.view,
        owned=OWNED,
        config=FollowerConfig(poll_ms=10),
        metrics=FollowerMetrics(CollectorRegistry()),
        clock=FakeClock(NOW_MS),
    )


def test_a_restart_goes_on_where_the_store_is(tmp_path: Path) -> None:
    log = MemoryLog({"pins": PARTITIONS}, offset_step=3)
    polaris = Polaris(tmp_path)
    follower = follower_of(polaris, log)
    follower.start()
    positions = publish(log, save(1, 10), save(2, 20), save(1, 11), first_id=1)
    follower.wait_applied(positions, timeout_s=20)
    assert sorted(polaris.pins(1)) == [10, 11]
    follower.stop()
    positions = publish(log, remove(1, 10), save(1, 0), save(2, 21), first_id=10)
    polaris.restart()
    assert sorted(polaris.pins(1)) == [10, 11]
    follower = follower_of(polaris, log)
    follower.start()
    follower.wait_applied(positions, timeout_s=20)
    assert polaris.pins(1) == [11]
    assert sorted(polaris.pins(2)) == [20, 21]
    # The save of pin 0 is set aside, and stops nothing.
    assert log.end_offsets("dead-letters") == [3]
    follower.stop()
    polaris.close()
