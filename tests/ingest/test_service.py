"""Publish: all or nothing, durable before the answer, and honest about what it does not know."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import DiskFull, TooLate
from services.chassis.log.log import DATA_TOPICS, NewRecord, Positions
from services.chassis.log.memory import MemoryLog
from services.chassis.log.token import Token
from services.chassis.metrics import new_registry
from services.chassis.rpc.context import CallContext, enter
from services.ingest.config import EventLimits
from services.ingest.metrics import IngestMetrics
from services.ingest.records import RecordBuilder
from services.ingest.service import IngestServicer
from services.ingest.validate import EventValidator, InvalidEvents
from tests.ingest.events import NOW_MS, action, one_of_each

PARTITIONS = 4


class StuckLog(MemoryLog):
    """Its publishes neither succeed nor fail; `running` says whether they may still be cancelled."""

    def __init__(self, *, running: bool) -> None:
        super().__init__(dict.fromkeys(DATA_TOPICS, PARTITIONS))
        self._running = running

    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        future: Future[Positions] = Future()
        if self._running:
            future.set_running_or_notify_cancel()
        return future


class FullLog(MemoryLog):
    def publish(self, records: Sequence[NewRecord]) -> Future[Positions]:
        raise DiskFull("no room")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(dict.fromkeys(DATA_TOPICS, PARTITIONS))


def servicer(log: MemoryLog) -> IngestServicer:
    return IngestServicer(
        log,
        validator=EventValidator(EventLimits()),
        builder=RecordBuilder(partitions=PARTITIONS),
        metrics=IngestMetrics(new_registry()),
        clock=FakeClock(NOW_MS),
    )


def publish(log: MemoryLog, *events: event_pb2.Event) -> Token:
    response = servicer(log).Publish(ingest_pb2.PublishRequest(events=events), None)
    return Token.decode(response.token)


def written(log: MemoryLog) -> list[record_pb2.Record]:
    places = {(topic, n): 0 for topic in DATA_TOPICS for n in range(PARTITIONS)}
    chunks = log.tail(places).poll(timeout_ms=0)
    return [record_pb2.Record.FromString(value) for chunk in chunks for value in chunk.values]


def test_the_token_names_the_end_of_every_partition_that_was_written(log: MemoryLog) -> None:
    token = publish(log, *one_of_each())
    assert token.log_id == log.log_id
    assert token.positions == {
        (topic, n): end for topic in DATA_TOPICS for n, end in enumerate(log.end_offsets(topic)) if end
    }


def test_one_faulty_event_keeps_all_out(log: MemoryLog) -> None:
    faulty = action()
    faulty.action.user = 0
    with pytest.raises(InvalidEvents, match=r"events\[1\].action.user"):
        publish(log, action(), faulty)
    assert written(log) == []


def test_absent_times_and_ids_are_filled_in(log: MemoryLog) -> None:
    events = [action(), action()]
    for event in events:
        event.id = ""
        event.time_ms = 0
    publish(log, *events)
    records = written(log)
    assert {record.time_ms for record in records} == {NOW_MS}
    assert len({record.event.id for record in records}) == 2
    assert all(record.event.id for record in records)


def test_events_of_one_key_keep_their_order(log: MemoryLog) -> None:
    events = [action() for _ in range(10)]
    for number, event in enumerate(events):
        event.id = f"e{number}"
    publish(log, *events)
    ids = [record.event.id for record in written(log) if record.key == 1]
    assert ids == [f"e{number}" for number in range(10)]


def _publish_within(log: MemoryLog, seconds: float) -> None:
    def call() -> None:
        enter(CallContext("request", time.monotonic() + seconds))
        publish(log, action())

    contextvars.copy_context().run(call)


def test_a_deadline_while_queued_takes_the_events_back() -> None:
    with pytest.raises(TooLate, match="the events were not written"):
        _publish_within(StuckLog(running=False), 0.01)


def test_a_deadline_while_writing_says_that_they_may_be_written() -> None:
    with pytest.raises(TooLate, match="may have been written; retry with the same event ids"):
        _publish_within(StuckLog(running=True), 0.01)


def test_a_full_disk_reaches_the_caller_as_it_is() -> None:
    with pytest.raises(DiskFull):
        publish(FullLog({}), action())
