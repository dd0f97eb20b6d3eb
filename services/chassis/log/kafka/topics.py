"""The topics in Kafka: made when absent, checked when there, never changed.

    log           Kafka                      partitions
    graph …       <prefix>graph …            topics.partitions
    dead-letters  <prefix>dead-letters       1
                  <prefix>meta               1            see `meta.py`

A topic that is there otherwise than it must be is refused with the command that mends it: a setting that
somebody chose is theirs to change, and a partition count can never be changed without losing the order.
All topics are asked for by listing the cluster's: a question for one name would make it, with the brokers'
defaults, where `auto.create.topics.enable` is on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from services.chassis.errors import ConfigFaults, LogUnavailable
from services.chassis.log.kafka.client import connection_options
from services.chassis.log.kafka.config import KafkaConnection, KafkaTopicsConfig
from services.chassis.log.kafka.contact import start
from services.chassis.log.kafka.faults import translated
from services.chassis.log.log import DATA_TOPICS, DEAD_LETTERS

META: Final = "meta"
_HOUR_MS: Final = 3_600_000
_FOR_EVER: Final = -1
_MADE_POLL_S: Final = 0.05
_MADE_POLLS: Final = 100


@dataclass(frozen=True)
class TopicState:
    """What the cluster says of a topic."""

    partitions: int
    replication: int
    """Of the partition that has fewest."""
    in_sync: int
    """Replicas in sync, of the partition that has fewest."""
    leaderless: int
    """Partitions without a leader at present."""


@asynccontextmanager
async def admin_client(connection: KafkaConnection, *, name: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client while inside. Raises LogUnavailable."""
    client = AIOKafkaAdminClient(**connection_options(connection, name=name))
    try:
        with translated(f"to be reached at {connection.bootstrap}"):
            await start(client, connection, name=name)
        yield client
    finally:
        await client.close()


async def read_topics(client: AIOKafkaAdminClient, prefix: str) -> dict[str, TopicState]:
    """The topics whose names begin with `prefix`, by the rest of their names."""
    with translated("to list its topics"):
        listed: list[dict[str, Any]] = await client.describe_topics()
    return {
        topic["topic"].removeprefix(prefix): _state(topic["partitions"])
        for topic in listed
        if topic["topic"].startswith(prefix)
    }


async def wait_for_topics(
    client: AIOKafkaAdminClient, prefix: str, names: Sequence[str]
) -> dict[str, TopicState]:
    """`read_topics`, once a broker's view has these names, with leaders. Raises LogUnavailable."""
    for _ in range(_MADE_POLLS):
        states = await read_topics(client, prefix)
        if all(name in states and not states[name].leaderless for name in names):
            return states
        await asyncio.sleep(_MADE_POLL_S)
    raise LogUnavailable("Kafka is still making the topics")


def read_states(connection: KafkaConnection, *, name: str) -> dict[str, TopicState]:
    """`read_topics`, for a thread that has no event loop; blocks at most `call_timeout_ms`.

    Raises:
        LogUnavailable: no broker answers.
    """

    async def ask() -> dict[str, TopicState]:
        with translated(f"to be reached at {connection.bootstrap}"):
            async with asyncio.timeout(connection.call_timeout_ms / 1000):
                async with admin_client(connection, name=name) as client:
                    return await read_topics(client, connection.topic_prefix)

    return asyncio.run(ask())


def partitions_by_topic(states: Mapping[str, TopicState]) -> dict[str, int]:
    """Partition counts of a log's topics. Raises LogUnavailable when one is absent."""
    wanted = (*DATA_TOPICS, DEAD_LETTERS)
    absent = [topic for topic in wanted if topic not in states]
    if absent:
        raise LogUnavailable(f"Kafka has no topic {', '.join(absent)} yet; Ingest makes them when it starts")
    return {topic: states[topic].partitions for topic in wanted}


async def make_topics(
    client: AIOKafkaAdminClient, connection: KafkaConnection, config: KafkaTopicsConfig, names: Sequence[str]
) -> None:
    """Make these topics; one that another process makes meanwhile is as good.

    Raises:
        ConfigFaults: Kafka refuses to make them so.
    """
    wanted = [
        NewTopic(
            name=connection.topic_prefix + name,
            num_partitions=_partitions(name, config),
            replication_factor=config.replication,
            topic_configs=_settings(name, config),
        )
        for name in names
    ]
    with translated("to make topics"):
        answer = await client.create_topics(wanted)
    faults = []
    for topic, code, *rest in answer.topic_errors:
        kind = errors.for_code(code)
        if kind in (errors.NoError, errors.TopicAlreadyExistsError):
            continue
        why = (rest[0] if rest else None) or kind.__name__
        if kind.retriable:
            raise LogUnavailable(f"Kafka cannot make {topic} now: {why}")
        faults.append(f"Kafka refuses to make topic {topic} with {config.replication} replicas: {why}")
    if faults:
        raise ConfigFaults(faults)


