"""LogService over any log: takes dead letters and replays them, and does not tail a log that is elsewhere."""

from __future__ import annotations

import pytest
from prometheus_client.registry import CollectorRegistry

from feedmesh.log.v1 import log_pb2, record_pb2
from services.chassis.clock import FakeClock
from services.chassis.errors import BadRequest, LimitExceeded
from services.chassis.log.log import DEAD_LETTERS
from services.chassis.log.memory import MemoryLog
from services.chassis.log.records import LETTER_VALUE_BYTES_MAX
from services.chassis.log.token import Token
from services.chassis.metrics import new_registry
from services.ingest.config import IngestConfig
from services.ingest.log_service import REPLAY_BYTES_MAX, LogServicer
from services.ingest.metrics import IngestMetrics

RECORD = record_pb2.Record(record_id=7, key=5, time_ms=1, version=1)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog({"pins": 4}, offset_step=3)


@pytest.fixture
def registry() -> CollectorRegistry:
    return new_registry()


@pytest.fixture
def servicer(log: MemoryLog, registry: CollectorRegistry) -> LogServicer:
    return LogServicer(log, IngestConfig(), metrics=IngestMetrics(registry), clock=FakeClock())


def letter(*, topic: str = "pins", partition: int = 2, value: bytes | None = None) -> bytes:
    return record_pb2.DeadLetter(
        topic=topic,
        partition=partition,
        offset=9,
        service="polaris",
        value=RECORD.SerializeToString() if value is None else value,
    ).SerializeToString()


def replay(servicer: LogServicer, dead_letter: bytes, *, offset: int = 3) -> Token:
    request = log_pb2.ReplayDeadLetterRequest(offset=offset, dead_letter=dead_letter)
    return Token.decode(servicer.ReplayDeadLetter(request, None).token)


def written(log: MemoryLog) -> list[record_pb2.Record]:
    chunks = log.tail({("pins", n): 0 for n in range(4)}).poll(timeout_ms=0)
    return [record_pb2.Record.FromString(value) for chunk in chunks for value in chunk.values]


def test_a_replay_is_written_where_the_record_lay_and_the_token_says_so(
    servicer: LogServicer, log: MemoryLog, registry: CollectorRegistry
) -> None:
    token = replay(servicer, letter())
    assert (token.log_id, token.positions) == (log.log_id, {("pins", 2): log.end_offsets("pins")[2]})
    (record,) = written(log)
    assert (record.key, record.only_for) == (5, "polaris")
    assert registry.get_sample_value("feedmesh_ingest_replays_total") == 1


def test_a_letter_that_is_replayed_twice_is_one_record_id(servicer: LogServicer, log: MemoryLog) -> None:
    replay(servicer, letter())
    replay(servicer, letter())
    replay(servicer, letter(), offset=4)
    assert len({record.record_id for record in written(log)} | {RECORD.record_id}) == 3


@pytest.mark.parametrize(
    ("dead_letter", "why"),
    [
        (letter(value=b"\xff"), "are not a record"),
        (letter(topic="nothing"), "no service follows a nothing/2"),
        (letter(partition=4), "no service follows a pins/4"),
        (letter(topic=DEAD_LETTERS, partition=0), "no service follows a dead-letters/0"),
        (b"\xff", "is not a serialised DeadLetter"),
    ],
    ids=["no record inside", "no such topic", "no such partition", "of the dead letters", "no letter"],
)
def test_a_letter_that_cannot_be_replayed_writes_nothing(
    servicer: LogServicer, log: MemoryLog, dead_letter: bytes, why: str
) -> None:
    with pytest.raises(BadRequest, match=why):
        replay(servicer, dead_letter)
    assert written(log) == []
    assert log.end_offsets(DEAD_LETTERS) == [0]


def test_a_letter_with_its_record_whole_again_may_be_larger_than_one_that_is_buried(
    servicer: LogServicer, log: MemoryLog
) -> None:
    whole = record_pb2.Record(key=5, version=1)
    whole.event.id = "x" * (2 * LETTER_VALUE_BYTES_MAX)
    data = letter(value=whole.SerializeToString())
    with pytest.raises(LimitExceeded):
        servicer.AppendDeadLetter(log_pb2.AppendDeadLetterRequest(dead_letter=data), None)
    replay(servicer, data)
    assert len(written(log)[0].event.id) == 2 * LETTER_VALUE_BYTES_MAX
    with pytest.raises(LimitExceeded):
        replay(servicer, bytes(REPLAY_BYTES_MAX + 1))


def test_a_dead_letter_is_appended_to_any_log(servicer: LogServicer, log: MemoryLog) -> None:
    append = log_pb2.AppendDeadLetterRequest(dead_letter=letter())
    assert [servicer.AppendDeadLetter(append, None).offset for _ in range(2)] == [0, 3]
    told = servicer.GetLog(log_pb2.GetLogRequest(), None)
    assert {topic.name: list(topic.end_offsets) for topic in told.topics}[DEAD_LETTERS] == [6]


def test_a_log_that_is_not_here_is_not_tailed_here(servicer: LogServicer) -> None:
    request = log_pb2.TailRequest(positions=[log_pb2.Position(topic="pins", partition=0, offset=0)])
    with pytest.raises(BadRequest, match=r"follower\.log_kind = kafka"):
        next(servicer.Tail(request, None))
