"""The log in Kafka for those who read it: followers, and the commands that look at it.

Makes no call before it is asked something. What it learns at the first contact (identity, topics, partition
counts) never changes, and is kept; every failure on the way is LogUnavailable, which followers wait out.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from aiokafka import errors

from services.chassis.errors import LimitExceeded, LogUnavailable
from services.chassis.log.kafka.client import Consumer, Place, Producer, connection_options
from services.chassis.log.kafka.config import KafkaConnection, KafkaReaderConfig
from services.chassis.log.kafka.contact import start
from services.chassis.log.kafka.faults import translated
from services.chassis.log.kafka.loop import EventLoop
from services.chassis.log.kafka.meta import Meta, read_meta
from services.chassis.log.kafka.producer import discard
from services.chassis.log.kafka.tail import KafkaTail
from services.chassis.log.kafka.topics import META, admin_client, partitions_by_topic, read_topics
from services.chassis.log.log import DEAD_LETTERS, Positions, check_partition

T = TypeVar("T")
_LETTER_S = 10.0


class KafkaReader:
    """A `LogReader` on the log at `config.connection`. Thread-safe. `name` is how the brokers log it."""

    def __init__(self, config: KafkaReaderConfig, *, name: str) -> None:
        self._config = config
        self._name = name
        self._loop = EventLoop()
        self._call_s = config.connection.call_timeout_ms / 1000
        self._identity: tuple[str, Mapping[str, int]] | None = None
        self._offsets: Any = None
        # Ingest asks from the loop too, which `_asking` does not hold back from a consumer that still starts.
        self._offsets_free = asyncio.Lock()
        self._letters: Any = None
        self._asking = threading.Lock()

    @property
    def connection(self) -> KafkaConnection:
        """Where the brokers are."""
        return self._config.connection

    @property
    def log_id(self) -> str:
        """Identity, as told at the first contact. Raises LogUnavailable before it."""
        return self._known()[0]

    @property
    def topics(self) -> Mapping[str, int]:
        """Partition count by topic, as told at the first contact. Raises LogUnavailable before it."""
        return self._known()[1]

    def begin_offsets(self, topic: str) -> list[int]:
        """See `LogReader.begin_offsets`."""
        return self._ask_offsets(topic, lambda consumer, places: consumer.beginning_offsets(places))

    def end_offsets(self, topic: str) -> list[int]:
        """See `LogReader.end_offsets`: the high watermarks.

        Kafka acknowledges a commit before readers can see it; these offsets cover what was acknowledged. They
        may cover a transaction that is open, too, which its own timeout bounds.
        """
        return self._ask_offsets(topic, lambda consumer, places: consumer.end_offsets(places))

    def tail(self, positions: Positions) -> KafkaTail:
        """See `LogReader.tail`."""
        topics = self.topics
        for topic, partition in positions:
            check_partition(topics, topic, partition)
        return KafkaTail(self._loop, self.connection, self._config.tail, positions, name=self._name)

    def append_dead_letter(self, letter: bytes) -> None:
        """See `LogReader.append_dead_letter`."""
        self.write_dead_letter(letter)

    def write_dead_letter(self, letter: bytes) -> int:
        """Append it and return its offset."""
        with self._asking:
            return self._loop.run(self._write_letter(letter), timeout_s=_LETTER_S)

    def close(self) -> None:
        """Close the connections and end the thread; whoever asks something is told so. Idempotent."""
        # Not behind `_asking`: who holds it may wait for brokers that do not answer.
        with contextlib.suppress(LogUnavailable):
            self._loop.run(self._disconnect(), timeout_s=self._call_s)
        self._loop.close()

    def _known(self) -> tuple[str, Mapping[str, int]]:
        if self._identity is None:
            with self._asking:
                if self._identity is None:
                    self._identity = self._run(self._read_identity())
        return self._identity

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        # A call asks several things, each with the same patience.
        return self._loop.run(work, timeout_s=3 * self._call_s)

    async def _read_identity(self) -> tuple[str, Mapping[str, int]]:
        connection = self.connection
        async with admin_client(connection, name=self._name) as client:
            states = await read_topics(client, connection.topic_prefix)
        topics = partitions_by_topic(states)
        meta = await read_meta(connection, name=self._name) if META in states else Meta()
        if meta.copying and not meta.log_id:
            raise LogUnavailable(
                f"a copy of log {meta.copying} into Kafka is unfinished: run `feedmesh log copy` again"
            )
        if not meta.log_id:
            raise LogUnavailable("the log in Kafka has no identity yet; Ingest gives it one when it starts")
        return meta.log_id, topics

    def _ask_offsets(self, topic: str, ask: Callable[[Any, list[Any]], Any]) -> list[int]:
        check_partition(self.topics, topic, 0)
        name = self.connection.topic_prefix + topic
        places = [Place(name, number) for number in range(self.topics[topic])]
        with self._asking:
            found: dict[Any, int] = self._run(self._read_offsets(places, ask))
        return [found[place] for place in places]

    async def _read_offsets(self, places: list[Any], ask: Callable[[Any, list[Any]], Any]) -> Any:
        async with self._offsets_free:
            consumer = self._offsets
            with translated("to tell its offsets"):
                try:
                    if consumer is None:
                        options = connection_options(self.connection, name=self._name)
                        consumer = self._offsets = Consumer(**options, enable_auto_commit=False)
                        await start(consumer, self.connection, name=self._name)
                    return await ask(consumer, places)
                except BaseException:
                    # Whatever it was, the next question begins with a new connection.
                    self._offsets = None
                    if consumer is not None:
                        await consumer.stop()
                    raise

    async def _write_letter(self, letter: bytes) -> int:
        with translated("to take a dead letter"):
            try:
                if self._letters is None:
                    self._letters = Producer(
                        **connection_options(self.connection, name=self._name),
                        enable_idempotence=True,
                        max_request_size=4 << 20,
                    )
                    await start(self._letters, self.connection, name=self._name)
                topic = self.connection.topic_prefix + DEAD_LETTERS
                written = await self._letters.send_and_wait(topic, letter, partition=0)
            except errors.MessageSizeTooLargeError as fault:
                # Not LogUnavailable: a follower would try it for ever.
                raise LimitExceeded(
                    f"a dead letter of {len(letter)} bytes is more than topic {DEAD_LETTERS} takes",
                    bytes=len(letter),
                ) from fault
            except BaseException:
                producer, self._letters = self._letters, None
                if producer is not None:
                    await discard(producer)
                raise
            return int(written.offset)

    async def _disconnect(self) -> None:
        consumer, producer = self._offsets, self._letters
        self._offsets = self._letters = None
        if consumer is not None:
            await consumer.stop()
        if producer is not None:
            await discard(producer)
