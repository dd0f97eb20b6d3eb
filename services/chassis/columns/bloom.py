"""Owns the bloom filter that carries a user's seen pins from Aperture to Polaris.

Standard double hashing (Kirsch and Mitzenmacher, "Less hashing, same performance", 2006): probe i of an
id is `(h1 + i * h2) & mask` with h1 = mix64(id), h2 = mix64(id ^ seed) | 1. The bit count is a power of
two, so the remainder is a mask, and h2 is odd, so probes do not repeat before the filter is walked once.
Bit b is bit `b & 7` of byte `b >> 3`, which is the wire form of feedmesh.type.v1.BloomFilter too.

The power of two leaves up to twice the bits that the rate needs; they are spent on fewer probes (the
least hash count that holds the rate), because Polaris tests every pin that it touches.
Refuses parameters of a stranger's message that would read out of bounds, spin, or fill the memory.
Where next: `services/chassis/columns/mixing.py`; the retrieval kernel of Polaris calls `bloom_has`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from services.chassis.columns.mixing import mix64_kernel
from services.chassis.columns.packed import unpack_u8
from services.chassis.errors import BadRequest, LimitExceeded

BITS_MIN = 512
BYTES_MAX = 1 << 20
HASH_COUNT_MAX = 32
# Probes are whole, so a filter with just enough bits misses its rate by a little; twice the bits would
# be a high price for it.
RATE_SLACK = 1.05
SEED_DEFAULT = 0x9E3779B97F4A7C15
_LN2_SQUARED = math.log(2) ** 2

# One cache line: below it, double hashing loses independence and nothing is saved.
assert BITS_MIN == 64 * 8


@njit(cache=True, nogil=True)
def bloom_has(bits: Any, hash_count: Any, seed: Any, id: Any) -> Any:
    """Return whether the filter may hold `id`; usable inside other kernels.

    Args:
        bits: uint8 array, read-only as `BloomFilter.bits` is; its length is a power of two.
        hash_count: int64 in 1..32.
        seed: uint64.
        id: uint64. A signed id gives wrong answers.
    """
    mask = np.uint64(bits.size * 8 - 1)
    h1 = mix64_kernel(id)
    h2 = mix64_kernel(id ^ seed) | np.uint64(1)
    for _ in range(hash_count):
        bit = h1 & mask
        if not (bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1):
            return False
        h1 += h2
    return True


@njit(cache=True, nogil=True)
def bloom_add(bits: Any, hash_count: Any, seed: Any, ids: Any) -> None:
    """Set the bits of every id of a uint64 array in a writable uint8 array."""
    mask = np.uint64(bits.size * 8 - 1)
    for id in ids:
        h1 = mix64_kernel(id)
        h2 = mix64_kernel(id ^ seed) | np.uint64(1)
        for _ in range(hash_count):
            bit = h1 & mask
            bits[bit >> np.uint64(3)] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
            h1 += h2


@njit(cache=True, nogil=True)
def _has_many(bits: Any, hash_count: Any, seed: Any, ids: Any) -> Any:
    found = np.empty(ids.size, dtype=np.bool_)
    for row in range(ids.size):
        found[row] = bloom_has(bits, hash_count, seed, ids[row])
    return found


@dataclass(frozen=True, slots=True, eq=False)
class BloomFilter:
    """A finished filter: no false negatives, false positives at about the rate it was built for.

    `bits` is a read-only uint8 array whose length is a power of two. Make one with `build` or, from a
    message, with `from_parts`; the constructor checks nothing.
    """

    bits: NDArray[np.uint8]
    hash_count: int
    seed: int
    item_count: int

    @classmethod
    def build(
        cls,
        ids: NDArray[np.uint64],
        false_positive_rate: float = 0.005,
        *,
        seed: int = SEED_DEFAULT,
        bytes_max: int = BYTES_MAX,
    ) -> BloomFilter:
        """Return the filter of `ids` (any order, repeats allowed), rounded up to a power of two of bits.

        Raises:
            BadRequest: the rate is not between 0 and 1, both excluded.
            LimitExceeded: the rate needs more than `bytes_max` bytes; ask a higher rate or fewer ids.
        """
        bit_count, hash_count = _shape(len(ids), false_positive_rate, bytes_max=bytes_max)
        bits = np.zeros(bit_count // 8, dtype=np.uint8)
        bloom_add(bits, hash_count, np.uint64(seed), _frozen(np.ascontiguousarray(ids, dtype=np.uint64)))
        bits.flags.writeable = False
        return cls(bits=bits, hash_count=hash_count, seed=seed, item_count=len(ids))

    @classmethod
    def from_parts(
        cls,
        *,
        bits: bytes,
        hash_count: int,
        seed: int,
        item_count: int = 0,
        bytes_max: int = BYTES_MAX,
    ) -> BloomFilter:
        """Return the filter of a message without copying its bits.

        Raises:
            BadRequest: `bits` has no power of two of bytes, or the hash count is outside 1..32.
            LimitExceeded: `bits` is longer than `bytes_max`.
        """
        if len(bits) > bytes_max:
            raise LimitExceeded(
                f"bloom filter of {len(bits)} bytes is over the limit of {bytes_max}; ask a higher rate",
                bytes=len(bits),
                bytes_max=bytes_max,
            )
        if not bits or len(bits) & (len(bits) - 1):
            raise BadRequest(f"bloom filter of {len(bits)} bytes: the length must be a power of two")
        if not 1 <= hash_count <= HASH_COUNT_MAX:
            raise BadRequest(f"bloom hash_count {hash_count} is outside 1..{HASH_COUNT_MAX}")
        return cls(bits=unpack_u8(bits), hash_count=hash_count, seed=seed, item_count=item_count)

    def has_shape_for(self, count: int, false_positive_rate: float, *, bytes_max: int = BYTES_MAX) -> bool:
        """Whether `build` of so many ids would choose this size and these probes; raises as it does."""
        shape = _shape(count, false_positive_rate, bytes_max=bytes_max)
        return shape == (self.bit_count, self.hash_count)

    def with_ids(self, ids: NDArray[np.uint64], *, item_count: int) -> BloomFilter:
        """A new filter of what this one holds and `ids`: what `build` makes of all, if the shape fits.

        `item_count`: distinct ids in all, which a filter cannot count.
        """
        bits = self.bits.copy()
        wanted = _frozen(np.ascontiguousarray(ids, dtype=np.uint64))
        bloom_add(bits, self.hash_count, np.uint64(self.seed), wanted)
        bits.flags.writeable = False
        return BloomFilter(bits=bits, hash_count=self.hash_count, seed=self.seed, item_count=item_count)

    @property
    def bit_count(self) -> int:
        """The number of bits, a power of two."""
        return self.bits.size * 8

    def to_bytes(self) -> bytes:
        """Return the bits in wire form; `from_parts` reads them back."""
        return self.bits.tobytes()

    def contains(self, id: int) -> bool:
        """Return whether `id` may have been added. For one id; a kernel calls `bloom_has`."""
        return bool(bloom_has(self.bits, self.hash_count, np.uint64(self.seed), np.uint64(id)))

    def contains_many(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return a bool array: whether each id may have been added."""
        wanted = np.ascontiguousarray(ids, dtype=np.uint64)
        found: NDArray[np.bool_] = _has_many(
            self.bits, self.hash_count, np.uint64(self.seed), _frozen(wanted)
        )
        return found


