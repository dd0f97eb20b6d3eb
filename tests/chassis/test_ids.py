import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from services.chassis.errors import InvalidId
from services.chassis.ids import (
    ShardScheme,
    embedded_id,
    mix64,
    mix64_array,
    shard_of,
    shards_of,
    split_embedded,
    string_id,
)

U64 = st.integers(min_value=0, max_value=2**64 - 1)

# Frozen: every stored key depends on them. Made with fmix64 of MurmurHash3.cpp, compiled as C.
VECTORS = {
    0x0: 0x0,
    0x1: 0xB456BCFC34C2CB2C,
    0x2: 0x3ABF2A20650683E7,
    0x123456789ABCDEF0: 0x18B8C062F6F42398,
    0xFFFFFFFFFFFFFFFF: 0x64B5720B4B825F21,
}


def unmix64(mixed: int) -> int:
    """An independent check: the inverse of fmix64, by inverse multipliers modulo 2^64."""
    mask = 2**64 - 1
    value = mixed ^ (mixed >> 33)
    value = value * pow(0xC4CEB9FE1A85EC53, -1, 2**64) & mask
    value ^= value >> 33
    value = value * pow(0xFF51AFD7ED558CCD, -1, 2**64) & mask
    return value ^ (value >> 33)


@pytest.mark.parametrize(("value", "mixed"), VECTORS.items(), ids=hex)
def test_mix64_is_frozen(value: int, mixed: int) -> None:
    assert mix64(value) == mixed


@given(U64)
def test_mix64_is_a_bijection(value: int) -> None:
    assert unmix64(mix64(value)) == value


@given(hnp.arrays(np.uint64, st.integers(0, 50), elements=U64))
def test_mix64_of_an_array_equals_mix64_of_each(ids: NDArray[np.uint64]) -> None:
    before = ids.copy()

    assert mix64_array(ids).tolist() == [mix64(int(id)) for id in ids]
    assert (ids == before).all()


@given(ids=st.lists(U64, max_size=50), num_shards=st.integers(1, 65_536))
def test_shards_of_an_array_are_the_shards_of_each(ids: list[int], num_shards: int) -> None:
    shards = shards_of(np.array(ids, dtype=np.uint64), num_shards=num_shards)

    assert shards.dtype == np.uint32
    assert shards.tolist() == [shard_of(id, num_shards=num_shards) for id in ids]
    assert all(0 <= shard < num_shards for shard in shards)


def test_consecutive_ids_spread_evenly_over_shards() -> None:
    shards = shards_of(np.arange(1, 64_001, dtype=np.uint64), num_shards=64)

    counts = np.bincount(shards, minlength=64)
    # 1,000 each on average with a standard deviation of 31.
    assert counts.min() > 850
    assert counts.max() < 1_150


def test_a_published_embedded_id_splits_into_its_parts() -> None:
    assert split_embedded(241294492511762325) == (3429, 1, 7075733)
    assert shard_of(241294492511762325, num_shards=4096, scheme=ShardScheme.EMBEDDED) == 3429


@given(shard=st.integers(0, 65_535), type_=st.integers(0, 1023), local=st.integers(0, 2**36 - 1))
def test_an_embedded_id_carries_its_parts(shard: int, type_: int, local: int) -> None:
    id = embedded_id(shard=shard, type_=type_, local=local)

    assert split_embedded(id) == (shard, type_, local)
    assert 0 <= id < 2**62
    ids = np.array([id], dtype=np.uint64)
    assert shards_of(ids, num_shards=65_536, scheme=ShardScheme.EMBEDDED).tolist() == [shard]


@pytest.mark.parametrize(
    "id",
    [
        pytest.param(embedded_id(shard=64, type_=1, local=1), id="shard past the last"),
        pytest.param(embedded_id(shard=1, type_=1, local=1) | 1 << 62, id="a top bit is set"),
        pytest.param(2**64 - 1, id="all bits are set"),
    ],
)
def test_an_id_that_embeds_no_shard_of_the_segment_is_refused(id: int) -> None:
    with pytest.raises(InvalidId, match=str(id)):
        shard_of(id, num_shards=64, scheme=ShardScheme.EMBEDDED)
    good = embedded_id(shard=63, type_=1, local=1)
    with pytest.raises(InvalidId, match=str(id)):
        shards_of(np.array([good, id], dtype=np.uint64), num_shards=64, scheme=ShardScheme.EMBEDDED)


@pytest.mark.parametrize("num_shards", [0, -1, 65_537])
def test_a_shard_count_that_no_key_can_hold_is_refused(num_shards: int) -> None:
    with pytest.raises(ValueError, match="num_shards"):
        shard_of(1, num_shards=num_shards)
    with pytest.raises(ValueError, match="num_shards"):
        shards_of(np.array([1], dtype=np.uint64), num_shards=num_shards)


@pytest.mark.parametrize(
    ("shard", "type_", "local"), [(65_536, 0, 0), (0, 1024, 0), (0, 0, 2**36), (-1, 0, 0)]
)
def test_parts_that_do_not_fit_are_refused(shard: int, type_: int, local: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        embedded_id(shard=shard, type_=type_, local=local)


def test_a_string_id_is_xxh3_of_its_utf8_and_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    # XXH3_64bits("") of the reference implementation.
    assert string_id("") == 0x2D06800538D394C2
    assert string_id("é") == xxhash.xxh3_64(b"\xc3\xa9").intdigest()
    monkeypatch.setattr(xxhash, "xxh3_64_intdigest", lambda _: 0)
    assert string_id("hashes to zero") == 1
