"""Records of the log as people read them, and stretches of it as the commands read them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.log.log import DEAD_LETTERS
from services.chassis.log.memory import MemoryLog
from services.cli.faults import UsageFault
from services.cli.log.reading import check_topic, read_to_end, record_at, start_positions
from services.cli.log.records_text import readable
from tests.chassis.log.support import memory_log, new_records, record

BIG = (1 << 64) - 1


def test_a_record_is_json_that_loses_no_digit_of_an_id() -> None:
    document = json.loads(json.dumps(readable("pins", 3, 17, record(BIG, key=BIG))))
    assert (document["topic"], document["partition"], document["offset"]) == ("pins", 3, 17)
    assert document["record"]["record_id"] == document["record"]["key"] == str(BIG)
    assert document["record"]["role"] == "ROLE_SOURCE"


def test_bytes_that_are_no_record_are_shown_whole() -> None:
    document = readable("pins", 0, 1, b"\xff\xff")
    assert (document["undecodable"], document["value_base64"]) == ("not a Record", "//8=")


def test_a_dead_letter_shows_the_record_inside() -> None:
    letter = record_pb2.DeadLetter(
        topic="pins", partition=2, offset=5, service="polaris", reason="why", value=record(1, key=9)
    )
    document = readable(DEAD_LETTERS, 0, 4, letter.SerializeToString())
    inside = document["dead_letter"]
    assert (inside["service"], inside["reason"]) == ("polaris", "why")
    assert inside["value"]["record"]["key"] == "9"
    assert inside["value"]["offset"] == 5


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    """Nine records in four partitions, with holes between the offsets."""
    with memory_log(offset_step=3) as log:
        for number in range(9):
            log.publish(new_records("pins", number % 4, b"%d" % number))
        yield log


def test_reading_ends_where_the_log_ended_when_it_began(log: MemoryLog) -> None:
    positions = start_positions(log, "pins", [0, 1, 2, 3], "begin")
    found = []
    for one in read_to_end(log, positions):
        found.append(int(one.value))
        log.publish(new_records("pins", 0, b"99"))
        assert len(found) <= 9
    assert sorted(found) == list(range(9))


def test_reading_an_empty_stretch_ends_at_once(log: MemoryLog) -> None:
    assert list(read_to_end(log, start_positions(log, "graph", [0, 1], "begin"))) == []
    assert list(read_to_end(log, start_positions(log, "pins", [0, 1], "end"))) == []


def test_one_record_is_found_at_its_offset_or_not_at_all(log: MemoryLog) -> None:
    assert record_at(log, "pins", 1, 3) == b"5"
    assert record_at(log, "pins", 1, 4) is None, "an offset in a hole"
    assert record_at(log, "pins", 1, 1_000) is None
    assert record_at(log, "pins", 44, 0) is None
    log.trim({("pins", 1): 3})
    assert record_at(log, "pins", 1, 0) is None


@pytest.mark.parametrize(
    ("topic", "partition", "start", "why"),
    [
        ("nothing", None, "begin", "one of dead-letters, graph, pins"),
        ("pins", 4, "begin", "has partitions 0 to 3, not 4"),
        ("pins", 0, "soon", "must be begin, end, or an offset"),
        ("pins", 0, "5000", "name it with --partition"),
    ],
    ids=["unknown topic", "unknown partition", "no offset", "beyond the end"],
)
def test_what_is_not_there_is_refused_with_what_is(
    log: MemoryLog, topic: str, partition: int | None, start: str, why: str
) -> None:
    with pytest.raises(UsageFault, match=why):
        start_positions(log, topic, check_topic(log, topic, partition), start)
