"""The log in Kafka for Ingest: group commit in transactions, the token from the real offsets.

    publish → queue → committer: all that waits → one transaction → futures resolve

Connects by itself, in the background, and again after every failure: an Ingest that starts before Kafka
refuses publishes until it is there. What waiting cannot cure (topics that are not as they must be, an
unfinished copy) is told to `on_fatal`. A fenced Ingest writes nothing any more and stays up, not ready:
if it ended, its supervisor would start it again, and it would fence the other one in turn, for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Final

import structlog
from aiokafka.admin.records_to_delete import RecordsToDelete

from services.chassis.errors import ConfigFaults, FeedmeshError, LimitExceeded, LogUnavailable
from services.chassis.log.group_commit import GroupCommit, GroupLimits, Pending
from services.chassis.log.kafka.client import Place
from services.chassis.log.kafka.config import BATCH_OVERHEAD_BYTES, KafkaConfig
from services.chassis.log.kafka.faults import Fenced, files_may_be_replaced, translate, translated
from services.chassis.log.kafka.meta import append_meta, identify, new_log_id, read_meta
from services.chassis.log.kafka.metrics import KafkaMetrics
from services.chassis.log.kafka.producer import Segment, TransactionalProducer
from services.chassis.log.kafka.reader import KafkaReader
from services.chassis.log.kafka.topics import (
    META,
    admin_client,
    check_topics,
    make_topics,
    read_topics,
    wait_for_topics,
)
from services.chassis.log.log import (
    DATA_TOPICS,
    DEAD_LETTERS,
    NewRecord,
    Positions,
    TopicPartition,
    check_partition,
    check_size,
)

_RETRY_S: Final = 0.5
_RETRY_S_MAX: Final = 5.0
_SLICE_S: Final = 0.2
_SECOND_LOOK_S: Final = 0.5
_MARGIN_S: Final = 5.0
"""Beyond a transaction's own timeout: to throw its producer away and make another."""


