"""Writes groups of records, each as one transaction, under one transactional id.

    begin → every partition's batches → all acknowledged by `min.insync.replicas` → commit

A transaction's price is per transaction, not per record (some 40 ms on three brokers), so a group is all that
waits. Anything that breaks one throws the producer away: the next one, of the same id, makes Kafka abort what
was open and refuse what the old one may still send. Whether a group whose commit was asked for and not
answered is there is not known here; it is there whole, or not at all.
Batches are packed here and not record by record inside aiokafka, which costs several times as much.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors

from services.chassis.errors import LogUnavailable
from services.chassis.log.kafka.client import Producer, connection_options
from services.chassis.log.kafka.config import KafkaConnection, KafkaProducerConfig
from services.chassis.log.kafka.contact import start
from services.chassis.log.kafka.faults import Fenced, files_may_be_replaced, translated
from services.chassis.log.log import TopicPartition

_DISCARD_S: Final = 1.0
_FENCED = (errors.ProducerFenced, errors.InvalidProducerEpoch)


@dataclass(frozen=True, slots=True)
class Segment:
    """Records of one partition that lie together: the record at `first_index` has `base_offset`."""

    first_index: int
    base_offset: int


class TransactionalProducer:
    """One transaction at a time; for one task of the event loop."""

    def __init__(
        self, connection: KafkaConnection, config: KafkaProducerConfig, *, transactional_id: str, name: str
    ) -> None:
        self._connection = connection
        self._config = config
        self._transactional_id = transactional_id
        self._name = name
        self._producer: Any = None
        self._timeout_s = config.transaction_timeout_ms / 1000

    async def open(self) -> None:
        """Take over the transactional id: whoever had it is fenced, what it left open is aborted.

        Raises LogUnavailable when no coordinator answers in a transaction's time.
        """
        config = self._config
        with files_may_be_replaced():
            options = connection_options(self._connection, name=self._name)
        # Also how long a batch is tried: through the election of new leaders, which a lost broker brings.
        options["request_timeout_ms"] = config.transaction_timeout_ms
        producer = Producer(
            **options,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=config.transaction_timeout_ms,
            acks="all",
            compression_type=None if config.compression == "none" else config.compression,
            max_batch_size=config.batch_bytes_max,
            max_request_size=4 * config.batch_bytes_max,
        )
        # And yet a broker that has died without a word must not hold the whole transaction: a request that it
        # does not answer is sent again, to whoever leads then; sequence numbers keep it from counting twice.
        producer.client._request_timeout_ms = self._connection.request_timeout_ms
        with translated("to begin writing"):
            try:
                async with asyncio.timeout(self._timeout_s):
                    await start(producer, self._connection, name=self._name)
            except BaseException:
                await discard(producer)
                raise
        self._producer = producer

    @property
    def is_open(self) -> bool:
        """Whether the next `write` uses a producer that is there, and takes the id from nobody."""
        return self._producer is not None

    async def write(
        self, spans: Mapping[TopicPartition, Sequence[bytes]]
    ) -> dict[TopicPartition, list[Segment]]:
        """One transaction with these values, in order; where they are.

        Raises:
            Fenced: the id was taken by another producer, or the transaction took longer than its timeout.
            LogUnavailable: it failed; it is there whole, or not at all.
        """
        if self._producer is None:
            await self.open()
        try:
            with translated("to commit a transaction"):
                async with asyncio.timeout(self._timeout_s):
                    return await self._transact(spans)
        except BaseException as fault:
            await self.discard()
            if isinstance(fault.__cause__, _FENCED):
                raise Fenced("Kafka has fenced this producer") from fault
            raise

    async def discard(self) -> None:
        """Throw the producer away; the next `write` makes another. What is open, its successor aborts."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await discard(producer)

    async def close(self) -> None:
        """End it, at once: a group that was given up a moment ago may still be on its way out."""
        await self.discard()

    async def _transact(
        self, spans: Mapping[TopicPartition, Sequence[bytes]]
    ) -> dict[TopicPartition, list[Segment]]:
        producer = self._producer
        await producer.begin_transaction()
        packed = {place: self._pack(values) for place, values in spans.items()}
        sent = await asyncio.gather(*(self._send(place, batches) for place, batches in packed.items()))
        await producer.commit_transaction()
        return dict(zip(packed, sent, strict=True))

    def _pack(self, values: Sequence[bytes]) -> list[tuple[int, Any]]:
        """(index of its first record, batch), as many as the values need."""
        now_ms = time.time_ns() // 1_000_000
        batches: list[tuple[int, Any]] = []
        batch: Any = None
        for index, value in enumerate(values):
            if batch is None or batch.append(key=None, value=value, timestamp=now_ms) is None:
                batch = self._producer.create_batch()
                batches.append((index, batch))
                # A batch takes its first record whatever its size; the log has checked that it may.
                batch.append(key=None, value=value, timestamp=now_ms)
        return batches

    async def _send(self, place: TopicPartition, batches: Sequence[tuple[int, Any]]) -> list[Segment]:
        topic = self._connection.topic_prefix + place[0]
        # One after the other: aiokafka takes the next batch of a partition when the last one is on its way.
        acks = [
            (index, await self._producer.send_batch(batch, topic, partition=place[1]))
            for index, batch in batches
        ]
        segments = []
        for index, ack in acks:
            written = await ack
            if written.offset < 0:
                # The broker had this batch already and no longer knows where: it cannot be in a token.
                raise LogUnavailable("Kafka acknowledged a batch without its offset")
            segments.append(Segment(index, written.offset))
        return segments


async def discard(producer: Any) -> None:
    """Close its sockets and end its tasks, at once; `stop` would try to deliver what is left.

    Raises nothing, however broken the producer is.
    """
    await producer.client.close()
    # Its tasks wait for batches that nobody sends any more, unless they are failed.
    producer._message_accumulator.fail_all(errors.ProducerClosed())
    sender = producer._sender.sender_task
    # Told to end, the sender waits for its requests, which may wait for brokers; told again, it does not.
    for patience_s in (0.0, _DISCARD_S):
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=patience_s)
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=_DISCARD_S)
    if not stopping.done():
        stopping.cancel()
    elif not stopping.cancelled():
        stopping.exception()  # so that it counts as seen
