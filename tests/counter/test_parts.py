"""Claims about sharing a large request."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from services.counter.parts import Parts


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts(part_entities=10, threads=2)
    yield made
    made.close()


def sizes_and_threads(parts: Parts, count: int) -> list[tuple[slice, int]]:
    seen: list[tuple[slice, int]] = []

    def work(part: slice) -> int:
        seen.append((part, threading.get_ident()))
        return int(part.stop - part.start)

    assert parts.sum(count, work) == count
    return sorted(seen, key=lambda one: one[0].start)


@pytest.mark.parametrize(
    ("count", "bounds"),
    [
        (0, [0, 0]),
        (1, [0, 1]),
        (19, [0, 19]),
        (20, [0, 10, 20]),
        (31, [0, 10, 20, 31]),
        (99, [0, 33, 66, 99]),
    ],
)
def test_everything_is_done_once_in_parts_that_are_large_enough(
    parts: Parts, count: int, bounds: list[int]
) -> None:
    cut = [part for part, _ in sizes_and_threads(parts, count)]
    assert [part.start for part in cut] + [cut[-1].stop] == bounds


def test_a_small_request_stays_on_its_thread(parts: Parts) -> None:
    assert sizes_and_threads(parts, 19)[0][1] == threading.get_ident()


def test_parts_run_at_the_same_time(parts: Parts) -> None:
    together = threading.Barrier(3, timeout=20)
    assert parts.sum(30, lambda part: together.wait() * 0 + 1) == 3


def test_with_busy_threads_the_caller_does_everything_itself(parts: Parts) -> None:
    begun, done = threading.Semaphore(0), threading.Event()

    def occupy(part: slice) -> int:
        begun.release()
        done.wait(20)
        return 0

    occupying = threading.Thread(target=parts.sum, args=(30, occupy))
    occupying.start()
    for _ in range(3):
        begun.acquire(timeout=20)
    try:
        assert {thread for _, thread in sizes_and_threads(parts, 30)} == {threading.get_ident()}
    finally:
        done.set()
        occupying.join()


@pytest.mark.parametrize("failing", [0, 10, 20])
def test_an_error_of_any_part_is_raised_after_all_parts(parts: Parts, failing: int) -> None:
    running = threading.Barrier(3, timeout=20)
    ended: list[int] = []

    def work(part: slice) -> int:
        running.wait()
        if part.start == failing:
            raise ValueError("no")
        ended.append(part.start)
        return 1

    with pytest.raises(ValueError, match="no"):
        parts.sum(30, work)
    assert sorted(ended) == sorted({0, 10, 20} - {failing})


def test_when_closed_the_caller_does_everything_itself(parts: Parts) -> None:
    parts.close()
    assert {thread for _, thread in sizes_and_threads(parts, 30)} == {threading.get_ident()}