class KafkaLog(KafkaReader):
    """A `Log`. `address` says where this Ingest is found, in the words of a fenced one.

    Raises nothing on construction: see `trouble`, `on_fatal` and `on_fenced`.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        address: str,
        metrics: KafkaMetrics,
        on_fatal: Callable[[BaseException], None],
        on_fenced: Callable[[FeedmeshError], None] = lambda fault: None,
    ) -> None:
        name = f"feedmesh-ingest-{address}"
        super().__init__(config.reader, name=name)
        self._kafka = config
        self._metrics = metrics
        self._address = address
        self._instance = new_log_id()
        self._on_fatal = on_fatal
        self._on_fenced = on_fenced
        self._logger = structlog.get_logger(component="kafka-log")
        self.transactional_id = config.producer.transactional_id or (
            f"{config.connection.topic_prefix}ingest-{address}"
        )
        self._writer = TransactionalProducer(
            config.connection, config.producer, transactional_id=self.transactional_id, name=name
        )
        self._connected = False
        self._closing = False
        self._busy_since = 0.0
        self._fault: FeedmeshError | None = LogUnavailable("Kafka was not reached yet")
        self._fenced: Fenced | None = None
        self._committer = GroupCommit(
            self._commit,
            limits=GroupLimits(
                group_records_max=config.producer.group_records_max,
                group_bytes_max=config.producer.group_bytes_max,
                queue_records_max=config.producer.queue_records_max,
                queue_bytes_max=config.producer.queue_bytes_max,
                group_wait_s=config.producer.group_wait_ms / 1000,
            ),
            metrics=metrics,
        )
        self._connecting = self._loop.start(self._connect_until_done())

    @property
    def trouble(self) -> str:
        """See `Log.trouble`."""
        fault = self._fenced or self._fault
        if fault is not None:
            return str(fault)
        busy_since = self._busy_since
        waited_s = time.monotonic() - busy_since if busy_since else 0.0
        if waited_s > self._kafka.producer.stalled_ms / 1000:
            return f"Kafka has not committed for {waited_s:.1f} s"
        return ""

    def wait_connected(self, *, timeout_s: float) -> bool:
        """Whether the topics were found as they must be within `timeout_s`; blocks."""
        with contextlib.suppress(FutureTimeout, CancelledError, FeedmeshError):
            self._connecting.result(timeout_s)
        return self._connected

    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        """See `Log.publish`. Raises LogUnavailable before the first contact, and once fenced."""
        if self._fenced is not None:
            raise self._fenced
        if not self._connected:
            raise LogUnavailable(self.trouble)
        size, largest = 0, 0
        topics = self.topics
        for topic, partition, value in records:
            check_partition(topics, topic, partition)
            length = len(value)
            size += length
            largest = max(largest, length)
        self._check_size(len(records), size, largest)
        return self._committer.submit(records, size)

    def trim(self, positions: Positions) -> None:
        """See `Log.trim`. Blocks until the brokers did it."""
        for topic, partition in positions:
            check_partition(self.topics, topic, partition)
        if positions:
            self._run(self._trim(positions))

    def close(self) -> None:
        """Commit what waits, unless Kafka is in trouble; then close. Idempotent."""
        self._closing = True
        self._committer.close()
        self._connecting.cancel()
        with contextlib.suppress(LogUnavailable):
            self._loop.run(self._writer.close(), timeout_s=_MARGIN_S)
        super().close()

    def _check_size(self, count: int, size: int, largest: int) -> None:
        config = self._kafka.producer
        check_size(count, size, records_max=config.request_records_max, bytes_max=config.request_bytes_max)
        most = self._kafka.topics.batch_bytes_max - BATCH_OVERHEAD_BYTES
        if largest > most:
            raise LimitExceeded(f"a record has {largest} bytes, Kafka's topics take {most}", bytes=largest)

    # The committer's thread.

    def _commit(self, group: list[Pending]) -> list[Positions]:
        """One group: one transaction. Runs on the committer's thread."""
        if self._fenced is not None:
            raise self._fenced
        spans, lasts = _spans(group)
        began = self._busy_since = time.monotonic()
        try:
            written = self._wait(self._loop.start(self._write(spans)))
        except FeedmeshError as fault:
            self._metrics.failed_groups.inc()
            self._fault = fault
            raise
        finally:
            self._busy_since = 0.0
        self._fault = None
        self._metrics.transaction.observe(time.monotonic() - began)
        counts: dict[str, int] = {}
        for (topic, _), values in spans.items():
            counts[topic] = counts.get(topic, 0) + len(values)
        self._metrics.committed(
            counts, requests=len(group), size_bytes=sum(pending.size_bytes for pending in group)
        )
        return [
            {place: _next_offset(written[place], index) for place, index in last.items()} for last in lasts
        ]

    def _wait(
        self, future: Future[dict[TopicPartition, list[Segment]]]
    ) -> dict[TopicPartition, list[Segment]]:
        """The transaction's result. A process that stops does not wait for a Kafka that is in trouble."""
        until = time.monotonic() + self._kafka.producer.transaction_timeout_ms / 1000 + _MARGIN_S
        while True:
            try:
                return future.result(_SLICE_S)
            except FutureTimeout:
                if time.monotonic() < until and not (self._closing and self.trouble):
                    continue
                future.cancel()
                raise LogUnavailable(
                    "Kafka did not confirm the transaction in time: it is there whole or not at all; retry "
                    "with the same event ids, which count once"
                ) from None
            except CancelledError:
                raise LogUnavailable("the log is closed") from None

    # The event loop.

    async def _write(
        self, spans: Mapping[TopicPartition, Sequence[bytes]]
    ) -> dict[TopicPartition, list[Segment]]:
        if not self._writer.is_open:
            # Another Ingest may have begun since ours was thrown away: who takes the id back fences that one.
            await self._check_unfenced()
        try:
            return await self._writer.write(spans)
        except Fenced as fault:
            self._metrics.renewals.inc()
            await self._check_unfenced()
            raise LogUnavailable(
                "the transaction was open for longer than Kafka allows, and was aborted; retry with the same "
                "event ids"
            ) from fault
        except FeedmeshError as fault:
            self._metrics.renewals.inc()
            self._logger.warning("transaction broken", reason=str(fault))
            raise

    async def _check_unfenced(self) -> None:
        """Raises Fenced when another Ingest took the id; returns when Kafka merely lost its patience."""
        with files_may_be_replaced(), translated("to tell who writes"):
            async with asyncio.timeout(self._call_s):
                meta = await read_meta(self._kafka.connection, name=self._name)
        writer = meta.last_writer(self.transactional_id)
        if writer is None or writer.instance == self._instance:
            return
        self._fenced = Fenced(
            f"the Ingest at {writer.address} writes as {self.transactional_id!r} now, so this one "
            f"at {self._address} must not: stop one of them, or give each its own "
            "kafka.producer.transactional_id",
            transactional_id=self.transactional_id,
        )
        self._metrics.fenced.set(1)
        self._logger.critical("fenced", reason=str(self._fenced))
        self._on_fenced(self._fenced)
        raise self._fenced

    async def _connect_until_done(self) -> None:
        wait_s = _RETRY_S
        while True:
            try:
                await self._connect()
            except ConfigFaults as fault:
                self._fault = LogUnavailable("; ".join(fault.faults))
                self._on_fatal(fault)
                raise
            except Exception as fault:  # noqa: BLE001  whatever it was, Ingest must not wait for it in silence
                self._fault = translate(fault, "to be connected to")
                self._logger.warning("Kafka is not there yet", reason=str(self._fault))
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S_MAX)
            else:
                return

    async def _connect(self) -> None:
        """First contact: topics, identity, and the transactional id."""
        connection, topics = self._kafka.connection, self._kafka.topics
        wanted = (*DATA_TOPICS, DEAD_LETTERS, META)
        async with admin_client(connection, name=self._name) as client:
            states = await read_topics(client, connection.topic_prefix)
            absent = [name for name in wanted if name not in states]
            identity = await self._identity_in_meta() if absent and META in states else ""
            if identity:
                # A broker may not know yet what another Ingest made a moment ago: one look is no loss.
                await asyncio.sleep(_SECOND_LOOK_S)
                states = await read_topics(client, connection.topic_prefix)
                absent = [name for name in wanted if name not in states]
            if absent:
                self._check_may_make(absent, identity)
                await make_topics(client, connection, topics, absent)
                states = await wait_for_topics(client, connection.topic_prefix, wanted)
            await check_topics(client, connection, topics, states)
        # Also where topics were just made: others that were there may be a log without its identity.
        holds_records = await self._holds_records()
        meta = await identify(connection, name=self._name, holds_records=holds_records)
        await append_meta(
            connection,
            {
                "kind": "writer",
                "transactional_id": self.transactional_id,
                "instance": self._instance,
                "address": self._address,
            },
            name=self._name,
        )
        await self._writer.open()
        self._identity = (meta.log_id, {name: states[name].partitions for name in wanted if name != META})
        self._fault, self._connected = None, True
        self._metrics.connected.set(1)

    def _check_may_make(self, absent: Sequence[str], identity: str) -> None:
        prefix = self._kafka.connection.topic_prefix
        names = ", ".join(prefix + name for name in absent)
        if identity:
            raise ConfigFaults(
                [
                    f"log {identity} has lost its topics {names}, with all their records: were they deleted? "
                    f"To begin a new log delete the other topics {prefix}* too, and the followers' data "
                    "folders"
                ]
            )
        if not self._kafka.topics.create:
            raise ConfigFaults(
                [f"topics {names} are absent and topics.create is false: make them, or let Ingest"]
            )

    async def _identity_in_meta(self) -> str:
        return (await read_meta(self._kafka.connection, name=self._name)).log_id

    async def _holds_records(self) -> bool:
        for topic in DATA_TOPICS:
            name = self._kafka.connection.topic_prefix + topic
            places = [Place(name, number) for number in range(self._kafka.topics.partitions)]
            ends = await self._read_offsets(places, lambda consumer, asked: consumer.end_offsets(asked))
            if any(ends.values()):
                return True
        return False

    async def _trim(self, positions: Positions) -> None:
        connection = self._kafka.connection
        places = {
            Place(connection.topic_prefix + topic, number): to for (topic, number), to in positions.items()
        }
        async with admin_client(connection, name=self._name) as client:
            begins = await self._read_offsets(list(places), lambda c, asked: c.beginning_offsets(asked))
            ends = await self._read_offsets(list(places), lambda c, asked: c.end_offsets(asked))
            moved = {
                place: RecordsToDelete(before_offset=min(offset, ends[place]))
                for place, offset in places.items()
                if begins[place] < min(offset, ends[place])
            }
            if moved:
                with translated("to trim the log"):
                    await client.delete_records(moved)


def _spans(group: Sequence[Pending]) -> tuple[dict[TopicPartition, list[bytes]], list[Positions]]:
    """Values by partition; for each publish the index of its last record in every partition it touches."""
    spans: dict[TopicPartition, list[bytes]] = {}
    lasts: list[Positions] = []
    for pending in group:
        last: Positions = {}
        for topic, partition, value in pending.records:
            place = (topic, partition)
            values = spans.get(place)
            if values is None:
                values = spans[place] = []
            last[place] = len(values)
            values.append(value)
        lasts.append(last)
    return spans, lasts


def _next_offset(segments: Sequence[Segment], index: int) -> int:
    """The offset after the record at `index`."""
    for segment in reversed(segments):
        if segment.first_index <= index:
            return segment.base_offset + index - segment.first_index + 1
    raise AssertionError("every record is in a segment")
