"""The topics are made as the configuration says, and refused, with what to do, where they are otherwise."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.chassis.errors import ConfigFaults, LogUnavailable
from services.chassis.log.kafka.config import KafkaConfig, KafkaTopicsConfig
from services.chassis.log.kafka.meta import append_meta, read_meta
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.kafka.topics import TopicState, read_topics
from services.chassis.log.log import DATA_TOPICS, DEAD_LETTERS
from tests.chassis.log.support import new_records
from tests.kafka.logs import KAFKA, brokers, kafka_config, kafka_log
from tests.kafka.questions import PartitionView, create_topic, view_of

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]

ALL = (*DATA_TOPICS, DEAD_LETTERS, "meta")
WAIT_S = 60.0

LIGHT = KafkaTopicsConfig(partitions=1, replication=1, min_insync=1)
"""Quick to make, where it does not matter."""


def config_of(topics: KafkaTopicsConfig = LIGHT) -> KafkaConfig:
    return kafka_config(brokers(), topics=topics)


def with_topics(config: KafkaConfig, **changes: Any) -> KafkaConfig:
    return replace(config, topics=replace(config.topics, **changes))


def make(config: KafkaConfig, topic: str, *, settings: Mapping[str, str], **counts: int) -> None:
    """One of the log's topics, by somebody else; returns when every broker knows it."""
    wanted = config.topics
    partitions = wanted.partitions if topic in DATA_TOPICS else 1
    fault = create_topic(
        brokers().split(",")[0],
        config.connection.topic_prefix + topic,
        partitions=counts.get("partitions", partitions),
        replication=counts.get("replication", wanted.replication),
        config={
            "min.insync.replicas": str(wanted.min_insync),
            "max.message.bytes": str(wanted.batch_bytes_max),
            "retention.ms": "-1",
            **settings,
        },
    )
    assert not fault, fault
    name = config.connection.topic_prefix + topic
    for address in brokers().split(","):
        while not any(part.topic == name and part.leader >= 0 for part in view_of(address).partitions):
            threading.Event().wait(0.02)


def partitions_of(config: KafkaConfig) -> dict[str, list[PartitionView]]:
    """What a broker says of the log's topics, by the names that the log gives them."""
    prefix = config.connection.topic_prefix
    found: dict[str, list[PartitionView]] = {}
    for part in view_of(brokers().split(",")[0]).partitions:
        if part.topic.startswith(prefix):
            found.setdefault(part.topic.removeprefix(prefix), []).append(part)
    return found


def settings_of(config: KafkaConfig, topic: str) -> dict[str, str]:
    async def ask() -> dict[str, str]:
        client = AIOKafkaAdminClient(bootstrap_servers=brokers())
        await client.start()
        try:
            name = config.connection.topic_prefix + topic
            (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        finally:
            await client.close()
        ((_, _, _, _, entries),) = answer.resources
        return {entry[0]: entry[1] for entry in entries}

    return asyncio.run(ask())


def delete(config: KafkaConfig, topics: Sequence[str]) -> None:
    """Delete topics; returns when no broker knows them any more."""

    async def ask() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=brokers())
        await client.start()
        try:
            await client.delete_topics([config.connection.topic_prefix + topic for topic in topics])
        finally:
            await client.close()

    asyncio.run(ask())
    names = {config.connection.topic_prefix + topic for topic in topics}
    for address in brokers().split(","):
        while any(part.topic in names for part in view_of(address).partitions):
            threading.Event().wait(0.02)


def refusal(config: KafkaConfig) -> ConfigFaults:
    """What this Ingest gives up for."""
    with kafka_log(config, connected=False) as log:
        assert not log.wait_connected(timeout_s=WAIT_S)
        (fault,) = log.fatal
        assert isinstance(fault, ConfigFaults)
        with pytest.raises(LogUnavailable) as refused:
            log.publish(new_records("pins", 0, b"x"))
        assert str(refused.value) == log.trouble == "; ".join(fault.faults)
        return fault


