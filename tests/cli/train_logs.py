"""Logs for the tests of training: events through Ingest's own record builder into a log in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feedmesh.log.v1 import event_pb2
from services.chassis.log.log import DATA_TOPICS
from services.chassis.log.memory import MemoryLog
from services.cli.train.history import History, read_history
from services.ingest.records import RecordBuilder

PARTITIONS = 4


def history_of(events: Sequence[event_pb2.Event], *, offset_step: int = 1) -> History:
    """What training reads of a log with these events."""
    log = MemoryLog(dict.fromkeys(DATA_TOPICS, PARTITIONS), offset_step=offset_step, chunk_bytes=200)
    builder = RecordBuilder(partitions=PARTITIONS)
    for event in events:
        log.publish(builder.build([event])).result()
    return read_history(log, records_max=10_000_000, progress=lambda done, total: None)


def event(id_: str, time_ms: int, **body: Any) -> event_pb2.Event:
    """An event with the body that is named."""
    return event_pb2.Event(id=id_, time_ms=time_ms, **body)
