"""Static rows from two stores on real sockets: split by host, put together by row, defaulted when absent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import structlog
from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import SystemClock
from services.chassis.ids import shard_of
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.map import Host, Segment, ShardMap
from services.chassis.shards.router import Router
from services.chassis.shards.routing import Choices, RouterMetrics
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap
from services.scorpion.cache import FetchedRows
from services.scorpion.clients import StaticStores
from services.scorpion.features import FeatureList
from services.scorpion.metrics import ScorpionMetrics
from tests.scorpion.stores import Counter, Rockstore, served

ROWS = {
    1: {"quality": 0.25, "board": 10, "owner": 20, "interest_0": 30},
    2: {"quality": 0.75, "description_chars": 9, "board": 11, "interest_2": 31},
}
COUNTS = {1: {"saves": 3, "impressions": 50}, 3: {"saves": 7}}
PINS = np.array([1, 2, 3], dtype=np.uint64)
AMPLE_S = 30.0


@dataclass
class World:
    """Two hosts of Rockstore, one of Counter, and what asks them."""

    rockstores: list[Rockstore]
    counter: Counter
    stores: StaticStores
    features: FeatureList
    metrics: ScorpionMetrics

    def fetch(self, *, timeout_s: float = AMPLE_S) -> FetchedRows:
        return self.stores.fetch(PINS, timeout_s=timeout_s)

    def column(self, fetched: FetchedRows, name: str) -> list[float]:
        names = self.features.pin_features + self.features.counters
        column: list[float] = fetched.rows.values[:, names.index(name)].tolist()
        return column

    def failures(self, store: str) -> float:
        (family,) = self.metrics.fetch_failures.collect()
        samples = [s for s in family.samples if s.labels["store"] == store and s.name.endswith("_total")]
        return sum(float(sample.value) for sample in samples)


@pytest.fixture
def world(features: FeatureList, metrics: ScorpionMetrics) -> Iterator[World]:
    rockstores, counter = [Rockstore(ROWS), Rockstore(ROWS)], Counter(COUNTS)
    with served(*rockstores, counter) as (first, second, third):
        registry = CollectorRegistry()
        segments = {
            "rockstore": Segment("rockstore", 4, (Host(first, "", (0, 1)), Host(second, "", (2, 3)))),
            "counter": Segment("counter", 4, (Host(third, "", (0, 1, 2, 3)),)),
        }
        shards = WatchedShardMap.fixed(ShardMap(segments), metrics=ShardMapMetrics(registry))
        config = ProcessConfig(channels=ChannelConfig(retry_attempts=1))
        channels = Channels(config.channels, ClientMetrics(registry))
        router = Router(channels, Choices(shards, config, SystemClock()), RouterMetrics(registry))
        stores = StaticStores(features, router, threads=2, metrics=metrics, log=structlog.get_logger())
        yield World(rockstores, counter, stores, features, metrics)
        for store in rockstores:
            store.gate = None
        stores.close()
        channels.close()


def test_rows_of_all_hosts_come_together_in_the_order_asked_for(world: World) -> None:
    fetched = world.fetch()
    assert fetched.answered.all()
    assert world.column(fetched, "quality")[:2] == [0.25, 0.75]
    assert world.column(fetched, "description_chars")[:2] == [0, 9]
    assert world.column(fetched, "saves") == [3, 0, 7]
    assert world.column(fetched, "impressions") == [50, 0, 0]
    ids = dict(zip(world.features.id_columns, fetched.rows.ids.T.tolist(), strict=True))
    assert ids["board"] == [10, 11, 0]
    assert ids["owner"] == [20, 0, 0]
    assert ids["interest_2"] == [0, 31, 0]


def test_one_call_goes_to_each_host_with_the_pins_of_its_shards(world: World) -> None:
    world.fetch()
    for index, store in enumerate(world.rockstores):
        mine = [pin for pin in PINS.tolist() if shard_of(pin, num_shards=4) // 2 == index]
        assert store.asked == ([mine] if mine else [])
    assert world.counter.asked == [PINS.tolist()]


def test_row_that_is_not_there_is_unknown_and_not_rockstores_default(world: World) -> None:
    fetched = world.fetch()
    assert np.isnan(world.column(fetched, "quality")[2])
    assert fetched.answered[2]


def test_schema_is_asked_for_once_and_again_when_the_version_changes(world: World) -> None:
    world.fetch()
    world.fetch()
    assert sum(store.schemas_asked for store in world.rockstores) == 1
    for store in world.rockstores:
        store.version = 2
        store.features = ["added", *reversed(store.features)]
        store.defaults = [0.0] * 4
        store.rows = {pin: {**row, "added": 8.0} for pin, row in ROWS.items()}
    fetched = world.fetch()
    assert world.column(fetched, "quality")[:2] == [0.25, 0.75]
    assert sum(store.schemas_asked for store in world.rockstores) == 2


def test_column_that_the_schema_lacks_is_unknown_and_counted(world: World) -> None:
    for store in world.rockstores:
        store.features, store.defaults = ["quality"], [0.5]
        store.ids = ["owner"]
    fetched = world.fetch()
    assert fetched.answered.all()
    assert world.column(fetched, "quality")[:2] == [0.25, 0.75]
    assert np.isnan(world.column(fetched, "description_chars")).all()
    assert world.metrics.columns_missing.labels("rockstore")._value.get() == 6


def test_broken_counter_leaves_counts_unknown_and_rows_as_they_are(world: World) -> None:
    world.counter.broken = True
    fetched = world.fetch()
    assert not fetched.answered.any()
    assert world.column(fetched, "quality")[:2] == [0.25, 0.75]
    assert np.isnan(world.column(fetched, "saves")).all()
    assert world.failures("counter") == 1
    assert world.failures("rockstore") == 0


def test_broken_host_leaves_only_its_own_pins_unanswered(world: World) -> None:
    world.rockstores[0].broken = True
    fetched = world.fetch()
    expected = [shard_of(pin, num_shards=4) >= 2 for pin in PINS.tolist()]
    assert 0 < sum(expected) < 3
    assert fetched.answered.tolist() == expected
    assert world.column(fetched, "saves") == [3, 0, 7]


def test_store_that_does_not_answer_in_time_is_not_waited_for(world: World) -> None:
    world.fetch()
    for store in world.rockstores:
        store.gate = threading.Event()
    fetched = world.fetch(timeout_s=0.2)
    assert not fetched.answered.any()
    assert world.failures("rockstore") >= 1
    for store in world.rockstores:
        assert store.gate is not None
        store.gate.set()


def test_rows_of_another_shape_than_the_schema_are_refused(world: World) -> None:
    world.fetch()
    for store in world.rockstores:
        store.features, store.defaults = ["quality"], [0.5]
    fetched = world.fetch()
    assert not fetched.answered.any()
    assert np.isnan(world.column(fetched, "quality")).all()