def test_topics_are_made_with_the_counts_and_settings_of_the_configuration() -> None:
    config = config_of(
        KafkaTopicsConfig(
            partitions=3, replication=2, min_insync=1, retention_hours=48, batch_bytes_max=1_100_000
        )
    )
    with kafka_log(config) as log:
        assert log.topics == {**dict.fromkeys(DATA_TOPICS, 3), DEAD_LETTERS: 1}
    made = partitions_of(config)
    assert {topic: len(parts) for topic, parts in made.items()} == {**log.topics, "meta": 1}
    assert {len(part.replicas) for parts in made.values() for part in parts} == {2}
    for topic, retention_ms in (("pins", "172800000"), (DEAD_LETTERS, "172800000"), ("meta", "-1")):
        wanted = {
            "cleanup.policy": "delete",
            "min.insync.replicas": "1",
            "retention.ms": retention_ms,
            "retention.bytes": "-1",
            "max.message.bytes": "1100000",
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",
        }
        assert wanted.items() <= settings_of(config, topic).items()


def test_what_the_defaults_make_the_defaults_find_good() -> None:
    config = config_of(KafkaTopicsConfig(partitions=2))
    with kafka_log(config) as log:
        identity = log.log_id
    made = partitions_of(config)
    assert {len(part.replicas) for parts in made.values() for part in parts} == {3}
    assert settings_of(config, "pins")["min.insync.replicas"] == "2"
    with kafka_log(with_topics(config, create=False)) as log:
        assert log.log_id == identity
        assert log.trouble == ""
    assert partitions_of(config).keys() == set(ALL)


WRONG: list[tuple[str, str, dict[str, str], str, str]] = [
    (
        "too few replicas in sync",
        "graph",
        {"min.insync.replicas": "1"},
        "min.insync.replicas=1, must be 2",
        "--add-config min.insync.replicas=2",
    ),
    (
        "compaction",
        "pins",
        {"cleanup.policy": "compact"},
        "cleanup.policy=compact, must be delete",
        "--add-config cleanup.policy=delete",
    ),
    (
        "compaction beside deletion",
        "meta",
        {"cleanup.policy": "compact,delete"},
        "cleanup.policy=compact,delete, must be delete",
        "--add-config cleanup.policy=delete",
    ),
    (
        "an end where for ever is asked",
        "counts",
        {"retention.ms": "604800000"},
        "retention.ms=604800000, must be -1",
        "--add-config retention.ms=-1",
    ),
    (
        "a bound on bytes",
        "actions",
        {"retention.bytes": "1000000000"},
        "retention.bytes=1000000000, must be -1",
        "--add-config retention.bytes=-1",
    ),
    (
        "batches that are too small",
        "dead-letters",
        {"max.message.bytes": "1048588"},
        "max.message.bytes=1048588, must be 2097152",
        "--add-config max.message.bytes=2097152",
    ),
    (
        "unclean leaders",
        "objects",
        {"unclean.leader.election.enable": "true"},
        "unclean.leader.election.enable=true, must be false",
        "--add-config unclean.leader.election.enable=false",
    ),
]


