"""Ingest's half of the log in Kafka: real offsets, whole transactions or none, and one writer to a name."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from services.chassis.errors import FeedmeshError, LimitExceeded, LogUnavailable
from services.chassis.log.kafka import log as log_module
from services.chassis.log.kafka.client import Producer
from services.chassis.log.kafka.config import (
    BATCH_OVERHEAD_BYTES,
    KafkaConfig,
    KafkaProducerConfig,
    KafkaTopicsConfig,
)
from services.chassis.log.kafka.faults import Fenced
from services.chassis.log.kafka.meta import identify
from services.chassis.log.log import DATA_TOPICS, Chunk, NewRecord, Positions, TopicPartition
from tests.chassis.log.support import WAIT_MS, new_records, read, values_of
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, brokers, kafka_config, kafka_log

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]

WAIT_S: Final = WAIT_MS / 1000
CLOSE_S_MAX: Final = 5.0
"""What a supervisor gives a process to end is more."""
ONE_REPLICA: Final = KafkaTopicsConfig(partitions=2, replication=1, min_insync=1)
PINS: Final = ("pins", 0)


def config_of(bootstrap: str = "", **producer: Any) -> KafkaConfig:
    """A log that is quick to make."""
    return kafka_config(bootstrap or brokers(), topics=ONE_REPLICA, producer=KafkaProducerConfig(**producer))


def impatient(config: KafkaConfig, *, request_timeout_ms: int = 500) -> KafkaConfig:
    """The same log, for brokers that do not answer."""
    connection = replace(
        config.connection, request_timeout_ms=request_timeout_ms, call_timeout_ms=1_000, retry_backoff_ms=20
    )
    return replace(config, connection=connection, tail=replace(config.tail, fetch_wait_ms=100))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker to freeze, which looks for transactions that are too old five times a second."""
    interval = "transaction.abort.timed.out.transaction.cleanup.interval.ms"
    folder = tmp_path_factory.mktemp("own")
    with KafkaCluster(
        folder, nodes=1, broker_session_timeout_ms=60_000, settings={interval: "200"}
    ) as cluster:
        yield cluster


def everything(log: OpenedLog, count: int, *places: TopicPartition) -> list[Chunk]:
    """All records of these partitions, of which there must be `count`, and what follows them."""
    tail = log.tail(dict.fromkeys(places or (PINS,), 0))
    chunks = read(tail, count)
    ends = {place: log.end_offsets(place[0])[place[1]] for place in places or (PINS,)}
    reached = {(chunk.topic, chunk.partition): chunk.next_offset for chunk in chunks}
    while any(reached.get(place, 0) < end for place, end in ends.items()):
        polled = tail.poll(timeout_ms=WAIT_MS)
        assert polled, f"the tail stops at {reached}, the log ends at {ends}"
        chunks += polled
        reached |= {(chunk.topic, chunk.partition): chunk.next_offset for chunk in polled}
    tail.close()
    assert sum(len(chunk.values) for chunk in chunks) == count
    return chunks


def offsets_of(chunks: Sequence[Chunk]) -> dict[bytes, int]:
    """Where each value is; no value is there twice."""
    pairs = [pair for chunk in chunks for pair in zip(chunk.values, chunk.offsets, strict=True)]
    found = dict(pairs)
    assert len(found) == len(pairs), "a record is there twice"
    return found


def metric(log: OpenedLog, name: str) -> float:
    """A sample of the log's metrics."""
    for collector in vars(log._metrics).values():
        for family in collector.collect():
            for sample in family.samples:
                if sample.name == name:
                    return float(sample.value)
    raise AssertionError(f"no sample {name}")


# Positions


def test_positions_are_real_offsets_also_when_a_publish_needs_many_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(2)
    send = Producer.send_batch
    batches: list[int] = []

    def counted(producer: Any, batch: Any, topic: str, *, partition: int) -> Any:
        batches.append(partition)
        return send(producer, batch, topic, partition=partition)

    monkeypatch.setattr(Producer, "send_batch", counted)
    with kafka_log(config_of(batch_bytes_max=1 << 16)) as log:
        for _ in range(3):
            written = [
                NewRecord("pins", number % 2, b"%d:" % number + chance.randbytes(chance.randrange(3_000)))
                for number in range(400)
            ]
            positions = log.publish(written).result(WAIT_S)
            last = {(record.topic, record.partition): record.value for record in written}
            chunks = everything(log, int(metric(log, "feedmesh_log_records_total")), *last)
            offsets = offsets_of(chunks)
            assert positions == {place: offsets[value] + 1 for place, value in last.items()}
        assert min(batches.count(0), batches.count(1)) > 9, "one batch was enough: nothing was tested"


