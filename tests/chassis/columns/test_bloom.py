import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from services.chassis.columns import bloom
from services.chassis.columns.bloom import BITS_MIN, BloomFilter, bloom_has
from services.chassis.errors import BadRequest, LimitExceeded
from services.chassis.ids import mix64

IDS = st.lists(st.integers(1, 2**64 - 1), max_size=200)
RATES = st.floats(1e-6, 0.5)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    bloom.warm()


def ids_between(start: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.arange(start, end, dtype=np.uint64)


@given(ids=IDS, rate=RATES, seed=st.integers(0, 2**64 - 1))
def test_no_added_id_is_ever_missed(ids: list[int], rate: float, seed: int) -> None:
    added = np.array(ids, dtype=np.uint64)

    seen = BloomFilter.build(added, rate, seed=seed)

    assert seen.contains_many(added).all()
    assert all(seen.contains(id) for id in ids)


@given(ids=IDS, probes=IDS, rate=RATES, seed=st.integers(0, 2**64 - 1))
def test_a_filter_answers_the_same_after_travelling(
    ids: list[int], probes: list[int], rate: float, seed: int
) -> None:
    made = BloomFilter.build(np.array(ids, dtype=np.uint64), rate, seed=seed)

    read = BloomFilter.from_parts(
        bits=made.to_bytes(), hash_count=made.hash_count, seed=made.seed, item_count=made.item_count
    )

    asked = np.array(ids + probes, dtype=np.uint64)
    assert (read.contains_many(asked) == made.contains_many(asked)).all()
    assert (read.hash_count, read.seed, read.item_count) == (made.hash_count, seed, len(ids))


@given(ids=IDS, hash_count=st.integers(1, 32), seed=st.integers(0, 2**64 - 1))
def test_the_bits_are_those_that_the_wire_contract_names(ids: list[int], hash_count: int, seed: int) -> None:
    """Another implementation of type.proto, in plain integers, sets the same bits."""
    bits = np.zeros(BITS_MIN // 8, dtype=np.uint8)
    bloom.bloom_add(bits, hash_count, np.uint64(seed), np.array(ids, dtype=np.uint64))

    expected = bytearray(BITS_MIN // 8)
    for id in ids:
        h1, h2 = mix64(id), mix64(id ^ seed) | 1
        for probe in range(hash_count):
            bit = (h1 + probe * h2) % 2**64 % BITS_MIN
            expected[bit >> 3] |= 1 << (bit & 7)
    assert bits.tobytes() == bytes(expected)


@pytest.mark.parametrize("count", [50, 1_000, 5_000, 47_000])
@pytest.mark.parametrize("rate", [0.05, 0.005, 0.001])
def test_false_positives_stay_near_the_rate_that_was_asked(count: int, rate: float) -> None:
    seen = BloomFilter.build(ids_between(1, count + 1), rate)

    strangers = ids_between(10_000_000, 10_100_000)
    assert seen.contains_many(strangers).mean() <= 1.3 * rate


def test_a_full_power_of_two_still_holds_the_rate() -> None:
    # 11.03 bits an id are needed at 0.005: 5,941 ids fill 2^16 bits, just too few for whole probes.
    seen = BloomFilter.build(ids_between(1, 5_942), 0.005)

    assert seen.bit_count == 65_536
    assert seen.contains_many(ids_between(10_000_000, 10_100_000)).mean() <= 1.3 * 0.005


@given(ids=IDS, more=IDS, rate=RATES)
def test_a_filter_with_ids_added_is_the_one_of_all_where_the_shape_fits(
    ids: list[int], more: list[int], rate: float
) -> None:
    every = sorted({*ids, *more})
    first = BloomFilter.build(np.array(ids, np.uint64), rate)
    whole = BloomFilter.build(np.array(every, np.uint64), rate)
    before = first.to_bytes()
    grown = first.with_ids(np.array(more, np.uint64), item_count=len(every))
    assert first.to_bytes() == before
    fits = first.has_shape_for(len(every), rate)
    assert fits == ((first.bit_count, first.hash_count) == (whole.bit_count, whole.hash_count))
    if fits:
        assert (grown.to_bytes(), grown.item_count) == (whole.to_bytes(), whole.item_count)


def test_an_empty_filter_contains_nothing() -> None:
    seen = BloomFilter.build(ids_between(1, 1))

    assert seen.bit_count == BITS_MIN
    assert not seen.contains_many(ids_between(1, 1_000)).any()


def test_a_filter_cannot_be_changed_after_it_was_built() -> None:
    with pytest.raises(ValueError, match="read-only"):
        BloomFilter.build(ids_between(1, 9)).bits[0] = 255


def test_the_kernel_serves_other_kernels() -> None:
    @njit
    def count_seen(bits, hash_count, seed, ids):  # type: ignore[no-untyped-def]
        seen = 0
        for row in range(ids.size):
            if bloom_has(bits, hash_count, seed, ids[row]):
                seen += 1
        return seen

    filter_ = BloomFilter.build(ids_between(1, 101), 1e-6)

    found = count_seen(filter_.bits, filter_.hash_count, np.uint64(filter_.seed), ids_between(51, 151))
    assert found == 50


def test_warm_leaves_nothing_to_compile_for_a_request(warm: None) -> None:
    kernels = (bloom.bloom_add, bloom.bloom_has, bloom._has_many)
    compiled = [len(kernel.signatures) for kernel in kernels]

    ids = ids_between(1, 100)
    ids.flags.writeable = False
    made = BloomFilter.build(ids)
    BloomFilter.from_parts(bits=made.to_bytes(), hash_count=3, seed=5).contains_many(ids[::2])

    assert compiled == [
        len(kernel.signatures) for kernel in (bloom.bloom_add, bloom.bloom_has, bloom._has_many)
    ]


@pytest.mark.parametrize(
    ("size", "hash_count"),
    [
        pytest.param(0, 4, id="no bits"),
        pytest.param(3, 4, id="bits not a power of two"),
        pytest.param(1023, 4, id="a byte is missing"),
        pytest.param(64, 0, id="no hashes"),
        pytest.param(64, 33, id="too many hashes"),
        pytest.param(64, -1, id="negative hashes"),
    ],
)
def test_hostile_parameters_are_refused(size: int, hash_count: int) -> None:
    with pytest.raises(BadRequest, match="bloom"):
        BloomFilter.from_parts(bits=bytes(size), hash_count=hash_count, seed=1)


def test_a_filter_over_the_byte_limit_is_refused_both_ways() -> None:
    with pytest.raises(LimitExceeded, match="2048"):
        BloomFilter.from_parts(bits=bytes(2048), hash_count=4, seed=1, bytes_max=1024)
    with pytest.raises(LimitExceeded, match="higher rate"):
        BloomFilter.build(ids_between(1, 2_000), 0.005, bytes_max=1024)
    with pytest.raises(LimitExceeded, match="higher rate"):
        BloomFilter.build(ids_between(1, 2), 1e-300)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, float("nan")])
def test_a_rate_that_no_filter_can_hold_is_refused(rate: float) -> None:
    with pytest.raises(BadRequest, match="false_positive_rate"):
        BloomFilter.build(ids_between(1, 10_000), rate)
