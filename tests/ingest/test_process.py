"""The Ingest process over real sockets: what publishers and followers meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from feedmesh.log.v1 import event_pb2, log_pb2, record_pb2
from services.chassis.clock import SystemClock
from services.chassis.errors import BadRequest, LimitExceeded, LogUnavailable, OffsetOutOfRange
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import DEAD_LETTERS, Chunk, Positions, Tail
from services.chassis.log.remote import GET_LOG, RemoteLog
from services.chassis.metrics import new_registry
from services.chassis.rpc.channel import Channels
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.options import small_family
from services.chassis.storage.store import Store
from services.ingest.validate import InvalidEvents
from tests.ingest.events import action, one_of_each
from tests.ingest.serving import WAIT_S, closing_channels, publish, serve_ingest


@pytest.fixture
def channels() -> Iterator[Channels]:
    with closing_channels() as made:
        yield made


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with serve_ingest(tmp_path / "ingest") as served:
        yield served.address


@pytest.fixture
def log(channels: Channels, address: str) -> RemoteLog:
    return RemoteLog(channels, address)


def read(tail: Tail, count: int) -> list[Chunk]:
    chunks: list[Chunk] = []
    while sum(len(chunk.values) for chunk in chunks) < count:
        polled = tail.poll(timeout_ms=int(WAIT_S * 1000))
        assert polled
        chunks.extend(polled)
    return chunks


def ends(log: RemoteLog) -> Positions:
    return {(topic, n): end for topic in log.topics for n, end in enumerate(log.end_offsets(topic)) if end}


def test_what_is_published_is_read_from_the_remote_log(
    channels: Channels, address: str, log: RemoteLog
) -> None:
    token = publish(channels, address, *one_of_each())
    assert token.log_id == log.log_id
    assert token.positions == ends(log)
    chunks = read(log.tail(dict.fromkeys(token.positions, 0)), sum(token.positions.values()))
    assert {(chunk.topic, chunk.partition): chunk.next_offset for chunk in chunks} == token.positions
    assert all(list(chunk.offsets) == list(range(len(chunk.values))) for chunk in chunks)


def test_faults_reach_the_publisher_with_their_place(channels: Channels, address: str) -> None:
    faulty = action()
    faulty.action.pin = 0
    with pytest.raises(InvalidEvents, match=r"events\[1\].action.pin: is 0"):
        publish(channels, address, action(), faulty)


def test_a_waiting_tail_gets_news(channels: Channels, address: str, log: RemoteLog) -> None:
    tail = log.tail({("actions", n): 0 for n in range(4)})
    assert tail.poll(timeout_ms=0) == []
    publish(channels, address, action())
    (chunk,) = read(tail, 1)
    assert record_pb2.Record.FromString(chunk.values[0]).event == action()
    tail.close()


def test_a_quiet_tail_lives_on_signs_of_life(channels: Channels, address: str) -> None:
    log = RemoteLog(channels, address, silence_s=1.0)
    tail = log.tail({("pins", 0): 0})
    for _ in range(3):
        assert tail.poll(timeout_ms=500) == []


def test_a_tail_in_the_past_goes_on_from_there(channels: Channels, address: str, log: RemoteLog) -> None:
    for number in range(3):
        event = action()
        event.id = f"e{number}"
        token = publish(channels, address, event)
    place = next(place for place in token.positions if place[0] == "actions")
    (chunk,) = read(log.tail({place: 1}), 2)
    assert list(chunk.offsets) == [1, 2]


@pytest.mark.parametrize(
    ("positions", "error"),
    [
        ({("pins", 0): 5}, OffsetOutOfRange),
        ({("nothing", 0): 0}, BadRequest),
        ({("pins", 4): 0}, BadRequest),
        ({}, LimitExceeded),
    ],
    ids=["beyond the end", "unknown topic", "unknown partition", "nothing to read"],
)
def test_a_tail_that_cannot_be_is_refused(
    log: RemoteLog, positions: Positions, error: type[Exception]
) -> None:
    with pytest.raises(error):
        log.tail(positions).poll(timeout_ms=int(WAIT_S * 1000))


def test_positions_of_another_log_are_refused(channels: Channels, address: str, log: RemoteLog) -> None:
    assert log.log_id
    log._identity = ("another", log.topics)
    with pytest.raises(OffsetOutOfRange, match="of log 'another'"):
        log.tail({("pins", 0): 0}).poll(timeout_ms=int(WAIT_S * 1000))


def test_a_dead_letter_is_appended(log: RemoteLog) -> None:
    letter = record_pb2.DeadLetter(topic="pins", reason="why", value=b"x").SerializeToString()
    log.append_dead_letter(letter)
    (chunk,) = read(log.tail({(DEAD_LETTERS, 0): 0}), 1)
    assert chunk.values == [letter]


@pytest.mark.parametrize("letter", [b"", b"\xff\xff", bytes(1_100_000)], ids=["empty", "other bytes", "long"])
def test_a_dead_letter_that_is_none_is_refused(log: RemoteLog, letter: bytes) -> None:
    with pytest.raises(BadRequest):
        log.append_dead_letter(letter)


def test_a_log_that_nobody_serves_is_unavailable(channels: Channels) -> None:
    log = RemoteLog(channels, "127.0.0.1:1")
    with pytest.raises(LogUnavailable, match="cannot be reached"):
        log.end_offsets("pins")


def test_a_closed_tail_frees_its_thread(channels: Channels, address: str, log: RemoteLog) -> None:
    """Far more tails, one after the other, than `streams_max` threads."""
    for _ in range(80):
        tail = log.tail({("pins", 0): 0})
        tail.close()
        with pytest.raises(LogUnavailable):
            tail.poll(timeout_ms=0)
    publish(channels, address, *one_of_each())
    reading = {("pins", n): 0 for n in range(4)}
    for _ in range(200):
        try:
            assert read(log.tail(reading), 1)
        except LogUnavailable:
            continue
        return
    raise AssertionError("no thread became free")


def test_get_log_tells_topics_and_offsets(channels: Channels, address: str) -> None:
    token = publish(channels, address, *one_of_each())
    answer = channels.call(address, GET_LOG, log_pb2.GetLogRequest())
    assert answer.log_id == token.log_id
    assert [topic.name for topic in answer.topics] == [
        *("graph", "pins", "actions", "counts", "objects"),
        DEAD_LETTERS,
    ]
    assert all(list(topic.begin_offsets) == [0] * len(topic.end_offsets) for topic in answer.topics)


class _Keys:
    topics = ("actions",)

    def __init__(self) -> None:
        self.ids: list[str] = []

    def decode(self, record: record_pb2.Record) -> str:
        return record.event.id

    def apply(self, changes: list[str], batch: object) -> None:
        self.ids.extend(changes)


def test_a_follower_survives_a_restart_of_ingest_and_misses_nothing(
    tmp_path: Path, channels: Channels
) -> None:
    view = _Keys()
    with Store(tmp_path / "store", {"system": small_family()}) as store:
        with serve_ingest(tmp_path / "ingest") as first:
            port = first.port
            address = f"127.0.0.1:{port}"
            follower = Follower(
                log=RemoteLog(channels, address),
                store=store,
                view=view,  # type: ignore[arg-type]
                owned=OwnedShards.everything(64),
                config=FollowerConfig(poll_ms=50, backoff_ms=10, backoff_ms_max=50),
                metrics=FollowerMetrics(new_registry()),
                clock=SystemClock(),
            )
            follower.start()
            token = publish(channels, address, *_numbered(0))
            follower.wait_token(token.encode(), WAIT_S)
        with serve_ingest(tmp_path / "ingest", port=port):
            grpc.channel_ready_future(channels.channel(address, retry=True)).result(WAIT_S)
            token = publish(channels, address, *_numbered(10))
            follower.wait_token(token.encode(), WAIT_S)
            follower.stop()
    assert view.ids == [f"e{number}" for number in range(20)]


def _numbered(first: int) -> list[event_pb2.Event]:
    events = []
    for number in range(first, first + 10):
        event = action()
        event.id = f"e{number}"
        events.append(event)
    return events