def test_positions_are_real_where_two_ingest_write_between_each_others_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = config_of(batch_bytes_max=1 << 16)
    together = threading.Barrier(2)
    send = Producer.send_batch

    async def in_turns(producer: Any, *arguments: Any, **named: Any) -> Any:
        await asyncio.to_thread(together.wait, WAIT_S)
        return await send(producer, *arguments, **named)

    with (
        kafka_log(config, address="127.0.0.1:1") as one,
        kafka_log(config, address="127.0.0.1:2") as other,
    ):
        monkeypatch.setattr(Producer, "send_batch", in_turns)
        expected: list[tuple[int, bytes]] = []
        sources: dict[bytes, str] = {}
        for turn in range(3):
            futures = []
            for log in (one, other):
                values = [b"%s/%d/%d:" % (log._address.encode(), turn, n) + bytes(20_000) for n in range(30)]
                sources |= dict.fromkeys(values, log._address)
                futures.append((log.publish(new_records("pins", 0, *values)), values))
            expected += [(future.result(WAIT_S)[PINS], values[-1]) for future, values in futures]
        monkeypatch.undo()
        offsets = offsets_of(everything(one, len(sources)))
    for position, value in expected:
        assert position == offsets[value] + 1
    order = [sources[value] for value, _ in sorted(offsets.items(), key=lambda item: item[1])]
    changes = sum(before != after for before, after in itertools.pairwise(order))
    assert changes > 6, "nobody wrote between another's batches: this test has tested nothing"


@pytest.mark.parametrize("compression", ["none", "zstd", "lz4", "snappy", "gzip"])
def test_whatever_the_compression_records_come_back_as_they_were(compression: str) -> None:
    chance = random.Random(3)
    topics = replace(ONE_REPLICA, batch_bytes_max=1 << 20)
    config = replace(config_of(compression=compression, batch_bytes_max=1 << 19), topics=topics)
    largest = chance.randbytes(topics.batch_bytes_max - BATCH_OVERHEAD_BYTES)
    values = [b"", b"x" * 300_000, *(chance.randbytes(1_000) for _ in range(600)), largest]
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, *values)).result(WAIT_S)
        assert values_of(everything(log, len(values)), *PINS) == values


# Limits


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (
            new_records("pins", 0, b"a", b"b", b"c", b"d"),
            "4 records of 4 bytes are more than one publish may",
        ),
        (new_records("pins", 0, *[bytes(60_000)] * 2), "2 records of 120000 bytes are more than one publish"),
        (new_records("pins", 0, bytes(65_537)), "a record has 65537 bytes, Kafka's topics take 65536"),
    ],
    ids=["too many records", "too many bytes", "a record too large"],
)
def test_what_is_too_large_is_refused_and_nothing_is_queued(records: list[NewRecord], why: str) -> None:
    config = config_of(request_records_max=3, request_bytes_max=100_000, batch_bytes_max=1 << 16)
    config = replace(config, topics=replace(ONE_REPLICA, batch_bytes_max=(1 << 16) + BATCH_OVERHEAD_BYTES))
    with kafka_log(config) as log:
        with pytest.raises(LimitExceeded, match=why):
            log.publish(records)
        assert metric(log, "feedmesh_log_queue_records") == 0
        log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
        assert values_of(everything(log, 1), *PINS) == [b"x"]


def test_publishes_that_wait_share_one_transaction() -> None:
    with kafka_log(config_of(group_wait_ms=300)) as log:
        futures = [log.publish(new_records("pins", n % 2, b"%d" % n)) for n in range(20)]
        positions = [future.result(WAIT_S) for future in futures]
        assert metric(log, "feedmesh_log_group_requests_count") == 1
        assert metric(log, "feedmesh_log_group_requests_sum") == 20
        offsets = offsets_of(everything(log, 20, ("pins", 0), ("pins", 1)))
        assert positions == [{("pins", n % 2): offsets[b"%d" % n] + 1} for n in range(20)]


def test_without_a_wait_the_first_goes_alone_and_those_that_come_meanwhile_share_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(group_wait_ms=0)) as log:
        futures = [log.publish(new_records("pins", 0, b"first"))]
        assert commits.reached.wait(WAIT_S)
        futures += [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(20)]
        commits.may_go.set()
        for future in futures:
            future.result(WAIT_S)
        assert metric(log, "feedmesh_log_group_requests_count") == 2
        assert metric(log, "feedmesh_log_group_requests_sum") == 21