@pytest.mark.parametrize(
    ("topic", "settings", "what", "mend"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
def test_a_topic_with_another_setting_is_refused_with_the_command_that_mends_it(
    topic: str, settings: dict[str, str], what: str, mend: str
) -> None:
    config = config_of(KafkaTopicsConfig(partitions=1, replication=3, min_insync=2))
    make(config, topic, settings=settings)
    (fault,) = refusal(config).faults
    name = config.connection.topic_prefix + topic
    assert fault.startswith(f"topic {name} has {what}: kafka-configs.sh --bootstrap-server {first_broker()} ")
    assert fault.endswith(f"--alter --entity-type topics --entity-name {name} {mend}")


def first_broker() -> str:
    return brokers().split(",")[0]


def test_another_partition_count_is_refused_with_the_one_to_configure() -> None:
    config = config_of()
    make(config, "pins", settings={}, partitions=5)
    (fault,) = refusal(config).faults
    assert (
        f"topic {config.connection.topic_prefix}pins has 5 partitions, topics.partitions asks for 1" in fault
    )
    assert "set topics.partitions = 5, or another connection.topic_prefix" in fault


def test_fewer_replicas_are_refused_with_both_ways_out() -> None:
    config = config_of()
    make(config, "graph", settings={}, replication=1)
    (fault,) = refusal(with_topics(config, replication=2)).faults[:1]
    assert (
        f"topic {config.connection.topic_prefix}graph has 1 replicas, topics.replication asks for 2" in fault
    )
    assert "kafka-reassign-partitions.sh, or set topics.replication = 1" in fault


def test_all_that_is_wrong_is_told_at_once() -> None:
    config = config_of()
    make(config, "pins", settings={"cleanup.policy": "compact", "retention.ms": "1000"}, partitions=2)
    make(config, "graph", settings={"unclean.leader.election.enable": "true"})
    assert len(refusal(config).faults) == 4


def test_more_safety_than_was_asked_for_is_accepted() -> None:
    config = with_topics(config_of(), retention_hours=24)
    safer = {"min.insync.replicas": "2", "max.message.bytes": "4194304", "retention.ms": "90000000"}
    for topic in ALL:
        keep = {"retention.ms": "-1"} if topic == "meta" else {}
        make(config, topic, settings={**safer, **keep}, replication=3)
    with kafka_log(config) as log:
        assert log.trouble == ""
        log.publish(new_records("pins", 0, b"x")).result()


def test_a_clock_that_only_retention_looks_at_may_be_the_writers() -> None:
    config = config_of()
    make(config, "pins", settings={"message.timestamp.type": "CreateTime"})
    with kafka_log(config) as log:
        assert log.trouble == ""


def test_absent_topics_that_may_not_be_made_are_named() -> None:
    config = with_topics(config_of(), create=False)
    make(config, "pins", settings={})
    (fault,) = refusal(config).faults
    prefix = config.connection.topic_prefix
    absent = ", ".join(prefix + topic for topic in ALL if topic != "pins")
    assert fault == f"topics {absent} are absent and topics.create is false: make them, or let Ingest"
    assert partitions_of(config).keys() == {"pins"}


def test_more_replicas_than_brokers_are_refused_with_kafkas_reason() -> None:
    config = config_of(KafkaTopicsConfig(partitions=1, replication=5, min_insync=2))
    faults = refusal(config).faults
    assert len(faults) == len(ALL)
    for topic, fault in zip(ALL, faults, strict=True):
        name = config.connection.topic_prefix + topic
        assert fault.startswith(f"Kafka refuses to make topic {name} with 5 replicas: ")
        assert "replication factor" in fault.lower()


@pytest.mark.parametrize(
    "lost", [("pins",), (DEAD_LETTERS,), DATA_TOPICS], ids=["one", "letters", "all data"]
)
def test_a_log_that_has_lost_a_topic_is_refused_and_the_topic_is_not_made_anew(lost: tuple[str, ...]) -> None:
    config = config_of()
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, b"x")).result()
        identity = log.log_id
    delete(config, lost)
    (fault,) = refusal(config).faults
    names = ", ".join(config.connection.topic_prefix + topic for topic in lost)
    assert fault.startswith(f"log {identity} has lost its topics {names}, with all their records")
    assert "delete the other topics" in fault
    assert partitions_of(config).keys() == set(ALL) - set(lost)
    with pytest.raises(LogUnavailable, match=f"Kafka has no topic {', '.join(lost)} yet"):
        KafkaReader(config.reader, name="test").log_id  # noqa: B018  asks


