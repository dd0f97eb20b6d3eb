"""What training takes from a log that is more than the events in order."""

from __future__ import annotations

from feedmesh.log.v1 import record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.log.log import DATA_TOPICS, NewRecord
from services.chassis.log.memory import MemoryLog
from services.chassis.log.replay import replayed
from services.cli.train.history import History, read_history
from services.ingest.records import RecordBuilder
from tests.cli.train_logs import PARTITIONS, event

CLICK = event("click", 1_000, action={"user": 1, "pin": 2, "type": type_pb2.ACTION_TYPE_CLICK})


def _actions() -> list[NewRecord]:
    return [one for one in RecordBuilder(partitions=PARTITIONS).build([CLICK]) if one.topic == "actions"]


def _read(records: list[NewRecord]) -> History:
    log = MemoryLog(dict.fromkeys(DATA_TOPICS, PARTITIONS))
    log.publish(records).result()
    return read_history(log, records_max=100, progress=lambda done, total: None)


def test_a_replayed_dead_letter_is_not_a_second_action() -> None:
    (record,) = _actions()
    letter = record_pb2.DeadLetter(
        topic=record.topic, partition=record.partition, service="realpin", value=record.value
    )
    history = _read([record, replayed(letter, offset=0)])
    assert len(history.happenings) == 1
    assert history.duplicate_count == 1
