"""A whole log copied into Kafka: the same offsets, the same identity, and nothing else will do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.chassis.errors import BadRequest, DataLoss, FeedmeshError
from services.chassis.log import embedded_store
from services.chassis.log.embedded_store import LogStore
from services.chassis.log.kafka import copying
from services.chassis.log.kafka.config import KafkaConfig, KafkaConnection, KafkaTopicsConfig
from services.chassis.log.kafka.copying import Copied, copy_log
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.log import DATA_TOPICS, DEAD_LETTERS, NewRecord, Positions
from services.chassis.storage.store import Store
from tests.chassis.log.support import embedded_log, read, values_of
from tests.kafka.logs import KAFKA, brokers, kafka_config, kafka_log, new_prefix

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]

TOPICS: Mapping[str, int] = dict.fromkeys(DATA_TOPICS, 4)
RECORDS = 3_000


@pytest.fixture
def connection() -> KafkaConnection:
    return KafkaConnection(bootstrap=brokers(), topic_prefix=new_prefix())


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """An embedded log with records of all sizes in all partitions but one, and a trimmed beginning."""
    chance = random.Random(1)
    with embedded_log(tmp_path / "log", topics=TOPICS) as log:
        for number in range(RECORDS):
            topic = chance.choice(DATA_TOPICS)
            partition = chance.randrange(3 if topic == "pins" else 4)
            size = 200_000 if number % 1_000 == 0 else chance.randrange(300)
            log.publish([NewRecord(topic, partition, chance.randbytes(size))])
        log.publish([NewRecord(DEAD_LETTERS, 0, b"letter")]).result()
        log.trim({("graph", 1): 25})
    return tmp_path / "log"


@pytest.fixture
def source(log_dir: Path) -> Iterator[LogStore]:
    with Store(log_dir, embedded_store.families()) as store:
        yield LogStore(store, {})


def _copy(source: LogStore, connection: KafkaConnection) -> Copied:
    topics = KafkaTopicsConfig(partitions=4)
    return asyncio.run(copy_log(source, connection, topics, progress=lambda step, done, total: None))


def _all_records(connection: KafkaConnection, source: LogStore) -> tuple[str, dict[str, list[int]]]:
    """The log's identity in Kafka; every record of it is compared with the source on the way."""
    config = kafka_config(connection.bootstrap, prefix=connection.topic_prefix)
    with kafka_log(config) as log:
        begins: Positions = {
            (topic, number): begin
            for topic, count in log.topics.items()
            for number, begin in enumerate(log.begin_offsets(topic))
        }
        ends = {place: source.end(place, begin=begin) for place, begin in begins.items()}
        chunks = read(log.tail(begins), sum(ends[place] - begin for place, begin in begins.items()))
        for place, begin in begins.items():
            rows = list(source.read(place, start=begin, end=ends[place]))
            assert values_of(chunks, *place) == [value for _, value in rows]
            offsets = [o for c in chunks if (c.topic, c.partition) == place for o in c.offsets]
            assert offsets == [offset for offset, _ in rows]
        return log.log_id, {topic: log.begin_offsets(topic) for topic in log.topics}


def test_every_record_keeps_its_offset_and_the_log_its_identity(
    source: LogStore, connection: KafkaConnection
) -> None:
    copied = _copy(source, connection)
    assert copied.records == copied.copied == RECORDS + 1 - 25
    log_id, begins = _all_records(connection, source)
    assert log_id == source.log_id
    assert begins["graph"][1] == 25


def test_a_copy_that_was_cut_off_is_refused_as_a_log_and_goes_on_where_it_stopped(
    source: LogStore, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = copying._Job._send
    calls = 0

    async def cut_off(job, producer, place, offset, values):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += 1
        if calls > 18:
            raise OSError("the network is gone")
        return await sent(job, producer, place, offset, values)

    monkeypatch.setattr(copying._Job, "_send", cut_off)
    with pytest.raises(FeedmeshError, match="the network is gone"):
        _copy(source, connection)
    monkeypatch.undo()
    config = kafka_config(connection.bootstrap, prefix=connection.topic_prefix)
    with kafka_log(config, connected=False) as log:
        assert not log.wait_connected(timeout_s=60)
        assert "is unfinished: run `feedmesh log copy` again" in str(log.fatal[0])
    copied = _copy(source, connection)
    assert 0 < copied.copied < copied.records
    assert _all_records(connection, source)[0] == source.log_id


def test_a_copy_that_is_whole_is_compared_again_and_copied_no_more(
    source: LogStore, connection: KafkaConnection
) -> None:
    first, second = _copy(source, connection), _copy(source, connection)
    assert second.copied == 0
    assert second.digest == first.digest


def test_what_kafka_holds_otherwise_is_found(
    source: LogStore, connection: KafkaConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = copying._Job._send

    async def garble(job, producer, place, offset, values):  # type: ignore[no-untyped-def]
        return await sent(job, producer, place, offset, [bytes(len(value)) for value in values])

    monkeypatch.setattr(copying._Job, "_send", garble)
    with pytest.raises(DataLoss, match="in Kafka differs from the log that was copied"):
        _copy(source, connection)
    monkeypatch.undo()
    config = kafka_config(connection.bootstrap, prefix=connection.topic_prefix)
    with kafka_log(config, connected=False) as log:
        assert not log.wait_connected(timeout_s=60), "a copy that is wrong was taken for a log"


def test_another_log_in_the_same_place_is_refused(source: LogStore, connection: KafkaConnection) -> None:
    config: KafkaConfig = kafka_config(connection.bootstrap, prefix=connection.topic_prefix)
    with kafka_log(config) as log:
        log.publish([NewRecord("pins", 0, b"mine")]).result()
        other = log.log_id
    with pytest.raises(BadRequest, match=f"are of log {other}, not {source.log_id}"):
        _copy(source, connection)
    reader = KafkaReader(config.reader, name="test")
    assert sum(reader.end_offsets("graph")) == 0, "something was copied"
    reader.close()


def test_other_partition_counts_are_refused_before_anything_is_made(
    source: LogStore, connection: KafkaConnection
) -> None:
    with pytest.raises(BadRequest, match=r"set topics\.partitions"):
        asyncio.run(copy_log(source, connection, KafkaTopicsConfig(partitions=8), progress=lambda *_: None))


def test_a_log_that_went_on_after_the_copy_is_not_copied_over(
    source: LogStore, connection: KafkaConnection
) -> None:
    _copy(source, connection)
    config = kafka_config(connection.bootstrap, prefix=connection.topic_prefix)
    with kafka_log(config) as log:
        log.publish([NewRecord("pins", 0, b"after")]).result()
    with pytest.raises(BadRequest, match="or was written since; nothing was copied"):
        _copy(source, connection)
