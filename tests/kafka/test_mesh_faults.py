"""The whole mesh on three brokers, under publishing and feeds, while brokers and records fail.

Two clients publish, one asks for feeds. Afterwards the views are compared, whole, with what was acknowledged.
The brokers of this cluster are missed after 9 s, Kafka's own default: what a publisher pauses for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import TooLate, Unavailable
from services.chassis.log.kafka.config import (
    KafkaConfig,
    KafkaReaderConfig,
    KafkaTopicsConfig,
)
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.log import DATA_TOPICS, DEAD_LETTERS, NewRecord
from services.chassis.log.records import RECORD_VERSION_MAX
from tests.chassis.log.support import record
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, kafka_log
from tests.mesh import events
from tests.mesh.events import new_id, new_ids
from tests.mesh.feed_reader import FeedReader
from tests.mesh.ledger import Publisher, check
from tests.mesh.live import LiveMesh, live_mesh, log_in_kafka
from tests.mesh.metric_table import scrape
from tests.mesh.views import Views, pins_of, stages_of, wait_until

pytestmark = [*KAFKA, pytest.mark.mesh, pytest.mark.xdist_group("kafka-mesh")]

SESSION_TIMEOUT_MS = 9_000
PAUSE_S_MAX = 3 * SESSION_TIMEOUT_MS / 1000
"""Well beyond the session's timeout: the machine is shared, and the test must not fail for that."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """Brokers that may be killed."""
    folder = tmp_path_factory.mktemp("kafka")
    with KafkaCluster(folder, broker_session_timeout_ms=SESSION_TIMEOUT_MS) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def session_mesh(cluster: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMesh]:
    """A mesh whose log is there."""
    log = log_in_kafka(cluster.bootstrap)
    with live_mesh(tmp_path_factory.mktemp("mesh"), log=log) as mesh:
        yield mesh


@pytest.fixture
def mesh(session_mesh: LiveMesh, cluster: KafkaCluster) -> LiveMesh:
    """The mesh, whole at the begin of each test."""
    cluster.wait_whole()
    session_mesh.wait_ready()
    return session_mesh


def say(capsys: pytest.CaptureFixture[str], figure: str) -> None:
    """A figure that the run's output shows, whether or not the test fails."""
    with capsys.disabled():
        sys.stdout.write(f"\n{figure}\n")


