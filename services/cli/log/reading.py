"""Reads a stretch of the log for a person: from an offset on, to the present end or for ever."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

from services.chassis.errors import LogUnavailable
from services.chassis.log.log import LogReader, Positions
from services.cli.faults import UsageFault

_POLL_MS: Final = 500
_SILENT_POLLS: Final = 20


class Found(NamedTuple):
    """A record and where it lies."""

    topic: str
    partition: int
    offset: int
    value: bytes


def check_topic(log: LogReader, topic: str, partition: int | None) -> list[int]:
    """The partitions to read. Raises UsageFault, with those that there are."""
    count = log.topics.get(topic)
    if count is None:
        raise UsageFault(f"no topic {topic!r} in this log; one of {', '.join(sorted(log.topics))}")
    if partition is not None and not 0 <= partition < count:
        raise UsageFault(f"{topic} has partitions 0 to {count - 1}, not {partition}")
    return list(range(count)) if partition is None else [partition]


def start_positions(log: LogReader, topic: str, partitions: Sequence[int], start: str) -> Positions:
    """Where to begin: `begin`, `end`, or an offset. Raises UsageFault."""
    begins = log.begin_offsets(topic)
    if start == "begin":
        return {(topic, number): begins[number] for number in partitions}
    ends = log.end_offsets(topic)
    if start == "end":
        return {(topic, number): ends[number] for number in partitions}
    if not start.isdecimal():
        raise UsageFault(f"--from {start}: must be begin, end, or an offset")
    offset = int(start)
    for number in partitions:
        if not begins[number] <= offset <= ends[number]:
            raise UsageFault(
                f"{topic}/{number} has offsets {begins[number]} to {ends[number]}, not {offset}; an offset "
                "is of one partition: name it with --partition"
            )
    return {(topic, number): offset for number in partitions}


def read_to_end(log: LogReader, positions: Positions) -> Generator[Found]:
    """Every record from `positions` to where the log ends now. Raises LogUnavailable when it falls silent."""
    ends_of = {topic: log.end_offsets(topic) for topic in {topic for topic, _ in positions}}
    ends = {(topic, number): ends_of[topic][number] for topic, number in positions}
    left = {place for place, offset in positions.items() if offset < ends[place]}
    if not left:
        return
    tail = log.tail({place: positions[place] for place in left})
    silent = 0
    try:
        while left:
            chunks = tail.poll(timeout_ms=_POLL_MS)
            silent = 0 if chunks else silent + 1
            if silent > _SILENT_POLLS:
                raise LogUnavailable(f"the log sent nothing more for {_SILENT_POLLS * _POLL_MS // 1000} s")
            for chunk in chunks:
                place = chunk.topic, chunk.partition
                for offset, value in zip(chunk.offsets, chunk.values, strict=True):
                    if offset < ends[place]:
                        yield Found(*place, offset, value)
                # A partition may end with an offset that is no record's.
                if chunk.next_offset >= ends[place]:
                    left.discard(place)
    finally:
        tail.close()


def follow(log: LogReader, positions: Positions) -> Generator[Found]:
    """Every record from `positions` on, as they come, for ever."""
    tail = log.tail(positions)
    try:
        while True:
            for chunk in tail.poll(timeout_ms=_POLL_MS):
                for offset, value in zip(chunk.offsets, chunk.values, strict=True):
                    yield Found(chunk.topic, chunk.partition, offset, value)
    finally:
        tail.close()


def record_at(log: LogReader, topic: str, partition: int, offset: int) -> bytes | None:
    """The bytes at one place; None where the log no longer has it, or never had."""
    if partition >= log.topics.get(topic, 0):
        return None
    if not log.begin_offsets(topic)[partition] <= offset < log.end_offsets(topic)[partition]:
        return None
    for found in read_to_end(log, {(topic, partition): offset}):
        return found.value if found.offset == offset else None
    return None
