"""The cache against a store that is written a moment later than the follower says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.apiary.cache import ENTRY_BYTES, ColumnCache, PendingBatch

Column = NDArray[np.uint64]


@dataclass
class SlowStore:
    """Values by source, and the number of the last batch; `while_loading` runs inside of a load."""

    values: dict[int, int] = field(default_factory=dict)
    written: int = 0
    loads: int = 0
    while_loading: Callable[[], None] | None = None

    def load(self, source: int) -> Column:
        self.loads += 1
        value = self.values.get(source, 0)
        hook, self.while_loading = self.while_loading, None
        if hook is not None:
            hook()
        return np.array([value], dtype=np.uint64)


class World:
    def __init__(self, *, bytes_max: int = 1 << 20) -> None:
        self.store = SlowStore()
        self.pending = PendingBatch(lambda: self.store.written)
        self.cache = ColumnCache(self.pending, self.store.load, bytes_max=bytes_max)

    def read(self, source: int) -> int:
        return int(self.cache.get(source)[0])

    def begin(self, *sources: int) -> int:
        return self.pending.begin(sources)

    def commit(self, number: int, **values: int) -> None:
        self.store.values.update({int(name[1:]): value for name, value in values.items()})
        self.store.written = number


def test_a_value_is_loaded_once() -> None:
    world = World()
    assert [world.read(1), world.read(1)] == [0, 0]
    assert (world.store.loads, world.cache.counts.hits, world.cache.counts.misses) == (1, 1, 1)


def test_a_written_batch_is_seen_at_once() -> None:
    world = World()
    world.read(1)
    number = world.begin(1)
    world.commit(number, _1=5)
    assert world.read(1) == 5


def test_a_value_read_while_its_batch_is_pending_is_not_kept() -> None:
    world = World()
    number = world.begin(1)
    assert world.read(1) == 0
    world.commit(number, _1=5)
    assert world.read(1) == 5


def test_a_value_loaded_across_a_batch_is_not_kept() -> None:
    world = World()

    def batch() -> None:
        world.commit(world.begin(1), _1=5)

    world.store.while_loading = batch
    assert world.read(1) == 0
    assert world.read(1) == 5


def test_a_value_loaded_across_two_batches_is_not_kept() -> None:
    world = World()
    number = world.begin(1)

    def batches() -> None:
        world.commit(number, _1=5)
        world.commit(world.begin(2), _2=6)

    world.store.while_loading = batches
    assert world.read(1) == 0
    assert world.read(1) == 5


def test_sources_of_the_last_batch_are_kept_once_it_is_written() -> None:
    world = World()
    world.commit(world.begin(1), _1=5)
    assert [world.read(1), world.read(1)] == [5, 5]
    assert world.store.loads == 1


def test_the_longest_unused_value_goes_first() -> None:
    world = World(bytes_max=2 * (ENTRY_BYTES + 8))
    for source in (1, 2, 1, 3, 1):
        world.read(source)
    assert world.store.loads == 3
    world.read(2)
    assert world.store.loads == 4
    assert world.cache.counts.evictions == 2
    assert len(world.cache) == 2
    assert world.cache.nbytes == 2 * (ENTRY_BYTES + 8)


def test_a_value_larger_than_the_cache_is_answered() -> None:
    world = World(bytes_max=10)
    assert world.read(1) == 0
    assert (len(world.cache), world.cache.nbytes) == (0, 0)
