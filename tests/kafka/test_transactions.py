"""Whole transactions or none, and one writer to a name: those that are slow, aborted, or another's."""

from __future__ import annotations

import time

import pytest

from services.chassis.errors import LogUnavailable
from services.chassis.log.kafka.faults import Fenced
from tests.chassis.log.support import WAIT_MS, new_records, values_of
from tests.kafka.cluster import KafkaCluster
from tests.kafka.logs import KAFKA, OpenedLog, kafka_log
from tests.kafka.writer_bench import (
    PINS,
    WAIT_S,
    Commits,
    config_of,
    everything,
    metric,
    offsets_of,
)

pytestmark = [*KAFKA, pytest.mark.xdist_group("kafka-log")]


def test_a_transaction_that_takes_too_long_is_given_up_whole_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(transaction_timeout_ms=1_500, stalled_ms=100)) as log:
        slow = log.publish(new_records("pins", 0, b"never", b"seen"))
        assert commits.reached.wait(WAIT_S)
        until = time.monotonic() + WAIT_S
        while not log.trouble.startswith("Kafka has not committed for "):
            assert time.monotonic() < until, log.trouble
        with pytest.raises(LogUnavailable, match="no answer in time when asked to commit") as given_up:
            slow.result(WAIT_S)
        assert log.trouble == str(given_up.value)
        log.publish(new_records("pins", 0, b"next")).result(WAIT_S)
        assert log.trouble == ""
        chunks = everything(log, 1)
        assert values_of(chunks, *PINS) == [b"next"]
        assert offsets_of(chunks) == {b"next": 3}, "the other two were not written: nothing was tested"
        assert log.fences == []
        assert metric(log, "feedmesh_log_producer_renewals_total") == 1
        assert metric(log, "feedmesh_log_failed_groups_total") == 1


def test_a_transaction_that_kafka_aborts_is_no_fencing(
    own: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = Commits(monkeypatch)
    with kafka_log(config_of(own.bootstrap, transaction_timeout_ms=1_500)) as log:
        log._writer._timeout_s = WAIT_S
        slow = log.publish(new_records("pins", 0, b"never", b"seen"))
        assert commits.reached.wait(WAIT_S)
        # Only Kafka's own mark ends what is open: who passes it knows that the transaction is aborted.
        tail, passed = log.tail({PINS: 0}), 0
        while passed < 3:
            chunks = tail.poll(timeout_ms=WAIT_MS)
            assert chunks, "Kafka does not abort"
            passed = chunks[-1].next_offset
        commits.may_go.set()
        with pytest.raises(LogUnavailable, match="was open for longer than Kafka allows") as broken:
            slow.result(WAIT_S)
        assert not isinstance(broken.value, Fenced)
        assert log.fences == []
        assert "retry with the same event ids" in log.trouble
        log.publish(new_records("pins", 0, b"next")).result(WAIT_S)
        assert log.trouble == ""
        assert values_of(everything(log, 1), *PINS) == [b"next"]


def check_fenced(log: OpenedLog, *, by: OpenedLog) -> None:
    """Once told, and from then on at the door."""
    with pytest.raises(Fenced, match=f"the Ingest at {by._address} writes as 'one' now"):
        log.publish(new_records("pins", 0, b"late"))
    (fence,) = log.fences
    assert str(fence) == log.trouble
    assert f"so this one at {log._address} must not" in log.trouble
    assert "give each its own kafka.producer.transactional_id" in log.trouble
    assert metric(log, "feedmesh_log_fenced") == 1
    assert by.fences == []
    assert by.trouble == ""


def test_the_first_of_two_with_one_name_is_fenced_and_writes_nothing_more() -> None:
    config = config_of(transactional_id="one")
    with (
        kafka_log(config, address="127.0.0.1:1") as first,
        kafka_log(config, address="127.0.0.1:2", connected=False) as second,
    ):
        assert second.wait_connected(timeout_s=60), second.trouble
        lost = [first.publish(new_records("pins", 0, b"lost-%d" % n)) for n in range(3)]
        for future in lost:
            with pytest.raises(Fenced):
                future.result(WAIT_S)
        check_fenced(first, by=second)
        second.publish(new_records("pins", 0, b"kept")).result(WAIT_S)
        assert values_of(everything(second, 1), *PINS) == [b"kept"]
        assert first.end_offsets("pins") == second.end_offsets("pins"), "a fenced log can still be read"


def test_who_is_fenced_inside_a_transaction_leaves_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(transactional_id="one")
    commits = Commits(monkeypatch)
    with kafka_log(config, address="127.0.0.1:1") as first:
        open_one = first.publish(new_records("pins", 0, b"half", b"done"))
        assert commits.reached.wait(WAIT_S)
        with kafka_log(config, address="127.0.0.1:2") as second:
            second.publish(new_records("pins", 0, b"half", b"done")).result(WAIT_S)
            commits.may_go.set()
            with pytest.raises(Fenced):
                open_one.result(WAIT_S)
            check_fenced(first, by=second)
            assert values_of(everything(second, 2), *PINS) == [b"half", b"done"]


def test_who_was_succeeded_while_its_producer_was_broken_does_not_take_the_name_back() -> None:
    config = config_of(transactional_id="one")
    with kafka_log(config, address="127.0.0.1:1") as first:
        # As after every transaction that breaks; Kafka has no producer of this one to fence.
        first._loop.run(first._writer.discard(), timeout_s=WAIT_S)
        with kafka_log(config, address="127.0.0.1:2") as second:
            with pytest.raises(Fenced):
                first.publish(new_records("pins", 0, b"lost")).result(WAIT_S)
            check_fenced(first, by=second)
            second.publish(new_records("pins", 0, b"kept")).result(WAIT_S)
            assert metric(second, "feedmesh_log_producer_renewals_total") == 0
            assert values_of(everything(second, 1), *PINS) == [b"kept"]


def test_three_in_a_row_each_know_their_successor() -> None:
    config = config_of(transactional_id="one")
    with (
        kafka_log(config, address="127.0.0.1:1") as first,
        kafka_log(config, address="127.0.0.1:2") as second,
        kafka_log(config, address="127.0.0.1:3") as third,
    ):
        for log in (first, second):
            with pytest.raises(Fenced, match=r"the Ingest at 127\.0\.0\.1:3 writes"):
                log.publish(new_records("pins", 0, b"x")).result(WAIT_S)
        third.publish(new_records("pins", 0, b"y")).result(WAIT_S)
        assert third.trouble == ""
