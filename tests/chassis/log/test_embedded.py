"""What only the embedded log has: a disk that fails, group commit, and a life after closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.errors import ConfigFaults, DiskFull, LimitExceeded, QueueFull, StorageFault
from services.chassis.log import embedded_store
from services.chassis.log.embedded import EmbeddedLog
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.log import NewRecord
from tests.chassis.log.support import (
    ROOMY,
    TOPICS,
    WAIT_MS,
    FaultyStore,
    embedded_log,
    new_records,
    read,
    values_of,
)

WAIT_S = WAIT_MS / 1000


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(tmp_path, embedded_store.families())


@pytest.fixture
def log(tmp_path: Path, store: FaultyStore) -> Iterator[EmbeddedLog]:
    with embedded_log(tmp_path, store=store) as opened:
        yield opened


def _values(log: EmbeddedLog, topic: str, partition: int) -> list[bytes]:
    begin, end = log.begin_offsets(topic)[partition], log.end_offsets(topic)[partition]
    chunks = read(log.tail({(topic, partition): begin}), end - begin) if end > begin else []
    return values_of(chunks, topic, partition)


def test_records_offsets_and_identity_survive_closing(tmp_path: Path) -> None:
    with embedded_log(tmp_path) as log:
        log.publish([*new_records("pins", 1, b"a", b"b"), *new_records("graph", 0, b"c")]).result()
        log.trim({("pins", 1): 1})
        identity, ends = log.log_id, {topic: log.end_offsets(topic) for topic in log.topics}
    with embedded_log(tmp_path) as log:
        assert log.log_id == identity
        assert {topic: log.end_offsets(topic) for topic in log.topics} == ends
        assert log.begin_offsets("pins") == [0, 1, 0, 0]
        assert _values(log, "pins", 1) == [b"b"]
        assert log.publish(new_records("pins", 1, b"d")).result() == {("pins", 1): 3}


def test_an_emptied_partition_does_not_begin_anew_after_closing(tmp_path: Path) -> None:
    with embedded_log(tmp_path) as log:
        log.publish(new_records("pins", 1, b"a", b"b")).result()
        log.trim({("pins", 1): 2})
    with embedded_log(tmp_path) as log:
        assert log.end_offsets("pins")[1] == 2


def test_two_logs_have_two_identities(tmp_path: Path) -> None:
    with embedded_log(tmp_path / "a") as a, embedded_log(tmp_path / "b") as b:
        assert a.log_id != b.log_id


def test_another_partition_count_is_refused_for_a_log_that_exists(tmp_path: Path) -> None:
    with embedded_log(tmp_path, topics={"pins": 4}):
        pass
    with pytest.raises(ConfigFaults, match="never changes"), embedded_log(tmp_path, topics={"pins": 8}):
        pass


def test_a_topic_can_be_added_and_the_others_keep_their_records(tmp_path: Path) -> None:
    with embedded_log(tmp_path, topics={"pins": 4}) as log:
        log.publish(new_records("pins", 3, b"old")).result()
    with embedded_log(tmp_path, topics={"aaa": 2, "pins": 4}) as log:
        log.publish(new_records("aaa", 1, b"new")).result()
        assert _values(log, "pins", 3) == [b"old"]
        assert _values(log, "aaa", 1) == [b"new"]


def test_nothing_is_visible_or_acknowledged_before_the_sync(log: EmbeddedLog, store: FaultyStore) -> None:
    tail = log.tail({("pins", 0): 0})
    store.may_sync.clear()
    future = log.publish(new_records("pins", 0, b"a"))
    assert store.syncing.wait(WAIT_S)
    assert not future.done()
    assert log.end_offsets("pins")[0] == 0
    assert tail.poll(timeout_ms=0) == []
    store.may_sync.set()
    assert future.result(WAIT_S) == {("pins", 0): 1}
    assert values_of(read(tail, 1), "pins", 0) == [b"a"]


def test_publishes_that_come_during_a_sync_share_the_next_one(log: EmbeddedLog, store: FaultyStore) -> None:
    store.may_sync.clear()
    first = log.publish(new_records("pins", 0, b"first"))
    assert store.syncing.wait(WAIT_S)
    others = [log.publish(new_records("pins", n % 4, b"%d" % n)) for n in range(50)]
    store.may_sync.set()
    for future in [first, *others]:
        future.result(WAIT_S)
    assert store.sync_count == 2


def test_a_group_is_bounded(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path, embedded_store.families())
    config = EmbeddedLogConfig(disk_free_bytes_min=0, group_records_max=10)
    with embedded_log(tmp_path, config=config, store=store) as log:
        store.may_sync.clear()
        futures = [log.publish(new_records("pins", 0, b"first"))]
        assert store.syncing.wait(WAIT_S)
        futures += [log.publish(new_records("pins", 0, b"a", b"b", b"c", b"d")) for _ in range(5)]
        store.may_sync.set()
        for future in futures:
            future.result(WAIT_S)
        assert store.sync_count == 1 + 3, "4 + 4, 4 + 4, 4: three would be twelve"


def test_a_publish_cancelled_before_its_turn_is_not_written(log: EmbeddedLog, store: FaultyStore) -> None:
    store.may_sync.clear()
    first = log.publish(new_records("pins", 0, b"first"))
    assert store.syncing.wait(WAIT_S)
    second, third = (log.publish(new_records("pins", 0, value)) for value in (b"second", b"third"))
    assert second.cancel()
    assert not first.cancel(), "it may be on the disk already"
    store.may_sync.set()
    assert third.result(WAIT_S) == {("pins", 0): 2}
    assert _values(log, "pins", 0) == [b"first", b"third"]


def test_a_full_queue_refuses_at_once_and_takes_again_when_it_drained(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path, embedded_store.families())
    config = EmbeddedLogConfig(disk_free_bytes_min=0, request_records_max=4, queue_records_max=4)
    with embedded_log(tmp_path, config=config, store=store) as log:
        store.may_sync.clear()
        log.publish(new_records("pins", 0, b"a"))
        assert store.syncing.wait(WAIT_S)
        waiting = log.publish(new_records("pins", 0, b"b", b"c", b"d"))
        with pytest.raises(QueueFull):
            log.publish(new_records("pins", 0, b"e", b"f"))
        store.may_sync.set()
        waiting.result(WAIT_S)
        log.publish(new_records("pins", 0, b"g")).result(WAIT_S)
        assert _values(log, "pins", 0) == [b"a", b"b", b"c", b"d", b"g"]


@pytest.mark.parametrize(
    "records",
    [new_records("pins", 0, *[b""] * 5), new_records("pins", 0, bytes(2_000))],
    ids=["too many records", "too many bytes"],
)
def test_a_publish_that_no_write_could_hold_is_refused(tmp_path: Path, records: list[NewRecord]) -> None:
    config = EmbeddedLogConfig(disk_free_bytes_min=0, request_records_max=4, request_bytes_max=1_000)
    with embedded_log(tmp_path, config=config) as log, pytest.raises(LimitExceeded, match="split"):
        log.publish(records)


@pytest.mark.parametrize("stage", ["write", "sync"])
def test_a_failed_group_burns_no_offsets_and_the_log_goes_on(
    log: EmbeddedLog, store: FaultyStore, stage: str
) -> None:
    log.publish(new_records("pins", 0, b"a")).result(WAIT_S)
    (store.write_faults if stage == "write" else store.sync_faults).append(DiskFull("no room"))
    with pytest.raises(DiskFull):
        log.publish(new_records("pins", 0, b"lost", b"lost too")).result(WAIT_S)
    assert log.publish(new_records("pins", 0, b"b")).result(WAIT_S) == {("pins", 0): 2}
    assert _values(log, "pins", 0) == [b"a", b"b"]


def test_what_a_failed_sync_left_on_disk_never_shows_up_in_part(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path, embedded_store.families())
    with embedded_log(tmp_path, store=store) as log:
        doomed = [*new_records("pins", 0, b"x", b"x", b"x"), *new_records("graph", 1, b"x")]
        for fault in (StorageFault("first"), StorageFault("second")):
            store.sync_faults.append(fault)
            with pytest.raises(StorageFault):
                log.publish(doomed).result(WAIT_S)
        log.publish(new_records("pins", 0, b"good")).result(WAIT_S)
    with embedded_log(tmp_path) as log:
        assert _values(log, "pins", 0) == [b"good"]
        assert _values(log, "graph", 1) == []


def test_tails_go_on_after_a_failed_write_made_the_store_open_anew(
    log: EmbeddedLog, store: FaultyStore
) -> None:
    tail = log.tail({("pins", 0): 0})
    log.publish(new_records("pins", 0, b"a")).result(WAIT_S)
    store.reopen()
    log.publish(new_records("pins", 0, b"b")).result(WAIT_S)
    assert values_of(read(tail, 2), "pins", 0) == [b"a", b"b"]
    assert _values(log, "pins", 0) == [b"a", b"b"]


def test_a_disk_below_the_floor_refuses_early_and_takes_again_with_room(tmp_path: Path) -> None:
    free = [1_000]
    config = EmbeddedLogConfig(disk_free_bytes_min=500)
    with embedded_log(tmp_path, config=config, disk_free=lambda: free[0]) as log:
        log.publish(new_records("pins", 0, b"a")).result(WAIT_S)
        free[0] = 499
        with pytest.raises(DiskFull, match="free space"):
            log.publish(new_records("pins", 0, b"b"))
        assert _values(log, "pins", 0) == [b"a"], "reads go on"
        free[0] = 500
        log.publish(new_records("pins", 0, b"c")).result(WAIT_S)


def test_closing_commits_what_waits(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path, embedded_store.families())
    log_closed = threading.Event()
    with embedded_log(tmp_path, store=store) as log:
        store.may_sync.clear()
        futures = [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(3)]

        def close() -> None:
            log.close()
            log_closed.set()

        threading.Thread(target=close).start()
        store.may_sync.set()
        assert log_closed.wait(WAIT_S)
        assert [future.result(0) for future in futures][-1] == {("pins", 0): 3}


def test_a_tail_reads_the_disk_in_bounded_pieces(tmp_path: Path) -> None:
    with embedded_log(tmp_path) as log:
        for partition in range(4):
            log.publish(new_records("pins", partition, *[bytes(100)] * 30)).result(WAIT_S)
        tail = log.tail({("pins", partition): 0 for partition in range(4)}, chunk_bytes=1_000)
        sizes: list[int] = []
        while sum(sizes) < 12_000:
            sizes.append(sum(len(v) for chunk in tail.poll(timeout_ms=WAIT_MS) for v in chunk.values))
        assert max(sizes) <= 1_100, "at most one record over"


def test_config_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold at least one request"):
        EmbeddedLogConfig(queue_records_max=1)
    with pytest.raises(ValueError, match="group_records_max"):
        EmbeddedLogConfig(group_records_max=1_000_000)
    assert ROOMY.partitions == 64
    assert TOPICS["pins"] == 4
