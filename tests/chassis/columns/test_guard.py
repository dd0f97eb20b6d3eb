import threading

import numpy as np
import pytest

from services.chassis.columns.guard import ReadWriteGuard

WAIT_S = 10.0


def start(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def finished(thread: threading.Thread) -> bool:
    thread.join(WAIT_S)
    return not thread.is_alive()


def test_no_reader_sees_half_a_write() -> None:
    guard = ReadWriteGuard()
    columns = np.zeros(64, dtype=np.int64)
    torn: list[set[int]] = []
    done = threading.Event()

    def write() -> None:
        for round_ in range(1, 301):
            with guard.write():
                for row in range(columns.size):
                    columns[row] = round_
        done.set()

    def read() -> None:
        while not done.is_set():
            with guard.read():
                seen = {int(value) for value in columns}
            if len(seen) != 1:
                torn.append(seen)

    threads = [start(read), start(read), start(write)]

    assert all(finished(thread) for thread in threads)
    assert torn == []
    assert columns[0] == 300


def test_readers_run_at_the_same_time() -> None:
    guard = ReadWriteGuard()
    together = threading.Barrier(3, timeout=WAIT_S)

    def read() -> None:
        with guard.read():
            together.wait()  # passes only when all three are inside

    threads = [start(read) for _ in range(3)]

    assert all(finished(thread) for thread in threads)
    assert not together.broken


def test_a_waiting_writer_goes_before_new_readers() -> None:
    guard = ReadWriteGuard()
    order: list[str] = []

    def write() -> None:
        with guard.write():
            order.append("writer")

    def read() -> None:
        with guard.read():
            order.append("reader")

    with guard.read():
        writer = start(write)
        while not guard._writers_waiting:  # the writer is at the door; the test's own timeout bounds this
            threading.Event().wait(0.001)
        late = start(read)

    assert finished(writer)
    assert finished(late)
    assert order == ["writer", "reader"]


def test_a_failing_body_lets_go_of_the_guard() -> None:
    guard = ReadWriteGuard()

    for side in (guard.read, guard.write):
        with pytest.raises(RuntimeError), side():
            raise RuntimeError
    entered = threading.Event()

    def write() -> None:
        with guard.write():
            entered.set()

    assert finished(start(write))
    assert entered.is_set()


def test_writers_exclude_each_other() -> None:
    guard = ReadWriteGuard()
    count = 0

    def write() -> None:
        nonlocal count
        for _ in range(2_000):
            with guard.write():
                before = count
                count = before + 1

    threads = [start(write) for _ in range(3)]

    assert all(finished(thread) for thread in threads)
    assert count == 6_000