async def check_topics(
    client: AIOKafkaAdminClient,
    connection: KafkaConnection,
    config: KafkaTopicsConfig,
    states: Mapping[str, TopicState],
) -> None:
    """Raises ConfigFaults, with what to do, unless every topic is as it must be."""
    names = (*DATA_TOPICS, DEAD_LETTERS, META)
    there = await _read_settings(client, [connection.topic_prefix + name for name in names])
    faults = []
    for name in names:
        topic = connection.topic_prefix + name
        faults += _count_faults(topic, name, states[name], config)
        faults += _setting_faults(connection, topic, there.get(topic, {}), _settings(name, config))
    if faults:
        raise ConfigFaults(faults)


def _state(partitions: Sequence[Mapping[str, Any]]) -> TopicState:
    return TopicState(
        partitions=len(partitions),
        replication=min((len(partition["replicas"]) for partition in partitions), default=0),
        in_sync=min((len(partition["isr"]) for partition in partitions), default=0),
        leaderless=sum(partition["leader"] < 0 for partition in partitions),
    )


def _partitions(name: str, config: KafkaTopicsConfig) -> int:
    return config.partitions if name in DATA_TOPICS else 1


def _settings(name: str, config: KafkaTopicsConfig) -> dict[str, str]:
    """What a topic must be set to. The identity is kept for ever, whatever happens to the records."""
    hours = config.retention_hours if name != META else 0
    return {
        # Compaction keeps the last record of a key; views need every one.
        "cleanup.policy": "delete",
        "min.insync.replicas": str(config.min_insync),
        "retention.ms": str(hours * _HOUR_MS if hours else _FOR_EVER),
        "retention.bytes": str(_FOR_EVER),
        "max.message.bytes": str(config.batch_bytes_max),
        # A leader that lacks records would take acknowledged ones away.
        "unclean.leader.election.enable": "false",
        # Events may be years old when they are written; what Kafka's retention counts is when they came.
        "message.timestamp.type": "LogAppendTime",
    }


def _count_faults(topic: str, name: str, state: TopicState, config: KafkaTopicsConfig) -> list[str]:
    faults = []
    wanted = _partitions(name, config)
    if state.partitions != wanted:
        faults.append(
            f"topic {topic} has {state.partitions} partitions, topics.partitions asks for {wanted}: a log "
            f"keeps its count for ever; set topics.partitions = {state.partitions}, or another "
            "connection.topic_prefix for a new log"
        )
    if state.replication < config.replication:
        faults.append(
            f"topic {topic} has {state.replication} replicas, topics.replication asks for "
            f"{config.replication}: add replicas with kafka-reassign-partitions.sh, or set "
            f"topics.replication = {state.replication} if that is enough"
        )
    return faults


def _setting_faults(
    connection: KafkaConnection, topic: str, there: Mapping[str, str], wanted: Mapping[str, str]
) -> list[str]:
    faults = []
    for key, value in wanted.items():
        found = there.get(key)
        if found is None or _good_enough(key, found, value):
            continue
        faults.append(
            f"topic {topic} has {key}={found}, must be {value}: kafka-configs.sh --bootstrap-server "
            f"{connection.bootstrap.partition(',')[0]} --alter --entity-type topics --entity-name {topic} "
            f"--add-config {key}={value}"
        )
    return faults


def _good_enough(key: str, found: str, wanted: str) -> bool:
    """More safety than was asked for is no fault; nor is a clock that only retention looks at."""
    if key == "message.timestamp.type":
        return True
    if key in ("min.insync.replicas", "max.message.bytes"):
        return int(found) >= int(wanted)
    if key.startswith("retention."):
        return int(found) == _FOR_EVER or (int(wanted) != _FOR_EVER and int(found) >= int(wanted))
    return found == wanted


async def _read_settings(client: AIOKafkaAdminClient, topics: Sequence[str]) -> dict[str, dict[str, str]]:
    """All settings by topic. A broker that does not know a topic yet, made a moment ago, is asked again."""
    for _ in range(_MADE_POLLS):
        settings, unknown = await _ask_settings(client, topics)
        if not unknown:
            return settings
        await asyncio.sleep(_MADE_POLL_S)
    raise LogUnavailable(f"Kafka does not know the topics {', '.join(unknown)} yet")


async def _ask_settings(
    client: AIOKafkaAdminClient, topics: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Settings by topic, and the topics that the broker does not know."""
    with translated("to tell its topics' settings"):
        answers = await client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        )
    settings: dict[str, dict[str, str]] = {}
    unknown: list[str] = []
    for answer in answers:
        for code, message, _kind, topic, entries in answer.resources:
            kind = errors.for_code(code)
            if kind is errors.UnknownTopicOrPartitionError:
                unknown.append(topic)
            elif code:
                raise LogUnavailable(
                    f"Kafka does not tell the settings of {topic}: {message or kind.__name__}"
                )
            else:
                settings[topic] = {entry[0]: entry[1] for entry in entries}
    return settings, unknown
