"""What every log must do: in memory, with offsets dense and spread; embedded; Kafka with real brokers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.errors import LogUnavailable, OffsetOutOfRange
from services.chassis.log.embedded_config import EmbeddedLogConfig
from services.chassis.log.log import DEAD_LETTERS, Log, NewRecord, Positions
from tests.chassis.log.support import WAIT_MS, embedded_log, memory_log, new_records, read, values_of
from tests.kafka.logs import KAFKA, brokers, kafka_config, kafka_log

KINDS = [
    "memory",
    "memory with holes between offsets",
    "embedded",
    "embedded with almost no memory",
    pytest.param("kafka", marks=[*KAFKA, pytest.mark.xdist_group("kafka-log")]),
]


@pytest.fixture(params=KINDS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param == "kafka":
        with kafka_log(kafka_config(brokers())) as kafka:
            yield kafka
        return
    if request.param.startswith("memory"):
        with memory_log(offset_step=3 if "holes" in request.param else 1) as memory:
            yield memory
        return
    # One byte: nothing but the newest group stays in memory, so tails go to the disk all the time.
    recent_bytes = 1 if "almost" in request.param else 64 << 20
    config = EmbeddedLogConfig(disk_free_bytes_min=0, recent_bytes_max=recent_bytes)
    with embedded_log(tmp_path, config=config) as embedded:
        yield embedded


def _all(log: Log) -> Positions:
    return {(topic, n): 0 for topic, count in log.topics.items() for n in range(count)}


def test_published_records_are_read_in_order(log: Log) -> None:
    values = [b"%d" % n for n in range(40)]
    for value in values:
        log.publish(new_records("pins", 1, value)).result()
    chunks = read(log.tail({("pins", 1): 0}), 40)
    assert values_of(chunks, "pins", 1) == values


def test_offsets_increase_and_align_with_the_values(log: Log) -> None:
    log.publish(new_records("pins", 0, b"a", b"b", b"c")).result()
    (chunk,) = read(log.tail({("pins", 0): 0}), 3)
    assert len(chunk.offsets) == len(chunk.values) == 3
    assert list(chunk.offsets) == sorted(set(chunk.offsets))
    assert chunk.offsets[-1] < chunk.next_offset <= chunk.end_offset <= log.end_offsets("pins")[0]


def test_a_tail_gets_to_the_end_offsets_also_where_no_record_lies_before_them(log: Log) -> None:
    log.publish([*new_records("pins", 0, b"a"), *new_records("graph", 1, b"b")]).result()
    ends = {("pins", 0): log.end_offsets("pins")[0], ("graph", 1): log.end_offsets("graph")[1]}
    tail = log.tail(dict.fromkeys(ends, 0))
    reached: Positions = {}
    while any(reached.get(place, -1) < end for place, end in ends.items()):
        chunks = tail.poll(timeout_ms=WAIT_MS)
        assert chunks, f"the tail stops at {reached}, the log ends at {ends}"
        reached |= {(chunk.topic, chunk.partition): chunk.next_offset for chunk in chunks}


def test_the_result_of_publish_is_where_a_reader_must_get_to(log: Log) -> None:
    positions = log.publish([*new_records("pins", 0, b"a"), *new_records("graph", 1, b"b", b"c")]).result()
    assert set(positions) == {("pins", 0), ("graph", 1)}
    for (topic, partition), position in positions.items():
        assert position <= log.end_offsets(topic)[partition]
    chunks = read(log.tail(_all(log)), 3)
    for chunk in chunks:
        place = chunk.topic, chunk.partition
        # Behind its last record, and not beyond what a reader is told to have read.
        assert chunk.offsets[-1] < positions[place] <= chunk.next_offset


def test_a_tail_goes_on_where_another_one_stopped(log: Log) -> None:
    log.publish(new_records("pins", 2, b"a", b"b")).result()
    first = read(log.tail({("pins", 2): 0}), 2)
    log.publish(new_records("pins", 2, b"c")).result()
    second = read(log.tail({("pins", 2): first[-1].next_offset}), 1)
    assert values_of(second, "pins", 2) == [b"c"]


def test_a_tail_at_an_offset_inside_reads_from_there(log: Log) -> None:
    log.publish(new_records("pins", 2, b"a", b"b", b"c")).result()
    (chunk,) = read(log.tail({("pins", 2): 0}), 3)
    rest = read(log.tail({("pins", 2): chunk.offsets[1]}), 2)
    assert values_of(rest, "pins", 2) == [b"b", b"c"]


def test_a_waiting_tail_is_woken_by_a_publish(log: Log) -> None:
    tail = log.tail(_all(log))
    assert tail.poll(timeout_ms=0) == []
    woken: list[bytes] = []
    thread = threading.Thread(target=lambda: woken.extend(tail.poll(timeout_ms=WAIT_MS)[0].values))
    thread.start()
    log.publish(new_records("graph", 0, b"news")).result()
    thread.join(WAIT_MS / 1000)
    assert woken == [b"news"]


def test_a_tail_sees_only_its_partitions(log: Log) -> None:
    tail = log.tail({("pins", 3): 0})
    log.publish([*new_records("pins", 0, b"other"), *new_records("graph", 1, b"other")]).result()
    assert tail.poll(timeout_ms=0) == []
    log.publish(new_records("pins", 3, b"mine")).result()
    assert values_of(read(tail, 1), "pins", 3) == [b"mine"]


def test_a_tail_reads_on_after_every_publish_without_loss_or_repeat(log: Log) -> None:
    tail = log.tail(_all(log))
    seen: list[bytes] = []
    for n in range(50):
        log.publish(new_records("pins", n % 4, b"%d" % n)).result()
        if n % 7 == 0:
            seen.extend(v for chunk in tail.poll(timeout_ms=WAIT_MS) for v in chunk.values)
    while len(seen) < 50:
        polled = tail.poll(timeout_ms=WAIT_MS)
        assert polled
        seen.extend(v for chunk in polled for v in chunk.values)
    assert sorted(seen, key=int) == [b"%d" % n for n in range(50)]
    assert tail.poll(timeout_ms=0) == []


def test_many_publishers_lose_nothing_and_keep_their_own_order(log: Log) -> None:
    def publish(publisher: int) -> None:
        for n in range(20):
            log.publish(new_records("pins", n % 4, b"%d:%d" % (publisher, n))).result()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chunks = read(log.tail(_all(log)), 160)
    for partition in range(4):
        values = values_of(chunks, "pins", partition)
        for publisher in range(8):
            own = [int(v.split(b":")[1]) for v in values if v.startswith(b"%d:" % publisher)]
            assert own == list(range(partition, 20, 4))


def test_an_empty_value_is_a_record(log: Log) -> None:
    log.publish(new_records("pins", 0, b"", b"x")).result()
    assert values_of(read(log.tail({("pins", 0): 0}), 2), "pins", 0) == [b"", b"x"]


def test_publishing_nothing_is_done_at_once(log: Log) -> None:
    assert log.publish([]).result(WAIT_MS / 1000) == {}


@pytest.mark.parametrize(
    ("topic", "partition"),
    [("nothing", 0), ("pins", 4), ("pins", -1)],
    ids=["unknown topic", "partition beyond the last", "negative partition"],
)
def test_a_place_that_does_not_exist_is_refused(log: Log, topic: str, partition: int) -> None:
    with pytest.raises(ValueError, match="no partition"):
        log.publish([NewRecord("pins", 0, b"good"), NewRecord(topic, partition, b"bad")])
    with pytest.raises(ValueError, match="no partition"):
        log.tail({(topic, partition): 0})
    assert log.end_offsets("pins") == [0, 0, 0, 0]


def test_a_position_beyond_the_end_is_out_of_range(log: Log) -> None:
    tail = log.tail({("pins", 0): 1})
    with pytest.raises(OffsetOutOfRange) as fault:
        tail.poll(timeout_ms=WAIT_MS)
    assert (fault.value.facts["topic"], fault.value.facts["partition"]) == ("pins", "0")


def test_trim_moves_the_begin_and_keeps_what_follows(log: Log) -> None:
    log.publish(new_records("pins", 0, b"a", b"b", b"c")).result()
    (chunk,) = read(log.tail({("pins", 0): 0}), 3)
    log.trim({("pins", 0): chunk.offsets[2]})
    assert log.begin_offsets("pins")[0] == chunk.offsets[2]
    assert values_of(read(log.tail({("pins", 0): chunk.offsets[2]}), 1), "pins", 0) == [b"c"]


def test_a_trimmed_position_is_out_of_range(log: Log) -> None:
    end = log.publish(new_records("pins", 0, b"a", b"b", b"c")).result()["pins", 0]
    log.trim({("pins", 0): end})
    with pytest.raises(OffsetOutOfRange):
        log.tail({("pins", 0): 0}).poll(timeout_ms=WAIT_MS)


def test_trim_beyond_the_end_empties_the_partition_and_offsets_go_on(log: Log) -> None:
    end = log.publish(new_records("pins", 0, b"a")).result()["pins", 0]
    log.trim({("pins", 0): end + 1_000})
    begin = log.begin_offsets("pins")[0]
    # Where a transaction's end takes an offset, that may come after the trim.
    assert end <= begin <= log.end_offsets("pins")[0]
    log.publish(new_records("pins", 0, b"b")).result()
    assert values_of(read(log.tail({("pins", 0): begin}), 1), "pins", 0) == [b"b"]


def test_trim_never_moves_back(log: Log) -> None:
    end = log.publish(new_records("pins", 0, b"a", b"b")).result()["pins", 0]
    log.trim({("pins", 0): end})
    log.trim({("pins", 0): 0})
    assert log.begin_offsets("pins")[0] == end


def test_dead_letters_have_a_topic_of_their_own(log: Log) -> None:
    log.append_dead_letter(b"letter")
    assert values_of(read(log.tail({(DEAD_LETTERS, 0): 0}), 1), DEAD_LETTERS, 0) == [b"letter"]


def test_a_closed_tail_ends_a_blocked_poll(log: Log) -> None:
    tail = log.tail({("pins", 0): 0})
    ended: list[str] = []

    def poll() -> None:
        try:
            tail.poll(timeout_ms=WAIT_MS)
        except LogUnavailable:
            ended.append("unavailable")

    thread = threading.Thread(target=poll)
    thread.start()
    tail.close()
    thread.join(WAIT_MS / 1000)
    assert ended == ["unavailable"]


def test_a_closed_log_ends_its_tails_and_takes_no_more(log: Log) -> None:
    tail = log.tail({("pins", 0): 0})
    log.close()
    log.close()
    with pytest.raises(LogUnavailable):
        tail.poll(timeout_ms=0)
    with pytest.raises(LogUnavailable):
        log.publish(new_records("pins", 0, b"late"))
