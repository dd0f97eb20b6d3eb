"""Frozen buckets and packed rows: exact, and a damaged one is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aperture.frozen import decode, encode, row_count
from services.aperture.rows import NO_ROWS, ROW_BYTES, TIME_S_MAX, ActionType, Rows, pack_rows, unpack_rows
from services.chassis.errors import CorruptValue

U64_MAX = (1 << 64) - 1
some_rows = st.lists(
    st.tuples(st.integers(1, U64_MAX), st.integers(0, TIME_S_MAX), st.sampled_from(ActionType)), max_size=50
)


def rows(given_rows: list[tuple[int, int, int]]) -> Rows:
    return Rows(
        np.array([row[0] for row in given_rows], np.uint64),
        np.array([row[1] for row in given_rows], np.uint32),
        np.array([row[2] for row in given_rows], np.uint8),
    )


def columns(of: Rows) -> list[list[int]]:
    return [of.times.tolist(), of.entities.tolist(), of.types.tolist()]


@settings(max_examples=100, deadline=None)
@given(some_rows)
def test_a_decoded_bucket_is_the_encoded_rows_by_time(given_rows: list[tuple[int, int, int]]) -> None:
    decoded = decode([encode(rows(given_rows))])
    assert columns(decoded) == columns(rows(given_rows).by_time())
    assert [c.dtype.name for c in (decoded.entities, decoded.times, decoded.types)] == [
        "uint64",
        "uint32",
        "uint8",
    ]


@settings(max_examples=50, deadline=None)
@given(st.lists(some_rows, max_size=5))
def test_buckets_decoded_together_are_those_decoded_alone(buckets: list[list[tuple[int, int, int]]]) -> None:
    blobs = [encode(rows(bucket)) for bucket in buckets]
    alone = [columns(decode([blob])) for blob in blobs]
    assert columns(decode(blobs)) == [sum((one[n] for one in alone), list[int]()) for n in range(3)]
    assert sum(row_count(blob) for blob in blobs) == sum(map(len, buckets))


def test_places_of_two_and_of_four_bytes_are_decoded_together() -> None:
    many = Rows(
        np.arange(1, 70_001, dtype=np.uint64), np.full(70_000, 9, np.uint32), np.full(70_000, 1, np.uint8)
    )
    few = rows([(5, 10, 2)])
    assert decode([encode(few), encode(many)]).entities.tolist() == [5, *range(1, 70_001)]


@settings(max_examples=50, deadline=None)
@given(some_rows, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_a_byte(given_rows, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = given_rows[:]
    random.shuffle(shuffled)
    assert encode(rows(shuffled)) == encode(rows(given_rows))


def test_a_bucket_of_more_than_65536_entities_is_kept_whole() -> None:
    many = Rows(
        np.arange(1, 70_001, dtype=np.uint64), np.full(70_000, 9, np.uint32), np.full(70_000, 1, np.uint8)
    )
    assert decode([encode(many)]).entities.tolist() == many.entities.tolist()


def test_a_row_costs_seven_bytes_and_an_entity_eight() -> None:
    assert len(encode(rows([(1, 5, 1), (1, 6, 1), (2, 7, 3)]))) == 24 + 3 * 7 + 2 * 8


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 60), st.integers(0, 7))
def test_a_flipped_bit_is_found(at: int, bit: int) -> None:
    blob = bytearray(encode(rows([(1, 5, 1), (1, 6, 1), (2, 7, 3)])))
    blob[at] ^= 1 << bit
    with pytest.raises(CorruptValue):
        decode([bytes(blob)])


@pytest.mark.parametrize("size", [0, 5, 24, 60])
def test_a_cut_bucket_is_found(size: int) -> None:
    with pytest.raises(CorruptValue):
        decode([encode(rows([(1, 5, 1), (1, 6, 1), (2, 7, 3)]))[:size]])


def test_packed_rows_keep_all_bits() -> None:
    data = pack_rows([1, U64_MAX, 1 << 63], time_s=TIME_S_MAX, action=ActionType.SERVED)
    assert len(data) == 3 * ROW_BYTES
    assert columns(unpack_rows(data)) == [[TIME_S_MAX] * 3, [1, U64_MAX, 1 << 63], [6] * 3]


def test_packed_rows_of_a_broken_length_are_corrupt() -> None:
    with pytest.raises(CorruptValue):
        unpack_rows(b"x" * 17)
    assert unpack_rows(b"") is NO_ROWS