# Transactions that break


class Commits:
    """aiokafka's commits, of which the next one waits, with all its records written, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.may_go = threading.Event()
        self._armed = True
        commit = Producer.commit_transaction

        async def held(producer: Any) -> None:
            if self._armed:
                self._armed = False
                await producer.flush()
                self.reached.set()
                while not self.may_go.is_set():
                    await asyncio.sleep(0.01)
            await commit(producer)

        monkeypatch.setattr(Producer, "commit_transaction", held)


def test_a_transaction_that_takes_too_long_is_given_up_whole_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(transaction_timeout_ms=1_500, stalled_ms=100)) as log:
        slow = log.publish(new_records("pins", 0, b"never", b"seen"))
        assert commits.reached.wait(WAIT_S)
        until = time.monotonic() + WAIT_S
        while not log.trouble.startswith("Kafka has not committed for "):
            assert time.monotonic() < until, log.trouble
        with pytest.raises(LogUnavailable, match="no answer in time when asked to commit") as given_up:
            slow.result(WAIT_S)
        assert log.trouble == str(given_up.value)
        log.publish(new_records("pins", 0, b"next")).result(WAIT_S)
        assert log.trouble == ""
        chunks = everything(log, 1)
        assert values_of(chunks, *PINS) == [b"next"]
        assert offsets_of(chunks) == {b"next": 3}, "the other two were not written: nothing was tested"
        assert log.fences == []
        assert metric(log, "feedmesh_log_producer_renewals_total") == 1
        assert metric(log, "feedmesh_log_failed_groups_total") == 1


def test_a_transaction_that_kafka_aborts_is_no_fencing(
    own: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(own.bootstrap, transaction_timeout_ms=1_500)) as log:
        log._writer._timeout_s = WAIT_S
        slow = log.publish(new_records("pins", 0, b"never", b"seen"))
        assert commits.reached.wait(WAIT_S)
        # Only Kafka's own mark ends what is open: who passes it knows that the transaction is aborted.
        tail, passed = log.tail({PINS: 0}), 0
        while passed < 3:
            chunks = tail.poll(timeout_ms=WAIT_MS)
            assert chunks, "Kafka does not abort"
            passed = chunks[-1].next_offset
        commits.may_go.set()
        with pytest.raises(LogUnavailable, match="was open for longer than Kafka allows") as broken:
            slow.result(WAIT_S)
        assert not isinstance(broken.value, Fenced)
        assert log.fences == []
        assert "retry with the same event ids" in log.trouble
        log.publish(new_records("pins", 0, b"next")).result(WAIT_S)
        assert log.trouble == ""
        assert values_of(everything(log, 1), *PINS) == [b"next"]


def check_fenced(log: OpenedLog, *, by: OpenedLog) -> None:
    """Once told, and from then on at the door."""
    with pytest.raises(Fenced, match=f"the Ingest at {by._address} writes as 'one' now"):
        log.publish(new_records("pins", 0, b"late"))
    (fence,) = log.fences
    assert str(fence) == log.trouble
    assert f"so this one at {log._address} must not" in log.trouble
    assert "give each its own kafka.producer.transactional_id" in log.trouble
    assert metric(log, "feedmesh_log_fenced") == 1
    assert by.fences == []
    assert by.trouble == ""


def test_the_first_of_two_with_one_name_is_fenced_and_writes_nothing_more() -> None:
    config = config_of(transactional_id="one")
    with (
        kafka_log(config, address="127.0.0.1:1") as first,
        kafka_log(config, address="127.0.0.1:2", connected=False) as second,
    ):
        assert second.wait_connected(timeout_s=60), second.trouble
        lost = [first.publish(new_records("pins", 0, b"lost-%d" % n)) for n in range(3)]
        for future in lost:
            with pytest.raises(Fenced):
                future.result(WAIT_S)
        check_fenced(first, by=second)
        second.publish(new_records("pins", 0, b"kept")).result(WAIT_S)
        assert values_of(everything(second, 1), *PINS) == [b"kept"]
        assert first.end_offsets("pins") == second.end_offsets("pins"), "a fenced log can still be read"


def test_who_is_fenced_inside_a_transaction_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(transactional_id="one")
    commits = Commits(monkeypatch)
    with kafka_log(config, address="127.0.0.1:1") as first:
        open_one = first.publish(new_records("pins", 0, b"half", b"done"))
        assert commits.reached.wait(WAIT_S)
        with kafka_log(config, address="127.0.0.1:2") as second:
            second.publish(new_records("pins", 0, b"half", b"done")).result(WAIT_S)
            commits.may_go.set()
            with pytest.raises(Fenced):
                open_one.result(WAIT_S)
            check_fenced(first, by=second)
            assert values_of(everything(second, 2), *PINS) == [b"half", b"done"]


def test_who_was_succeeded_while_its_producer_was_broken_does_not_take_the_name_back() -> None:
    config = config_of(transactional_id="one")
    with kafka_log(config, address="127.0.0.1:1") as first:
        # As after every transaction that breaks; Kafka has no producer of this one to fence.
        first._loop.run(first._writer.discard(), timeout_s=WAIT_S)
        with kafka_log(config, address="127.0.0.1:2") as second:
            with pytest.raises(Fenced):
                first.publish(new_records("pins", 0, b"lost")).result(WAIT_S)
            check_fenced(first, by=second)
            second.publish(new_records("pins", 0, b"kept")).result(WAIT_S)
            assert metric(second, "feedmesh_log_producer_renewals_total") == 0
            assert values_of(everything(second, 1), *PINS) == [b"kept"]


def test_three_in_a_row_each_know_their_successor() -> None:
    config = config_of(transactional_id="one")
    with (
        kafka_log(config, address="127.0.0.1:1") as first,
        kafka_log(config, address="127.0.0.1:2") as second,
        kafka_log(config, address="127.0.0.1:3") as third,
    ):
        for log in (first, second):
            with pytest.raises(Fenced, match=r"the Ingest at 127\.0\.0\.1:3 writes"):
                log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
        third.publish(new_records("pins", 0, b"y")).result(WAIT_S)
        assert third.trouble == ""


# Brokers that are away


def wait_trouble(log: OpenedLog, text: str) -> None:
    until = time.monotonic() + WAIT_S
    while text not in log.trouble:
        assert time.monotonic() < until, log.trouble
        log.wait_connected(timeout_s=0.01)


def test_a_log_that_starts_before_kafka_connects_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_RETRY_S_MAX", 0.2)
    with KafkaCluster(tmp_path, nodes=1, broker_session_timeout_ms=1_000) as cluster:
        cluster.kill(1)
        with kafka_log(impatient(config_of(cluster.bootstrap)), connected=False) as log:
            assert not log.wait_connected(timeout_s=0.1)
            wait_trouble(log, f"Kafka is not reached: {cluster.bootstrap}: [Errno")
            with pytest.raises(LogUnavailable, match="Kafka is not reached"):
                log.publish(new_records("pins", 0, b"x"))
            assert metric(log, "feedmesh_log_connected") == 0
            cluster.start_node(1)
            assert log.wait_connected(timeout_s=60), log.trouble
            assert log.trouble == ""
            assert metric(log, "feedmesh_log_connected") == 1
            log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
            assert not log.fatal


def test_a_broker_that_gives_a_wrong_address_is_said(tmp_path: Path) -> None:
    wrong = {"advertised.listeners": "PLAINTEXT://127.0.0.1:1"}
    with (
        KafkaCluster(tmp_path, nodes=1, settings=wrong) as cluster,
        kafka_log(config_of(cluster.bootstrap), connected=False) as log,
    ):
        wait_trouble(log, "are its advertised.listeners wrong?")


def test_what_nobody_thought_of_does_not_end_the_attempts_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [RuntimeError("a surprise")]

    async def surprise(*arguments: Any, **named: Any) -> Any:
        if faults:
            raise faults.pop()
        return await identify(*arguments, **named)

    monkeypatch.setattr(log_module, "identify", surprise)
    with kafka_log(config_of(), connected=False) as log:
        wait_trouble(log, "Kafka failed to be connected to: RuntimeError: a surprise")
        assert log.wait_connected(timeout_s=60), log.trouble


def test_brokers_that_do_not_answer_are_said_and_waited_out(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap))
    with own.frozen(1):
        log_opened = kafka_log(config, connected=False)
        log = log_opened.__enter__()
        wait_trouble(log, f"Kafka is not reached: {own.bootstrap}: no answer within 500 ms")
    try:
        assert log.wait_connected(timeout_s=60), log.trouble
        log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
    finally:
        log_opened.__exit__(None, None, None)


def test_a_publish_into_frozen_brokers_fails_in_time_and_later_ones_go_through(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap, transaction_timeout_ms=1_000))
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, b"before")).result(WAIT_S)
        with own.frozen(1):
            for _ in range(2):
                with pytest.raises(LogUnavailable, match=r"no answer in time|did not confirm|is not reached"):
                    log.publish(new_records("pins", 0, b"during")).result(WAIT_S)
                assert log.trouble
        log.publish(new_records("pins", 0, b"after")).result(30)
        assert log.trouble == ""
        values = list(offsets_of(read(log.tail({PINS: 0}), 2)))
        assert values[0] == b"before"
        assert values[-1] == b"after"
        assert log.fences == []


# Closing


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """No thread and no client is left when the block ends, and its close took a few seconds."""
    gc.collect()
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect()
    left = [thread.name for thread in set(threading.enumerate()) - before if "kafka" in thread.name]
    assert not left
    assert [str(warning.message) for warning in told if warning.category is ResourceWarning] == []


def close_in_time(log: OpenedLog) -> None:
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < CLOSE_S_MAX


def test_a_log_that_is_closed_commits_what_waits_and_leaves_nothing_behind() -> None:
    config = config_of(group_wait_ms=1_000)
    with nothing_left_behind(), kafka_log(config) as log:
        log.end_offsets("pins")
        log.append_dead_letter(b"letter")
        tail = log.tail({PINS: 0})
        futures = [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(5)]
        close_in_time(log)
        assert [future.result(0)[PINS] for future in futures] == [1, 2, 3, 4, 5]
        with pytest.raises(LogUnavailable):
            while True:
                tail.poll(timeout_ms=WAIT_MS)
        del tail


@pytest.mark.parametrize("away", ["frozen", "gone"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_log_is_closed_in_time_while_kafka_is_away(
    own: KafkaCluster, tmp_path: Path, away: str, busy: bool
) -> None:
    with nothing_left_behind(), cluster_to_lose(own, tmp_path, away) as (cluster, lose):
        log_config = config_of(cluster.bootstrap, stalled_ms=200)
        with kafka_log(log_config) as log, ThreadPoolExecutor(4) as threads:
            log.end_offsets("pins")
            log.append_dead_letter(b"letter")
            tail = log.tail(dict.fromkeys([(topic, 0) for topic in DATA_TOPICS], 0))
            lose()
            asked: list[Any] = []
            if busy:
                asked = [log.publish(new_records("pins", 0, b"%d" % n)) for n in range(3)]
                asked.append(threads.submit(log.end_offsets, "graph"))
                asked.append(threads.submit(log.append_dead_letter, b"letter"))
                asked.append(threads.submit(tail.poll, timeout_ms=60_000))
            close_in_time(log)
            for future in asked:
                with pytest.raises(LogUnavailable):
                    future.result(CLOSE_S_MAX)
            del tail, asked


@contextmanager
def cluster_to_lose(
    own: KafkaCluster, folder: Path, away: str
) -> Iterator[tuple[KafkaCluster, Callable[[], None]]]:
    """A cluster, and how to lose it; it is frozen and thawed, or a new one that is killed."""
    if away == "gone":
        with KafkaCluster(folder, nodes=1) as cluster:
            yield cluster, lambda: cluster.kill(1)
        return
    try:
        yield own, lambda: own.freeze(1)
    finally:
        own.thaw(1)


@pytest.mark.parametrize("away", ["frozen", "never there"])
def test_a_log_that_has_not_connected_is_closed_in_time(own: KafkaCluster, away: str) -> None:
    bootstrap = "127.0.0.1:1" if away == "never there" else own.bootstrap
    if away == "frozen":
        own.freeze(1)
    try:
        with nothing_left_behind(), kafka_log(config_of(bootstrap), connected=False) as log:
            waiting: list[bool] = []
            thread = threading.Thread(target=lambda: waiting.append(log.wait_connected(timeout_s=60)))
            thread.start()
            close_in_time(log)
            thread.join(WAIT_S)
            assert waiting == [False]
    finally:
        if away == "frozen":
            own.thaw(1)


def test_producers_that_are_thrown_away_leave_nothing_behind(own: KafkaCluster) -> None:
    config = impatient(config_of(own.bootstrap, transaction_timeout_ms=1_000))
    with nothing_left_behind(), kafka_log(config) as log:
        with own.frozen(1):
            for publish in (publish_one, write_letter, publish_one):
                with pytest.raises(FeedmeshError):
                    publish(log)
        publish_one(log)
        write_letter(log)
        # On the loop: what the log itself runs is one tail's task at most, and aiokafka's of three clients.
        assert len(asyncio.all_tasks(log._loop._loop)) < 20


def publish_one(log: OpenedLog) -> Positions:
    return log.publish(new_records("pins", 0, b"x")).result(WAIT_S)


def write_letter(log: OpenedLog) -> None:
    log.append_dead_letter(b"letter")
