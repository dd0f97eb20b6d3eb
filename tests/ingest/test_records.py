"""Records put together by hand are, byte for byte, what protobuf would have written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmesh.log.v1 import event_pb2, record_pb2
from services.chassis.errors import InvalidId
from services.chassis.ids import ShardScheme, embedded_id, shard_of
from services.chassis.log.records import INTEREST_VERSION, RECORD_VERSION
from services.ingest.records import RecordBuilder, varint
from tests.ingest.events import MAKERS, impressions, one_of_each, put_pin_interests, save_pin

IDS = st.integers(min_value=1, max_value=(1 << 64) - 1)


def _records(event: event_pb2.Event, *, partitions: int = 64) -> list[tuple[str, int, record_pb2.Record]]:
    return [
        (made.topic, made.partition, record_pb2.Record.FromString(made.value))
        for made in RecordBuilder(partitions=partitions).build([event])
    ]


@pytest.mark.parametrize("kind", list(MAKERS))
def test_every_record_parses_and_serialises_to_the_same_bytes(kind: str) -> None:
    event = MAKERS[kind]()
    for made in RecordBuilder(partitions=64).build([event]):
        record = record_pb2.Record.FromString(made.value)
        assert record.SerializeToString() == made.value
        version = INTEREST_VERSION if kind == "put_pin_interests" else RECORD_VERSION
        assert (record.version, record.time_ms) == (version, event.time_ms)
        if record.WhichOneof("body") == "event":
            assert record.event == event


@given(
    st.builds(
        event_pb2.Event,
        id=st.text(max_size=16),
        time_ms=st.integers(min_value=1, max_value=(1 << 63) - 1),
        save_pin=st.builds(
            event_pb2.SavePin, pin=IDS, board=IDS, user=IDS, interests=st.lists(IDS, max_size=16), owner=IDS
        ),
    )
)
def test_any_save_is_written_as_protobuf_writes_it(event: event_pb2.Event) -> None:
    keys = {"pins": event.save_pin.board, "actions": event.save_pin.user, "counts": event.save_pin.pin}
    for topic, partition, record in _records(event):
        again = record_pb2.Record(
            record_id=record.record_id,
            key=keys[topic],
            role=record.role,
            time_ms=event.time_ms,
            version=RECORD_VERSION,
            event=event,
        )
        assert again == record
        assert partition == shard_of(keys[topic], num_shards=1_024) % 64


@given(st.lists(IDS, min_size=1, max_size=200), st.sampled_from([1, 4, 64]))
def test_impressions_count_every_pin_once_in_its_own_partition(pins: list[int], partitions: int) -> None:
    event = impressions()
    del event.impressions.pins[:]
    event.impressions.pins.extend(pins)
    made = [one for one in _records(event, partitions=partitions) if one[0] == "counts"]
    counted: list[int] = []
    for _, partition, record in made:
        assert record.key == record.counts.entities[0]
        assert record.counts.type == event.impressions.type
        assert {shard_of(pin, num_shards=partitions) for pin in record.counts.entities} == {partition}
        assert list(record.counts.entities) == [pin for pin in pins if pin in set(record.counts.entities)]
        counted.extend(record.counts.entities)
    assert sorted(counted) == sorted(pins)
    assert len({partition for _, partition, _ in made}) == len(made), "one record per partition"


def test_a_retry_has_the_same_record_ids_and_another_event_has_others() -> None:
    first, retry, other = save_pin(), save_pin(), save_pin()
    other.id = "another"
    ids = [{record.record_id for _, _, record in _records(event)} for event in (first, retry, other)]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_records_of_one_event_in_one_topic_have_different_ids() -> None:
    for event in one_of_each():
        seen = [(topic, record.record_id) for topic, _, record in _records(event, partitions=64)]
        assert len(set(seen)) == len(seen)


@given(
    st.lists(IDS, min_size=1, max_size=32, unique=True),
    st.integers(min_value=0, max_value=16),
    st.sampled_from([1, 4, 64]),
)
def test_no_interest_of_an_event_is_taken_for_another(
    interests: list[int], put_count: int, partitions: int
) -> None:
    put = event_pb2.PutPinInterests(
        pin=3, interests=interests[:put_count], removed_interests=interests[put_count:]
    )
    event = event_pb2.Event(id="e", time_ms=1, put_pin_interests=put)
    made = _records(event, partitions=partitions)
    # Followers drop a record whose id they saw in this partition: with few partitions, that of a neighbour.
    assert len({record.record_id for _, _, record in made}) == len(interests)
    assert [(topic, record.key) for topic, _, record in made] == [("pins", each) for each in interests]
    assert {record.role for _, _, record in made} == {record_pb2.ROLE_INTEREST}
    assert all(record.event == event for _, _, record in made), "each view takes its own part of the whole"


def test_a_reader_that_does_not_know_interests_buries_them() -> None:
    (record, *_) = [record for _, _, record in _records(put_pin_interests())]
    known_before = 2
    # It would otherwise find an event without a body, pass over it, and never see it again.
    assert record.version > known_before


def test_embedded_ids_go_to_the_partition_of_their_shard() -> None:
    event = save_pin()
    event.save_pin.pin = embedded_id(shard=3_429, type_=1, local=7_075_733)
    event.save_pin.board = embedded_id(shard=66, type_=2, local=1)
    event.save_pin.user = embedded_id(shard=5, type_=3, local=1)
    made = RecordBuilder(partitions=64, scheme=ShardScheme.EMBEDDED).build([event])
    assert {one.topic: one.partition for one in made} == {"counts": 3_429 % 64, "pins": 2, "actions": 5}


def test_an_id_that_embeds_no_shard_is_refused_and_named() -> None:
    event = save_pin()
    event.save_pin.board = 1 << 63
    with pytest.raises(InvalidId, match=str(1 << 63)):
        RecordBuilder(partitions=64, scheme=ShardScheme.EMBEDDED).build([event])


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_varint_is_protobufs(value: int) -> None:
    message = event_pb2.Event(time_ms=value).SerializeToString()
    assert message[1:] == (varint(value) if value else b"")
