"""The log's identity and its writers, in Kafka beside the records they are of: topic `<prefix>meta`.

One partition, kept for ever, a JSON document a record:

    {"kind": "copying", "log_id": …}                    a copy of another log has begun
    {"kind": "identity", "log_id": …}                   the log is whole, with this name; the first counts
    {"kind": "writer", "transactional_id": …, "instance": …, "address": …}      an Ingest is about to write

The identity goes where the records go, so a log that is deleted and made anew is another log, to stores and
tokens alike. Two Ingest that begin a log together both write one; the first in the partition is the log's.
A writer says who it is *before* it fences its predecessor: whoever is fenced can read by whom.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass

from services.chassis.errors import ConfigFaults
from services.chassis.log.kafka.client import Consumer, Place, Producer, connection_options
from services.chassis.log.kafka.config import KafkaConnection
from services.chassis.log.kafka.contact import start
from services.chassis.log.kafka.faults import translated
from services.chassis.log.kafka.topics import META

_POLL_MS = 500


@dataclass(frozen=True)
class Writer:
    """An Ingest that announced itself."""

    transactional_id: str
    instance: str
    address: str


@dataclass(frozen=True)
class Meta:
    """What the topic says."""

    log_id: str = ""
    """Empty: nobody has finished making the log."""
    copying: str = ""
    """The log of which a copy has begun; empty: none has."""
    writers: tuple[Writer, ...] = ()
    """In the order in which they began."""

    def last_writer(self, transactional_id: str) -> Writer | None:
        """Who writes under this name now."""
        own = [writer for writer in self.writers if writer.transactional_id == transactional_id]
        return own[-1] if own else None


def new_log_id() -> str:
    """A new identity."""
    return os.urandom(8).hex()


async def read_meta(connection: KafkaConnection, *, name: str) -> Meta:
    """All that the topic says. The topic must be there. Raises LogUnavailable."""
    place = Place(connection.topic_prefix + META, 0)
    consumer = Consumer(
        **connection_options(connection, name=name), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    documents: list[object] = []
    with translated("to read the log's identity"):
        try:
            await start(consumer, connection, name=name)
            consumer.assign([place])
            end = (await consumer.end_offsets([place]))[place]
            await consumer.seek_to_beginning(place)
            while await consumer.position(place) < end:
                records = (await consumer.getmany(timeout_ms=_POLL_MS)).get(place, ())
                documents += [_parsed(record.value) for record in records]
        finally:
            await consumer.stop()
    return _summed(documents)


async def append_meta(connection: KafkaConnection, document: dict[str, str], *, name: str) -> None:
    """Append one document; returns when it is on `min.insync.replicas` brokers. Raises LogUnavailable."""
    producer = Producer(**connection_options(connection, name=name), enable_idempotence=True)
    with translated("to write the log's identity"):
        try:
            await start(producer, connection, name=name)
            await producer.send_and_wait(
                connection.topic_prefix + META, json.dumps(document).encode(), partition=0
            )
        finally:
            await producer.stop()


async def identify(connection: KafkaConnection, *, name: str, holds_records: bool) -> Meta:
    """The log's identity; a new one for a new log.

    Raises:
        ConfigFaults: a copy into this log is unfinished, or it holds records that nobody named.
    """
    meta = await read_meta(connection, name=name)
    if meta.log_id:
        return meta
    if meta.copying:
        raise ConfigFaults(
            [
                f"a copy of log {meta.copying} into {connection.topic_prefix}* is unfinished: run `feedmesh "
                "log copy` again, it goes on where it stopped"
            ]
        )
    if holds_records:
        raise ConfigFaults(
            [
                f"the topics {connection.topic_prefix}* hold records, but their log has no identity "
                f"in {connection.topic_prefix}{META}: they are of something else, or that topic was deleted; "
                "choose another connection.topic_prefix, or delete all of these topics to begin anew"
            ]
        )
    await append_meta(connection, {"kind": "identity", "log_id": new_log_id()}, name=name)
    return await read_meta(connection, name=name)


def _parsed(value: bytes | None) -> object:
    try:
        return json.loads(value or b"null")
    except ValueError:
        return None


def _summed(documents: Sequence[object]) -> Meta:
    log_id = copying = ""
    writers: list[Writer] = []
    for document in documents:
        match document:
            case {"kind": "identity", "log_id": str(named)}:
                log_id = log_id or named
            case {"kind": "copying", "log_id": str(named)}:
                copying = named
            case {"kind": "writer", "transactional_id": str(id), "instance": str(one), "address": str(at)}:
                writers.append(Writer(id, one, at))
            case _:  # a newer version's, or somebody else's
                continue
    return Meta(log_id, copying, tuple(writers))
