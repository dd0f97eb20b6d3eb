"""Session cursors: bounded, checked, and exact about what was served."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import InvalidCursor
from services.feedgen.cursor import BYTES_MAX, SERVED_MAX, Cursor, served_hashes

ids = st.integers(1, 2**64 - 1)
SESSION_MS = 1_700_000_000_000


def array(pins: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(pins, np.uint64)


@given(user=ids, pages=st.lists(st.lists(ids, max_size=50), max_size=5))
def test_cursor_survives_the_round_trip_and_knows_every_served_pin(user: int, pages: list[list[int]]) -> None:
    cursor = Cursor(user=user, feed="following", session_ms=SESSION_MS)
    for pins in pages:
        cursor = Cursor.decode(cursor.after(array(pins)).encode(), user=user, feed="following")
    assert cursor.page == len(pages)
    assert cursor.session_ms == SESSION_MS
    served = [pin for pins in pages for pin in pins]
    assert cursor.marks_served(array(served)).all()


def test_pins_that_were_not_served_are_not_marked() -> None:
    cursor = Cursor(user=1, feed="following", session_ms=SESSION_MS).after(array(list(range(1, 51))))
    assert not cursor.marks_served(array(list(range(1_000, 2_000)))).any()


def test_cursor_is_bounded_and_keeps_the_latest() -> None:
    cursor = Cursor(user=1, feed="following", session_ms=SESSION_MS)
    for page in range(100):
        cursor = cursor.after(array(list(range(page * 50 + 1, page * 50 + 51))))
    assert len(cursor.encode()) == BYTES_MAX
    assert cursor.marks_served(array(list(range(5_001 - SERVED_MAX, 5_001)))).all()


@given(at=st.integers(0, 200), flip=st.integers(1, 255))
def test_any_damaged_byte_is_refused(at: int, flip: int) -> None:
    data = bytearray(
        Cursor(user=1, feed="following", session_ms=SESSION_MS).after(array(list(range(1, 51)))).encode()
    )
    data[at % len(data)] ^= flip
    with pytest.raises(InvalidCursor):
        Cursor.decode(bytes(data), user=1, feed="following")


@pytest.mark.parametrize("data", [b"x", b"\0" * 24, b"\0" * (BYTES_MAX + 4), b"\1" * 27], ids=len)
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidCursor):
        Cursor.decode(data, user=1, feed="following")


def test_cursor_of_another_user_is_refused() -> None:
    data = Cursor(user=1, feed="following", session_ms=SESSION_MS).encode()
    with pytest.raises(InvalidCursor, match="another user"):
        Cursor.decode(data, user=2, feed="following")


def test_cursor_counts_what_was_shown_beside_pins() -> None:
    cursor = Cursor(user=1, feed="home", session_ms=SESSION_MS).after(array([1, 2]), shown_count=3)
    read = Cursor.decode(cursor.encode(), user=1, feed="home")
    assert (read.shown_count, len(read.served)) == (3, 2)


def test_session_of_version_1_goes_on() -> None:
    hashes = served_hashes(array([5, 6]))
    body = struct.pack("<BBHQQ", 1, 1, 1, 9, SESSION_MS) + hashes.astype("<u4").tobytes()
    data = body + struct.pack("<I", zlib.crc32(body))
    cursor = Cursor.decode(data, user=9, feed="following")
    assert (cursor.page, cursor.session_ms, cursor.shown_count) == (1, SESSION_MS, 2)
    assert cursor.marks_served(array([5, 6, 7])).tolist() == [True, True, False]
    with pytest.raises(InvalidCursor, match="another user or feed"):
        Cursor.decode(data, user=9, feed="home")
