"""Owns what an id is: its hash, its virtual shard, and the id of a text key.

An id is an opaque uint64; 0 is nobody's id and is refused by whoever reads a request, not here.
The virtual shard is `mix64(id) % num_shards`, or, for ids minted by a store that embeds the shard,
the shard bits themselves. Both are frozen: a changed hash would strand every stored key, so the
tests hold its vectors. Refuses shard counts outside 1..65,536 (a shard is a u16 in every key).
Free of numba, so light services do not load it: kernels take the hash from `columns/mixing.py`.
Where next: `services/chassis/shards/map.py` (shard to host).
"""

from enum import StrEnum

import numpy as np
import xxhash
from numpy.typing import NDArray

from services.chassis.errors import InvalidId

SHARDS_MAX = 1 << 16
_U64 = (1 << 64) - 1

# MurmurHash3's 64-bit finalizer (Austin Appleby, MurmurHash3.cpp, fmix64; public domain).
_MUL_1 = 0xFF51AFD7ED558CCD
_MUL_2 = 0xC4CEB9FE1A85EC53
_NP_33 = np.uint64(33)
_NP_MUL_1 = np.uint64(_MUL_1)
_NP_MUL_2 = np.uint64(_MUL_2)

# Embedded ids: 2 unused | 16 shard | 10 type | 36 local ("Sharding Pinterest", 2015).
_LOCAL_BITS = 36
_TYPE_BITS = 10
_SHARD_SHIFT = _LOCAL_BITS + _TYPE_BITS
assert _SHARD_SHIFT + 16 == 62, "two top bits stay unused, so an embedded id is a positive int64"


class ShardScheme(StrEnum):
    """How an id names its shard; one value per segment, for the segment's whole life."""

    HASHED = "hashed"
    EMBEDDED = "embedded"


def mix64(value: int) -> int:
    """Return fmix64 of the low 64 bits of `value`: a bijection on uint64 with mix64(0) == 0."""
    value &= _U64
    value ^= value >> 33
    value = (value * _MUL_1) & _U64
    value ^= value >> 33
    value = (value * _MUL_2) & _U64
    return value ^ (value >> 33)


def mix64_array(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `mix64` of every id as a new uint64 array of the same shape."""
    mixed = ids.astype(np.uint64, copy=True)
    mixed ^= mixed >> _NP_33
    mixed *= _NP_MUL_1
    mixed ^= mixed >> _NP_33
    mixed *= _NP_MUL_2
    mixed ^= mixed >> _NP_33
    return mixed


def shard_of(id: int, *, num_shards: int, scheme: ShardScheme = ShardScheme.HASHED) -> int:
    """Return the virtual shard of one id, in 0..num_shards - 1.

    Raises:
        InvalidId: the scheme is EMBEDDED and the id's shard bits are not below `num_shards`.
        ValueError: `num_shards` is outside 1..65,536 (a fault of the caller's config).
    """
    _check_num_shards(num_shards)
    if scheme is ShardScheme.HASHED:
        return mix64(id) % num_shards
    shard = (id >> _SHARD_SHIFT) & 0xFFFF
    if shard >= num_shards or id >> 62:
        raise _not_embedded(id, num_shards=num_shards)
    return shard


def shards_of(
    ids: NDArray[np.uint64], *, num_shards: int, scheme: ShardScheme = ShardScheme.HASHED
) -> NDArray[np.uint32]:
    """Return `shard_of` of every id as uint32; same errors, of which the first bad id is named."""
    _check_num_shards(num_shards)
    if scheme is ShardScheme.HASHED:
        return (mix64_array(ids) % np.uint64(num_shards)).astype(np.uint32)
    # The two unused bits stay in the quotient: an id that sets them is refused by the same test.
    shards = ids.astype(np.uint64, copy=False) >> np.uint64(_SHARD_SHIFT)
    bad = np.flatnonzero(shards >= np.uint64(num_shards))
    if bad.size:
        raise _not_embedded(int(ids[bad[0]]), num_shards=num_shards)
    return shards.astype(np.uint32)


def embedded_id(*, shard: int, type_: int, local: int) -> int:
    """Return the id with these parts; `split_embedded` is its inverse.

    Raises:
        ValueError: a part does not fit its bits (16 shard, 10 type, 36 local).
    """
    if not (0 <= shard < 1 << 16 and 0 <= type_ < 1 << _TYPE_BITS and 0 <= local < 1 << _LOCAL_BITS):
        raise ValueError(f"shard {shard}, type {type_}, local {local} do not fit 16, 10 and 36 bits")
    return (shard << _SHARD_SHIFT) | (type_ << _LOCAL_BITS) | local


def split_embedded(id: int) -> tuple[int, int, int]:
    """Return (shard, type, local) of an embedded id; the two unused top bits are dropped."""
    return (
        (id >> _SHARD_SHIFT) & 0xFFFF,
        (id >> _LOCAL_BITS) & ((1 << _TYPE_BITS) - 1),
        id & ((1 << _LOCAL_BITS) - 1),
    )


def string_id(text: str) -> int:
    """Return the id of a text key: xxh3_64 of its UTF-8 bytes, with 0 (no id) moved to 1.

    Collisions are not detected: among n texts one exists with probability about n²/2^65 (3% for a billion).
    """
    return xxhash.xxh3_64_intdigest(text.encode()) or 1


def _check_num_shards(num_shards: int) -> None:
    if not 1 <= num_shards <= SHARDS_MAX:
        raise ValueError(f"num_shards must be between 1 and {SHARDS_MAX}, not {num_shards}")


def _not_embedded(id: int, *, num_shards: int) -> InvalidId:
    return InvalidId(
        f"id {id} does not embed a shard below {num_shards}; check the segment's shard scheme",
        id=id,
        num_shards=num_shards,
    )
