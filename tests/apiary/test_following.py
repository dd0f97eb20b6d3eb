"""The view behind a real follower: read your own writes through the cache, restarts."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.clock import FakeClock
from services.chassis.log.follower import Follower
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import NewRecord, Positions
from services.chassis.log.memory import MemoryLog
from services.chassis.shards.owned import OwnedShards
from tests.apiary.world import NOW_MS, USER, Apiary, follow, hide, put_board, unfollow

PARTITIONS = 4
OWNED = OwnedShards.everything(64)
ANNA, BELA = 1, 2


def publish(log: MemoryLog, *events: list[record_pb2.Record], first_id: int) -> Positions:
    """Publish with ids of their own; returns the positions after them."""
    new = []
    for at, record in enumerate(each for event in events for each in event):
        record.record_id = first_id + at
        partition = OWNED.shard_of(record.key) % PARTITIONS
        new.append(NewRecord("graph", partition, record.SerializeToString()))
    return log.publish(new).result()


def follower_of(apiary: Apiary, log: MemoryLog) -> Follower:
    return Follower(
        log=log,
        store=apiary.database,
        view=apiary.view,
        owned=OWNED,
        config=FollowerConfig(poll_ms=10),
        metrics=FollowerMetrics(CollectorRegistry()),
        clock=FakeClock(NOW_MS),
    )


def test_every_write_is_read_as_soon_as_it_is_applied(apiary: Apiary) -> None:
    log = MemoryLog({"graph": PARTITIONS})
    follower = follower_of(apiary, log)
    follower.start()
    for step in range(1, 60):
        # The cache holds the old value when the next event comes.
        apiary.boards(ANNA)
        board = 100 + step
        event = follow(ANNA, "board", board) if step % 3 else unfollow(ANNA, "board", board - 1)
        follower.wait_applied(publish(log, event, first_id=10 * step), timeout_s=20)
        assert (board in apiary.boards(ANNA)) == bool(step % 3)
        assert (board - 1 in apiary.boards(ANNA)) == (step % 3 == 2)
    follower.stop()


def test_what_is_hidden_is_read_as_soon_as_it_is_applied(apiary: Apiary) -> None:
    log = MemoryLog({"graph": PARTITIONS})
    follower = follower_of(apiary, log)
    follower.start()
    for pin in range(1, 40):
        # The cache holds the old value when the next event comes.
        apiary.hidden(ANNA)
        event = hide(ANNA, type_pb2.OBJECT_KIND_PIN, pin if pin % 3 else pin - 1, undo=pin % 3 == 0)
        follower.wait_applied(publish(log, event, first_id=10 * pin), timeout_s=20)
        hidden = [each for each in range(1, pin + 1) if each % 3 == 1 or (each == pin and pin % 3 == 2)]
        assert apiary.hidden(ANNA) == (hidden, [], [])
    follower.stop()


def test_a_restart_goes_on_where_the_store_is(tmp_path: Path) -> None:
    log = MemoryLog({"graph": PARTITIONS}, offset_step=2)
    apiary = Apiary(tmp_path)
    follower = follower_of(apiary, log)
    follower.start()
    positions = publish(log, put_board(10, owner=BELA), follow(ANNA, "user", BELA), first_id=1)
    follower.wait_applied(positions, timeout_s=20)
    assert apiary.boards(ANNA) == [10]
    follower.stop()
    positions = publish(log, put_board(11, owner=BELA), unfollow(ANNA, "board", 10), first_id=20)
    apiary.restart()
    follower = follower_of(apiary, log)
    follower.start()
    follower.wait_applied(positions, timeout_s=20)
    assert apiary.boards(ANNA) == [11]
    assert apiary.followers(USER, BELA).total_count == 1
    follower.stop()
    apiary.close()
