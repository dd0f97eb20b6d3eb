"""Ingest dies in the worst moments of a transaction, or is started twice: every event counts once.

The processes are real, and so is the cluster; a follower with a real store reads beside them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2
from services.chassis.clock import SystemClock
from services.chassis.errors import FeedmeshError, TooLate, Unavailable
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.kafka.config import KafkaConnection, KafkaReaderConfig
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.token import Token
from services.chassis.metrics import new_registry
from services.chassis.rpc.channel import Channels
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.store import Store
from tests.chassis.log.support import VIEW_FAMILIES, KeepingView, stored_keys
from tests.ingest.events import action
from tests.ingest.serving import PUBLISH, closing_channels, publish
from tests.kafka.ingest_process import IngestProcess
from tests.kafka.logs import KAFKA, brokers, new_prefix

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]

WAIT_S = 60.0
MINED = "tests.kafka.ingest_that_dies"


@pytest.fixture
def connection() -> KafkaConnection:
    return KafkaConnection(bootstrap=brokers(), topic_prefix=new_prefix())


@pytest.fixture
def channels() -> Iterator[Channels]:
    with closing_channels() as channels:
        yield channels


@contextmanager
def following(folder: Path, connection: KafkaConnection) -> Iterator[Follower]:
    """A follower of `actions` in this process, with a real store."""
    reader = KafkaReader(KafkaReaderConfig(connection=connection), name="test")
    with Store(folder, VIEW_FAMILIES) as store:
        follower = Follower(
            log=reader,
            store=store,
            view=KeepingView(store, topics=("actions",)),
            owned=OwnedShards.everything(64),
            config=FollowerConfig(),
            metrics=FollowerMetrics(new_registry()),
            clock=SystemClock(),
        )
        follower.start()
        try:
            yield follower
        finally:
            follower.stop()
            reader.close()


def event_of(user: int) -> event_pb2.Event:
    """An action of a user of its own, so that the follower's keys name the events."""
    event = action()
    event.id = f"event-{user}"
    event.action.user = user
    return event


def publish_until_acknowledged(channels: Channels, address: str, *events: event_pb2.Event) -> Token:
    """As a client does: the same events, with the same ids, until they are acknowledged."""
    until = time.monotonic() + WAIT_S
    while True:
        try:
            return publish(channels, address, *events)
        except (Unavailable, TooLate):
            assert time.monotonic() < until, "never acknowledged"
            time.sleep(0.1)


@pytest.mark.parametrize("where", ["inside", "committed"])
def test_an_event_counts_once_when_ingest_is_killed(
    where: str, tmp_path: Path, connection: KafkaConnection, channels: Channels
) -> None:
    mine = tmp_path / "mine"
    process = IngestProcess(
        tmp_path / "ingest", connection, module=(MINED, str(mine), where), transactional_id="one"
    )
    with process, following(tmp_path / "view", connection) as follower:
        before = publish(channels, process.address, event_of(101))
        follower.wait_applied(before.positions, timeout_s=WAIT_S)
        mine.touch()
        with pytest.raises(FeedmeshError):
            publish(channels, process.address, event_of(102), event_of(103))
        assert process.wait_ended() == -9
        assert not mine.exists(), "it died of something else"
        process.start()
        token = publish_until_acknowledged(channels, process.address, event_of(102), event_of(103))
        follower.wait_applied(token.positions, timeout_s=WAIT_S)
        after = publish(channels, process.address, event_of(104))
        follower.wait_applied(after.positions, timeout_s=WAIT_S)
        follower.stop()
        assert Counter(stored_keys(follower._store)) == Counter([101, 102, 103, 104])


def test_followers_wait_behind_a_dead_ingest_until_its_transaction_times_out(
    tmp_path: Path, connection: KafkaConnection, channels: Channels
) -> None:
    """Another Ingest, under a name of its own, does not end what the dead one left open: Kafka does."""
    mine = tmp_path / "mine"
    dying = IngestProcess(
        tmp_path / "dying",
        connection,
        module=(MINED, str(mine), "inside"),
        transactional_id="one",
        KAFKA__PRODUCER__TRANSACTION_TIMEOUT_MS="2000",
    )
    living = IngestProcess(tmp_path / "living", connection, transactional_id="two")
    with dying, living, following(tmp_path / "view", connection) as follower:
        mine.touch()
        with pytest.raises(FeedmeshError):
            publish(channels, dying.address, event_of(7))
        dying.wait_ended()
        token = publish(channels, living.address, event_of(7))
        # Acknowledged at once, though behind the open transaction; visible when Kafka has aborted that.
        follower.wait_applied(token.positions, timeout_s=WAIT_S)
        follower.stop()
        assert stored_keys(follower._store) == [7]


def test_a_second_ingest_of_the_same_name_fences_the_first_which_says_so(
    tmp_path: Path, connection: KafkaConnection, channels: Channels
) -> None:
    first = IngestProcess(tmp_path / "first", connection, transactional_id="one")
    second = IngestProcess(tmp_path / "second", connection, transactional_id="one")
    with first, following(tmp_path / "view", connection) as follower:
        publish(channels, first.address, event_of(1))
        with second:
            token = publish(channels, second.address, event_of(2))
            with pytest.raises(Unavailable, match=f"the Ingest at {second.address} writes as 'one' now"):
                publish_once(channels, first.address, event_of(3))
            first.wait_health("NOT_SERVING")
            assert "give each its own kafka.producer.transactional_id" in first.said()
            # Not a war: the second one is left in peace.
            token = token.merge(publish(channels, second.address, event_of(3)))
            follower.wait_applied(token.positions, timeout_s=WAIT_S)
        follower.stop()
        assert stored_keys(follower._store) == [1, 2, 3]


def publish_once(channels: Channels, address: str, event: event_pb2.Event) -> None:
    """One attempt, without the channel's own retries."""
    request = ingest_pb2.PublishRequest(events=[event])
    channels.call(address, PUBLISH, request, timeout_s=10.0, retry=False)


def test_topics_that_are_otherwise_end_ingest_with_what_to_do(
    tmp_path: Path, connection: KafkaConnection
) -> None:
    with IngestProcess(tmp_path / "first", connection):
        pass
    other = IngestProcess(tmp_path / "other", connection, KAFKA__TOPICS__PARTITIONS="8")
    other.start()
    try:
        assert other.wait_ended() == 2
    finally:
        other.kill()
    assert "topics.partitions = 16" in other.said()