def warm() -> None:
    """Compile the kernels with the types that requests use, before the service reports ready."""
    ids = np.arange(1, 4, dtype=np.uint64)
    filter_ = BloomFilter.build(ids)
    filter_.contains_many(ids)
    filter_.contains(1)


def _shape(count: int, rate: float, *, bytes_max: int) -> tuple[int, int]:
    """Return (bit count, hash count): the least power of two, then the least probes, that hold the rate."""
    if not 0.0 < rate < 1.0:
        raise BadRequest(f"bloom false_positive_rate {rate} is not between 0 and 1")
    bit_count = BITS_MIN
    # What no number of probes can hold: a filter with as many bits set as not is the best there is.
    while (
        bit_count <= bytes_max * 8 and math.exp(-_LN2_SQUARED * bit_count / max(count, 1)) > rate * RATE_SLACK
    ):
        bit_count *= 2
    while bit_count <= bytes_max * 8:
        for hash_count in range(1, HASH_COUNT_MAX + 1):
            expected = (1.0 - math.exp(-hash_count * count / bit_count)) ** hash_count
            if expected <= rate * RATE_SLACK:
                return bit_count, hash_count
        bit_count *= 2
    raise LimitExceeded(
        f"a bloom filter of {count} ids at rate {rate} needs more than {bytes_max} bytes; "
        "ask a higher rate or fewer ids",
        count=count,
        bytes_max=bytes_max,
    )


def _frozen(ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a read-only view, so that the kernels are compiled for one type only."""
    view = ids.view()
    view.flags.writeable = False
    return view
