"""The whole service on a socket: a real model, real stores' protos, and what the door refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from ephemeral_port_reserve import reserve
from prometheus_client.registry import CollectorRegistry

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.clock import FakeClock
from services.chassis.columns.packed import pack_f32, pack_u32, pack_u64, unpack_f32
from services.chassis.config import load_config
from services.chassis.errors import (
    BadRequest,
    ConfigFaults,
    InvalidColumns,
    InvalidId,
    LimitExceeded,
    NotFound,
)
from services.chassis.leaf import LeafProcess
from services.chassis.metrics import describe
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.scorpion import metrics
from services.scorpion.__main__ import build
from services.scorpion.config import ScorpionConfig
from services.scorpion.features import Candidates, FeatureList, Signal
from services.scorpion.model_files import promote, write_model
from tests.scorpion.stores import Counter, Rockstore, served
from tests.scorpion.synthetic import Trained

ROOT = Path(__file__).parents[2]
NAME = "feedmesh.scorpion.v1.ScorpionService"
SCORE = Method(f"/{NAME}/Score", scorpion_pb2.ScoreRequest, scorpion_pb2.ScoreResponse)
LIST = Method(f"/{NAME}/ListModels", scorpion_pb2.ListModelsRequest, scorpion_pb2.ListModelsResponse)
ROWS = {1: {"quality": 0.25, "board": 10, "interest_0": 30}, 2: {"quality": 0.875, "board": 11}}
COUNTS = {1: {"saves": 3, "impressions": 50, "served": 60}}
NOW_MS = 1_700_000_000_000


@dataclass
class World:
    """A running Scorpion with its stores."""

    rockstore: Rockstore
    counter: Counter
    clock: FakeClock
    registry: CollectorRegistry
    ask: Callable[[Method[Any, Any], Any], Any]
    models_dir: Path

    def score(self, **changes: Any) -> scorpion_pb2.ScoreResponse:
        request = scorpion_pb2.ScoreRequest(**{**sound(), **changes})
        response: scorpion_pb2.ScoreResponse = self.ask(SCORE, request)
        return response


def sound() -> dict[str, Any]:
    """A request that is in order."""
    return {
        "user": 5,
        "pins_u64": pack_u64([1, 2, 3]),
        "light_scores_f32": pack_f32([0.5, 0.25, 0.125]),
        "saved_at_u32": pack_u32([NOW_MS // 1000 - 3600] * 3),
        "boards_u64": pack_u64([10, 11, 0]),
        "owners_u64": pack_u64([0, 0, 20]),
        "affinities_f32": pack_f32([1.0, 0.5, 1.0]),
        "signals": [signal("board_weight", [11], [2.5]), signal("interest_weight", [30], [1.5])],
        "now_ms": NOW_MS,
    }


def signal(name: str, ids: list[int], values: list[float]) -> scorpion_pb2.UserSignal:
    return scorpion_pb2.UserSignal(name=name, ids_u64=pack_u64(ids), values_f32=pack_f32(values))


@pytest.fixture
def world(tmp_path: Path, trained: Trained) -> Iterator[World]:
    rockstore, counter = Rockstore(ROWS), Counter(COUNTS)
    models_dir = tmp_path / "models"
    write_model(models_dir, "v1", trained.model.text, trained.model.card, trained.model.sample)
    promote(models_dir, "v1")
    with served(rockstore, counter) as (rockstore_at, counter_at):
        listen = f"127.0.0.1:{reserve()}"
        shards = ["00000", "00001"]
        hosts = {"scorpion": listen, "rockstore": rockstore_at, "counter": counter_at}
        shard_map = tmp_path / "shards.json"
        shard_map.write_text(
            json.dumps({name: {"num_shards": 2, f"{at}:a": shards} for name, at in hosts.items()})
        )
        config = ScorpionConfig(
            process=ProcessConfig(
                listen=listen,
                data_dir=tmp_path / "data",
                shard_map=shard_map,
                drain_linger_ms=0,
                channels=ChannelConfig(retry_attempts=1),
            ),
            features_path=ROOT / "deploy/config/features.toml",
            models_dir=models_dir,
            fetch_ms_max=20_000,
        )
        clock, registry = FakeClock(NOW_MS), CollectorRegistry(auto_describe=True)
        leaf = LeafProcess("scorpion", config, build, segment="scorpion", registry=registry, clock=clock)
        channels = Channels(ChannelConfig(timeout_ms=30_000), ClientMetrics(CollectorRegistry()))

        def ask(method: Method[Any, Any], request: Any) -> Any:
            return channels.call(listen, method, request)

        try:
            leaf.start()
            yield World(rockstore, counter, clock, registry, ask, models_dir)
        finally:
            channels.close()
            leaf.stop()


def test_scores_are_lightgbms_of_the_declared_features(world: World, trained: Trained) -> None:
    response = world.score()
    features: FeatureList = trained.features
    pin_values = np.array([[0.25, 0, 0], [0.875, 0, 0], [np.nan] * 3], dtype=np.float32)
    columns = {"board": [10, 11, 0], "interest_0": [30, 0, 0]}
    ids = np.array([columns.get(name, [0, 0, 0]) for name in features.id_columns], dtype=np.uint64).T
    counts = [[COUNTS.get(pin, {}).get(name, 0) for name in features.counters] for pin in (1, 2, 3)]
    candidates = Candidates(
        np.array([1, 2, 3], dtype=np.uint64),
        np.array([0.5, 0.25, 0.125], dtype=np.float32),
        np.full(3, NOW_MS // 1000 - 3600, dtype=np.uint32),
        np.array([10, 11, 0], dtype=np.uint64),
        np.array([0, 0, 20], dtype=np.uint64),
        np.array([1.0, 0.5, 1.0], dtype=np.float32),
    )
    signals = {
        "board_weight": Signal(np.array([11], dtype=np.uint64), np.array([2.5], dtype=np.float32)),
        "interest_weight": Signal(np.array([30], dtype=np.uint64), np.array([1.5], dtype=np.float32)),
    }
    static = features.static_rows(pin_values, ids, np.array(counts, dtype=np.float32))
    matrix = features.compute(static, candidates, signals, now_ms=NOW_MS).matrix
    raw = np.asarray(lgb.Booster(model_str=trained.model.text).predict(matrix, raw_score=True))
    assert np.array_equal(unpack_f32(response.scores_f32), raw.astype(np.float32))
    assert response.model == "v1"
    assert (response.cache_hit_count, response.defaulted_count) == (0, 0)


def test_stores_are_not_asked_for_pins_that_are_cached(world: World) -> None:
    first = world.score()
    second = world.score()
    assert second.cache_hit_count == 3
    assert second.scores_f32 == first.scores_f32
    world.ask(SCORE, scorpion_pb2.ScoreRequest(user=5, pins_u64=pack_u64([2, 4])))
    assert world.rockstore.asked == [[1, 2, 3], [4]]
    assert world.counter.asked == [[1, 2, 3], [4]]


def test_rows_are_fetched_again_when_their_time_is_over(world: World) -> None:
    world.score()
    world.clock.advance_ms(10_000)
    assert world.score().cache_hit_count == 0


def test_broken_store_gives_defaults_and_the_next_request_asks_again(world: World) -> None:
    world.rockstore.broken = True
    response = world.score()
    assert response.defaulted_count == 3
    assert np.isfinite(unpack_f32(response.scores_f32)).all()
    world.rockstore.broken = False
    world.clock.advance_ms(2_000)
    assert world.score().defaulted_count == 0


def test_request_with_pins_alone_is_scored(world: World) -> None:
    response = world.ask(SCORE, scorpion_pb2.ScoreRequest(user=1, pins_u64=pack_u64([7, 7])))
    scores = unpack_f32(response.scores_f32)
    assert scores.size == 2
    assert scores[0] == scores[1]


def test_request_without_candidates_has_no_scores(world: World) -> None:
    response = world.ask(SCORE, scorpion_pb2.ScoreRequest(user=1))
    assert (response.scores_f32, response.model) == (b"", "v1")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        pytest.param({"user": 0}, InvalidId, "user", id="user zero"),
        pytest.param({"pins_u64": pack_u64([1, 0, 3])}, InvalidId, "pins_u64", id="pin zero"),
        pytest.param({"pins_u64": b"1234567"}, InvalidColumns, "pins_u64", id="ragged bytes"),
        pytest.param({"owners_u64": pack_u64([1])}, InvalidColumns, "owners_u64 has 1", id="short column"),
        pytest.param(
            {"light_scores_f32": pack_f32([1, float("nan"), 1])}, InvalidColumns, "row 1", id="NaN score"
        ),
        pytest.param(
            {"affinities_f32": pack_f32([1, float("inf"), 1])}, InvalidColumns, "inf", id="infinite affinity"
        ),
        pytest.param({"affinities_f32": pack_f32([1, -1, 1])}, InvalidColumns, "negative", id="affinity < 0"),
        pytest.param({"now_ms": -1}, BadRequest, "now_ms", id="negative time"),
        pytest.param({"pins_u64": pack_u64(range(1, 5_002))}, LimitExceeded, "5000", id="too many pins"),
        pytest.param({"model": "v9"}, NotFound, "loaded: v1", id="unknown model"),
        pytest.param(
            {"signals": [signal("a", [1], [1.0, 2.0])]}, InvalidColumns, "'a': ids has 1", id="ragged signal"
        ),
        pytest.param(
            {"signals": [signal("a", [1], [float("nan")])]}, InvalidColumns, "'a'", id="signal of NaN"
        ),
        pytest.param({"signals": [signal("a", [], [])] * 2}, BadRequest, "twice", id="signal twice"),
        pytest.param(
            {"signals": [signal(f"s{n}", [], []) for n in range(65)]},
            LimitExceeded,
            "64",
            id="too many signals",
        ),
        pytest.param(
            {"signals": [signal("a", [1] * 10_001, [1.0] * 10_001)]}, LimitExceeded, "10000", id="long signal"
        ),
    ],
)
def test_nonsense_is_refused_at_the_door(
    world: World, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        world.score(**changes)
    assert world.rockstore.asked == []


def test_models_are_listed_with_the_serving_one(world: World, trained: Trained) -> None:
    (listed,) = world.ask(LIST, scorpion_pb2.ListModelsRequest()).models
    assert (listed.name, listed.tree_count, listed.serving) == ("v1", 20, True)
    assert tuple(listed.features) == trained.features.names


def test_no_model_at_all_is_not_found_and_says_what_to_do(world: World) -> None:
    (world.models_dir / "serving").unlink()
    with pytest.raises(NotFound, match="feedmesh train"):
        # The watcher sees the pointer go some moments later.
        for _ in range(100_000):
            world.score()


def test_metrics_count_candidates_hits_and_defaulted_features(world: World) -> None:
    world.score()
    world.score()

    def value(name: str, **labels: str) -> float:
        return world.registry.get_sample_value(f"feedmesh_scorpion_{name}", labels) or 0.0

    assert value("candidates_total", model="v1") == 6
    assert value("cache_hits_total") == 3
    assert value("cache_misses_total") == 3
    assert value("feature_defaults_total", feature="quality") == 2
    assert value("stage_seconds_count", stage="forest") == 2
    assert value("cache_rows") == 3
    assert value("models") == 1


def test_every_metric_is_in_the_table_of_its_module(world: World) -> None:
    mine = {f.name for f in describe(world.registry) if f.name.startswith("feedmesh_scorpion_")}
    assert mine
    assert all(f"| {name} |" in (metrics.__doc__ or "") for name in mine)


def test_example_config_loads_and_holds_the_defaults() -> None:
    loaded = load_config(
        ScorpionConfig, path=ROOT / "deploy/config/scorpion.toml", env={}, prefix="FEEDMESH_SCORPION"
    )
    default = ScorpionConfig()
    for name in ("models_max", "models_scan_ms", "forest_threads", "cache_bytes", "cache_ttl_ms"):
        assert getattr(loaded, name) == getattr(default, name)
    for name in ("fetch_share", "fetch_ms_max", "candidates_max", "signals_max", "signal_ids_max"):
        assert getattr(loaded, name) == getattr(default, name)


def test_missing_feature_list_ends_the_start_with_its_path(tmp_path: Path) -> None:
    config = ScorpionConfig(
        process=ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path), features_path=tmp_path / "none.toml"
    )
    leaf = LeafProcess("scorpion", config, build, segment=None, registry=CollectorRegistry())
    with pytest.raises(ConfigFaults, match=r"none\.toml"):
        leaf.start()
    leaf.stop()