def test_a_broker_that_does_not_know_a_topic_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another Ingest has made the log a moment ago."""
    config = config_of()
    with kafka_log(config) as log:
        identity = log.log_id
    looks: list[int] = []

    async def behind(client: Any, prefix: str) -> dict[str, TopicState]:
        states = await read_topics(client, prefix)
        looks.append(len(states))
        return {topic: state for topic, state in states.items() if topic != "pins" or len(looks) > 1}

    monkeypatch.setattr("services.chassis.log.kafka.log.read_topics", behind)
    with kafka_log(config) as log:
        assert log.log_id == identity
        assert len(looks) == 2


def test_records_without_an_identity_are_refused() -> None:
    config = config_of()
    with kafka_log(config) as log:
        log.publish(new_records("pins", 0, b"x")).result()
    delete(config, ["meta"])
    for _ in range(2):
        # The topic of the identity is made by the first attempt: the second must not take that for a log.
        (fault,) = refusal(config).faults
        assert f"the topics {config.connection.topic_prefix}* hold records, but their log has no" in fault
        assert "choose another connection.topic_prefix, or delete all of these topics" in fault


def test_records_of_somebody_else_in_a_topic_of_the_same_name_are_refused() -> None:
    config = config_of()
    make(config, "counts", settings={})

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=brokers()) as producer:
            await producer.send_and_wait(config.connection.topic_prefix + "counts", b"theirs", partition=0)

    asyncio.run(write())
    with kafka_log(config, connected=False) as log:
        assert not log.wait_connected(timeout_s=WAIT_S)
        assert "hold records, but their log has no identity" in str(log.fatal[0])


def test_an_unfinished_copy_is_refused_by_ingest_and_said_to_followers() -> None:
    config = config_of()
    make(config, "meta", settings={})
    asyncio.run(append_meta(config.connection, {"kind": "copying", "log_id": "the-old-one"}, name="test"))
    (fault,) = refusal(config).faults
    assert f"a copy of log the-old-one into {config.connection.topic_prefix}* is unfinished" in fault
    assert "run `feedmesh log copy` again" in fault
    reader = KafkaReader(config.reader, name="test")
    try:
        with pytest.raises(LogUnavailable, match="a copy of log the-old-one into Kafka is unfinished"):
            reader.log_id  # noqa: B018  asks
    finally:
        reader.close()


def test_two_ingest_that_begin_a_log_together_agree_on_its_identity() -> None:
    config = config_of()
    with (
        kafka_log(config, address="127.0.0.1:1", connected=False) as one,
        kafka_log(config, address="127.0.0.1:2", connected=False) as other,
    ):
        for log in (one, other):
            assert log.wait_connected(timeout_s=WAIT_S), log.trouble
        assert one.log_id == other.log_id
        assert one.publish(new_records("pins", 0, b"x")).result()
        assert other.publish(new_records("pins", 0, b"y")).result()
        reader = KafkaReader(config.reader, name="test")
        assert reader.log_id == one.log_id
        reader.close()


def test_who_comes_second_to_an_identity_takes_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen a log without one: the worst order of the two."""
    config = config_of()
    both_read = threading.Barrier(2)

    async def read_together(connection: Any, *, name: str) -> Any:
        meta = await read_meta(connection, name=name)
        if not meta.log_id:
            await asyncio.to_thread(both_read.wait, WAIT_S)
        return meta

    monkeypatch.setattr("services.chassis.log.kafka.meta.read_meta", read_together)
    with (
        kafka_log(config, address="127.0.0.1:1", connected=False) as one,
        kafka_log(config, address="127.0.0.1:2", connected=False) as other,
    ):
        for log in (one, other):
            assert log.wait_connected(timeout_s=WAIT_S), log.trouble
        assert one.log_id == other.log_id


def test_a_follower_that_comes_before_ingest_waits_for_it() -> None:
    config = config_of()
    reader = KafkaReader(config.reader, name="test")
    try:
        with pytest.raises(LogUnavailable, match="yet; Ingest makes them when it starts"):
            reader.log_id  # noqa: B018  asks
        with kafka_log(config) as log:
            assert reader.log_id == log.log_id
            assert reader.topics == log.topics
    finally:
        reader.close()


def test_unrelated_topics_on_the_cluster_do_not_matter() -> None:
    config = config_of()
    make(config, "pins.backup", settings={"cleanup.policy": "compact"}, partitions=7)
    with kafka_log(config) as log:
        assert log.trouble == ""
        assert "pins.backup" not in log.topics
