"""A dead letter that is replayed: applied by whoever buried it, by nobody else, and once."""

from __future__ import annotations

import pytest

from feedmesh.log.v1 import record_pb2
from services.chassis.errors import BadRequest
from services.chassis.log.log import NewRecord
from services.chassis.log.records import ADDRESSED_VERSION
from services.chassis.log.replay import replayed
from tests.chassis.log.follower_bench import Bench
from tests.chassis.log.support import POISON_KEY, record, stored_keys


def letter(value: bytes, *, service: str = "bench") -> record_pb2.DeadLetter:
    return record_pb2.DeadLetter(topic="pins", partition=2, offset=9, service=service, value=value)


def test_the_record_goes_back_to_its_partition_for_the_service_that_buried_it() -> None:
    again = replayed(letter(record(7, key=5)), offset=3)
    assert (again.topic, again.partition) == ("pins", 2)
    found = record_pb2.Record.FromString(again.value)
    assert (found.key, found.only_for, found.version) == (5, "bench", ADDRESSED_VERSION)


def test_the_same_letter_is_the_same_record_and_another_letter_is_another() -> None:
    value = record(7, key=5)
    first, again, other = (replayed(letter(value), offset=offset) for offset in (3, 3, 4))
    assert first == again
    ids = {record_pb2.Record.FromString(one.value).record_id for one in (first, other)}
    assert len(ids | {7}) == 3


def test_a_record_of_a_newer_version_keeps_what_is_not_known_here() -> None:
    unknown = record(7, key=5, version=9) + b"\xaa\x06\x03new"
    found = replayed(letter(unknown), offset=3)
    assert b"new" in found.value
    assert record_pb2.Record.FromString(found.value).version == 9


FOR_POLARIS = replayed(letter(record(1), service="polaris"), offset=0).value


@pytest.mark.parametrize(
    ("value", "service", "why"),
    [
        (b"\xff\xff", "bench", "are not a record"),
        (record(1), "", "does not say which service"),
        (FOR_POLARIS, "bench", "is a replay for polaris alone"),
    ],
    ids=["bytes that are no record", "nobody buried it", "a replay for another service"],
)
def test_what_cannot_be_replayed_is_refused(value: bytes, service: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        replayed(letter(value, service=service), offset=3)


def test_a_follower_applies_what_is_for_it_once_and_passes_over_the_rest(bench: Bench) -> None:
    bench.start().apply(record(1, key=1))
    mine = replayed(letter(record(2, key=2)), offset=0)._replace(partition=0)
    other = replayed(letter(record(3, key=3), service="polaris"), offset=1)._replace(partition=0)
    published: list[NewRecord] = [mine, other, mine]
    positions = bench.log.publish(published).result()
    bench.follower.wait_applied(positions, timeout_s=10)
    assert stored_keys(bench.store) == [1, 2]
    assert bench.metric("dead_letters_total", topic="pins") == 0


def test_a_letter_of_a_replay_that_failed_again_can_be_replayed() -> None:
    first = replayed(letter(record(7, key=5)), offset=3)
    second = replayed(letter(first.value), offset=4)
    found = record_pb2.Record.FromString(second.value)
    assert (found.key, found.only_for) == (5, "bench")
    assert second.value != first.value, "its id is another: the first one's is taken"


@pytest.mark.parametrize(
    "value",
    [record(2, key=POISON_KEY), record(2, key=2, version=9)],
    ids=["poison", "of a newer writer"],
)
def test_what_is_wrong_with_a_record_for_another_is_not_told_again(bench: Bench, value: bytes) -> None:
    other = replayed(letter(value, service="polaris"), offset=1)._replace(partition=0)
    bench.start()
    bench.follower.wait_applied(bench.log.publish([other]).result(), timeout_s=10)
    bench.apply(record(3, key=3))
    assert bench.metric("dead_letters_total", topic="pins") == 0
    assert bench.metric("applied_total", topic="pins") == 2, "its offset is passed all the same"
