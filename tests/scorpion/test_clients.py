"""Rows from two stores on real sockets: split by host, put together by row, defaulted when absent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
import structlog
from prometheus_client.registry import CollectorRegistry

from feedmesh.type.v1 import type_pb2
from services.chassis.clock import SystemClock
from services.chassis.ids import shard_of
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.shards.map import Host, Segment, ShardMap
from services.chassis.shards.router import Router
from services.chassis.shards.routing import Choices, RouterMetrics
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap
from services.scorpion.clients import StaticStores
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import FeatureList, FetchedRows, RowKind
from services.scorpion.first_contact import FirstContact
from services.scorpion.metrics import ScorpionMetrics
from tests.scorpion.kind_stores import KindsRockstore, declaring
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
        return self.stores.fetch(RowKind.PIN, PINS, timeout_s=timeout_s)

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
    with asking([Rockstore(ROWS), Rockstore(ROWS)], features, metrics) as made:
        yield made


@contextmanager
def asking(rockstores: list[Rockstore], features: FeatureList, metrics: ScorpionMetrics) -> Iterator[World]:
    """Two hosts of Rockstore, and Counter."""
    counter = Counter(COUNTS)
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


KINDS = """
[[feature]]
name = "saves"
source = "count.saves"

[[feature]]
name = "topic"
source = "board.topic"

[[feature]]
name = "size"
source = "board.size"

[[feature]]
name = "owner_age"
source = "owner.age"

[[feature]]
name = "country"
source = "user.country"
"""
BOARDS = {1: {"topic": 4.0, "size": 30.0}, 3: {"topic": 5.0, "size": 2.0}}
USERS = {2: {"age": 8.0, "country": 49.0}}


def kinds_rockstore(*, users: bool = True) -> KindsRockstore:
    """Rows of boards, whose columns are in another order than the list's, and of users."""
    kinds: dict[int, Rockstore] = {type_pb2.OBJECT_KIND_BOARD: declaring(["size", "other", "topic"], BOARDS)}
    if users:
        kinds[type_pb2.OBJECT_KIND_USER] = declaring(["age", "country"], USERS)
    return KindsRockstore(kinds)


def test_rows_of_each_kind_have_the_columns_that_the_list_reads(metrics: ScorpionMetrics) -> None:
    features = parse_feature_list(KINDS)
    with asking([kinds_rockstore(), kinds_rockstore()], features, metrics) as world:
        boards, owners, users = (
            world.stores.fetch(kind, PINS, timeout_s=AMPLE_S)
            for kind in (RowKind.BOARD, RowKind.OWNER, RowKind.USER)
        )
        # Users and owners are rows of one kind in Rockstore, read by different columns.
        schemas_asked = sum(
            store.schemas_asked
            for rockstore in world.rockstores
            if isinstance(rockstore, KindsRockstore)
            for store in rockstore.kinds.values()
        )
    assert [features.columns_of(kind).columns for kind in RowKind] == [
        (),
        ("topic", "size"),
        ("age",),
        ("country",),
    ]
    np.testing.assert_array_equal(boards.rows.values, [[4, 30], [np.nan, np.nan], [5, 2]])
    np.testing.assert_array_equal(owners.rows.values, [[np.nan], [8], [np.nan]])
    np.testing.assert_array_equal(users.rows.values, [[np.nan], [49], [np.nan]])
    assert boards.answered.all()
    assert users.rows.ids.shape == (3, 0)
    assert world.counter.asked == []
    assert schemas_asked == 3
    assert metrics.columns_missing.labels("rockstore")._value.get() == 0


def test_kind_without_rows_in_rockstore_is_unknown_and_no_failure(metrics: ScorpionMetrics) -> None:
    features = parse_feature_list(KINDS)
    stores = [kinds_rockstore(users=False), kinds_rockstore(users=False)]
    with asking(list(stores), features, metrics) as world:
        fetched = world.stores.fetch(RowKind.USER, PINS, timeout_s=AMPLE_S)
        world.stores.fetch(RowKind.OWNER, PINS, timeout_s=AMPLE_S)
        assert world.failures("rockstore") == 0
    assert fetched.answered.all()
    assert np.isnan(fetched.rows.values).all()
    # One column of the user's row, one of the owner's.
    assert metrics.columns_missing.labels("rockstore")._value.get() == 2


def test_two_versions_during_a_roll_out_are_each_read_as_they_are(metrics: ScorpionMetrics) -> None:
    features = parse_feature_list(KINDS)
    old, new = kinds_rockstore(), kinds_rockstore()
    boards = declaring(["topic", "size"], BOARDS)
    boards.version = 2
    pins = np.arange(1, 40, dtype=np.uint64)
    with asking([old, new], features, metrics) as world:
        world.stores.fetch(RowKind.BOARD, pins, timeout_s=AMPLE_S)
        new.kinds[type_pb2.OBJECT_KIND_BOARD] = boards
        first = world.stores.fetch(RowKind.BOARD, pins, timeout_s=AMPLE_S)
        second = world.stores.fetch(RowKind.BOARD, pins, timeout_s=AMPLE_S)
        asked = boards.schemas_asked
        world.stores.fetch(RowKind.BOARD, pins, timeout_s=AMPLE_S)
        assert boards.schemas_asked == asked == 1
    assert first.answered.all()
    assert second.answered.all()
    np.testing.assert_array_equal(second.rows.values[[0, 2]], [[4, 30], [5, 2]])


def test_stores_are_met_once_and_the_first_fetch_asks_for_no_schema(world: World) -> None:
    assert world.stores.meet(AMPLE_S)
    assert [store.schemas_asked for store in world.rockstores] == [1, 1]
    assert world.fetch().answered.all()
    assert [store.schemas_asked for store in world.rockstores] == [1, 1]


def test_store_that_is_away_is_not_met_and_has_failed_nobody(
    features: FeatureList, metrics: ScorpionMetrics
) -> None:
    with asking([Rockstore(ROWS), Rockstore(ROWS)], features, metrics) as world:
        world.rockstores[0].broken = True
        assert not world.stores.meet(AMPLE_S)
        assert world.failures("rockstore") == 0
        world.rockstores[0].broken = False
        assert world.stores.meet(AMPLE_S)


def test_contact_is_sought_until_everybody_is_met() -> None:
    tries: list[float] = []
    met = threading.Event()

    def meet(timeout_s: float) -> bool:
        tries.append(timeout_s)
        if len(tries) == 3:
            met.set()
        return len(tries) == 3

    contact = FirstContact(meet)
    contact.start()
    assert met.wait(AMPLE_S)
    contact.stop()
    assert len(tries) == 3