class Pauses:
    """The longest time without an acknowledgement, as one looks at the publishers."""

    def __init__(self, publishers: list[Publisher]) -> None:
        self.longest_s = 0.0
        self._publishers = publishers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The longest pause."""
        self._stopping.set()
        self._thread.join()
        return self.longest_s

    def _watch(self) -> None:
        count, since = -1, time.monotonic()
        while not self._stopping.wait(0.02):
            now, acknowledged = time.monotonic(), sum(p.ledger.events for p in self._publishers)
            if acknowledged != count:
                count, since = acknowledged, now
            self.longest_s = max(self.longest_s, now - since)


@contextmanager
def load(mesh: LiveMesh, *, seeds: tuple[int, int]) -> Iterator[tuple[list[Publisher], FeedReader, int]]:
    """Two publishers and a reader of feeds, who run while inside."""
    publishers = [Publisher(mesh.connect(), seed=seed) for seed in seeds]
    person = new_id()
    mesh.connection.publish([events.follow(person, board=b) for p in publishers for b in p.boards])
    reader = FeedReader(mesh.connect(), person)
    for publisher in publishers:
        publisher.start()
    wait_for_events(publishers, 100)
    reader.start()
    try:
        yield publishers, reader, person
        wait_until(lambda: all(p.again for p in publishers), "batches that were sent twice")
    finally:
        reader.stop()
        for publisher in publishers:
            publisher.stop()


def wait_for_events(publishers: list[Publisher], count: int) -> None:
    """Wait until each publisher had so many more events acknowledged."""
    targets = [publisher.ledger.events + count for publisher in publishers]
    wait_until(
        lambda: all(p.ledger.events >= target for p, target in zip(publishers, targets, strict=True)),
        f"{count} more acknowledged events",
        timeout_s=100,
    )


def check_views(mesh: LiveMesh, publishers: list[Publisher], person: int) -> None:
    """Every view says what was acknowledged."""
    for publisher in publishers:
        check(Views(mesh.connection), publisher.ledger, publisher.boards, publisher.users, reader=person)


def test_a_killed_broker_costs_one_pause_and_no_event(
    mesh: LiveMesh, cluster: KafkaCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(mesh, seeds=(1, 2)) as (publishers, reader, person):
        pauses = Pauses(publishers)
        cluster.kill(1)
        wait_for_events(publishers, 200)
        pause_s = pauses.stop()
        cluster.start_node(1)
        cluster.wait_up(1)
        wait_for_events(publishers, 200)
    say(capsys, f"longest pause {pause_s:.1f} s, broker.session.timeout.ms {SESSION_TIMEOUT_MS}")
    assert pause_s < PAUSE_S_MAX
    failed = [asked.error for asked in reader.asked if asked.error is not None]
    assert not failed, failed[0]
    assert all(asked.item_count == 10 for asked in reader.asked)
    check_views(mesh, publishers, person)


def test_two_lost_brokers_refuse_writes_and_not_reads(
    mesh: LiveMesh, cluster: KafkaCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with load(mesh, seeds=(3, 4)) as (publishers, reader, person):
        views = Views(mesh.connection)
        assert views.feed(person, dry_run=True).stale_ms == 0
        cluster.kill(2)
        cluster.kill(3)
        lost = time.monotonic()
        errors = [_publish_now(mesh) for _ in range(3)]
        wait_until(lambda: views.feed(person, dry_run=True).stale_ms > 2_000, "a feed marked stale")
        marked = views.feed(person, dry_run=True)
        assert len(pins_of(marked)) >= 10
        assert marked.complete, stages_of(marked)
        errors.append(_publish_now(mesh))
        acknowledged = [publisher.ledger.events for publisher in publishers]
        time.sleep(2.0)
        assert [publisher.ledger.events for publisher in publishers] == acknowledged
        outage_s = time.monotonic() - lost
        cluster.start_node(2)
        cluster.start_node(3)
        wait_for_events(publishers, 200)
        wait_until(lambda: views.feed(person, dry_run=True).stale_ms == 0, "an unmarked feed", timeout_s=60)
    say(capsys, f"two of three brokers were away for {outage_s:.1f} s")
    for error in errors:
        assert isinstance(error, Unavailable), repr(error)
        assert "may have been written; retry with the same event ids" in str(error) or "Kafka" in str(error)
    failed = [asked.error for asked in reader.asked if asked.error is not None]
    assert not failed, failed[0]
    cluster.wait_whole()
    check_views(mesh, publishers, person)


def _publish_now(mesh: LiveMesh) -> Exception | None:
    """What one publish with a deadline of 3 s ends with."""
    began = time.monotonic()
    try:
        Publisher(mesh.connection, seed=9)._publish_once(
            [events.save(new_id(), board=new_id(), user=new_id())]
        )
    except (Unavailable, TooLate) as error:
        assert time.monotonic() - began < 4.0
        return error
    return None


def test_poison_in_each_topic_is_buried_and_its_partition_goes_on(
    mesh: LiveMesh, cluster: KafkaCluster
) -> None:
    garbage = b"\xff\xff not a record"
    newer = record(new_id(), key=1, version=RECORD_VERSION_MAX + 7)
    connection = mesh.layout.log.connection
    reader = KafkaReader(KafkaReaderConfig(connection=connection), name="test")
    already = reader.end_offsets(DEAD_LETTERS)[0]
    partitions = reader.topics
    topics = KafkaTopicsConfig(partitions=partitions["pins"])
    # Written by somebody who is no Ingest, beside the real one.
    with kafka_log(KafkaConfig(connection=connection, topics=topics)) as log:
        log.publish(
            [
                NewRecord(topic, partition, value)
                for topic in DATA_TOPICS
                for partition in range(partitions[topic])
                for value in (garbage, newer)
            ]
        ).result(60)
    # Apiary; Polaris; Aperture and RealPin; Counter; Rockstore: both records in each partition.
    expected = sum(partitions[topic] * 2 * (2 if topic == "actions" else 1) for topic in DATA_TOPICS)
    letters = _letters(reader, already, expected)
    assert {(letter.topic, letter.reason.split(":")[0]) for letter in letters} == {
        (topic, reason)
        for topic in DATA_TOPICS
        for reason in (
            "the bytes are not a Record",
            f"record version {RECORD_VERSION_MAX + 7} is newer than {RECORD_VERSION_MAX}",
        )
    }
    for service, topic in [("apiary", "graph"), ("polaris", "pins"), ("rockstore", "objects")]:
        counted = _dead_letters_counted(mesh, service, topic)
        assert counted == 2 * partitions[topic], f"{service} counted {counted}"
    # Every partition of every topic goes on.
    views = Views(mesh.connection)
    person, boards = new_id(), new_ids(40)
    pins = new_ids(40)
    views.after = mesh.connection.publish(
        [
            *(events.follow(person, board=board) for board in boards),
            *(events.save(pin, board=board, user=new_id()) for pin, board in zip(pins, boards, strict=True)),
            *(events.put_pin(pin, version=1, title="after the poison") for pin in pins),
        ]
    )
    page = views.feed(person, page_size=100, dry_run=True)
    assert page.complete, stages_of(page)
    assert set(pins_of(page)) == set(pins)
    reader.close()


def _letters(reader: KafkaReader, begin: int, count: int) -> list[record_pb2.DeadLetter]:
    tail = reader.tail({(DEAD_LETTERS, 0): begin})
    found: list[record_pb2.DeadLetter] = []
    until = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} dead letters of {count}"
        for chunk in tail.poll(timeout_ms=1_000):
            found += [record_pb2.DeadLetter.FromString(value) for value in chunk.values]
    assert not any(chunk.values for chunk in tail.poll(timeout_ms=1_000)), "more letters than poison"
    tail.close()
    return found


def _dead_letters_counted(mesh: LiveMesh, service: str, topic: str) -> int:
    for family in scrape(mesh.process(service).metrics_address):
        for sample in family.samples:
            if sample.name == "feedmesh_follower_dead_letters_total" and sample.labels["topic"] == topic:
                return int(sample.value)
    return 0
