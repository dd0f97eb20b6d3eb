"""The whole service on a socket: a real model, real stores' protos, and what the door refuses."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from ephemeral_port_reserve import reserve
from numpy.typing import NDArray
from prometheus_client.registry import CollectorRegistry

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.clock import FakeClock
from services.chassis.columns.packed import (
    pack_f32,
    pack_u16,
    pack_u32,
    pack_u64,
    unpack_f32,
    unpack_u8,
)
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
from services.chassis.log.token import Token
from services.chassis.metrics import describe
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.method import Method
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.cli.connection import reading_after
from services.scorpion import metrics
from services.scorpion.__main__ import build
from services.scorpion.config import FeatureLogConfig, ScorpionConfig
from services.scorpion.feature_log_files import read_feature_log
from services.scorpion.features import Candidates, FeatureList, Signal
from services.scorpion.model_files import promote, write_model
from services.scorpion.training import train
from tests.scorpion.stores import Counter, Rockstore, served
from tests.scorpion.synthetic import Trained

ROOT = Path(__file__).parents[2]
NAME = "feedmesh.scorpion.v1.ScorpionService"
SCORE = Method(f"/{NAME}/Score", scorpion_pb2.ScoreRequest, scorpion_pb2.ScoreResponse)
EXPLAIN = Method(f"/{NAME}/Explain", scorpion_pb2.ExplainRequest, scorpion_pb2.ExplainResponse)
SERVED = Method(f"/{NAME}/LogServed", scorpion_pb2.LogServedRequest, scorpion_pb2.LogServedResponse)
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
    feature_log: Path
    stop: Callable[[], bool]

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


def further(name: str, values: list[float]) -> scorpion_pb2.CandidateColumn:
    return scorpion_pb2.CandidateColumn(name=name, values_f32=pack_f32(values))


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
            feature_log=FeatureLogConfig(directory=tmp_path / "feature_log", disk_free_bytes_min=0),
        )
        clock, registry = FakeClock(NOW_MS), CollectorRegistry(auto_describe=True)
        leaf = LeafProcess("scorpion", config, build, segment="scorpion", registry=registry, clock=clock)
        channels = Channels(ChannelConfig(timeout_ms=30_000), ClientMetrics(CollectorRegistry()))

        def ask(method: Method[Any, Any], request: Any) -> Any:
            return channels.call(listen, method, request)

        try:
            leaf.start()
            yield World(
                rockstore, counter, clock, registry, ask, models_dir, tmp_path / "feature_log", leaf.stop
            )
        finally:
            channels.close()
            leaf.stop()


def trained_matrix(features: FeatureList) -> NDArray[np.float32]:
    """What training makes of `sound()`: from what the stores hold, by the list alone."""
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
    return features.compute(static, candidates, signals, now_ms=NOW_MS).matrix


def test_scores_are_lightgbms_of_the_declared_features(world: World, trained: Trained) -> None:
    response = world.score()
    matrix = trained_matrix(trained.features)
    raw = np.asarray(lgb.Booster(model_str=trained.model.text).predict(matrix, raw_score=True))
    assert np.array_equal(unpack_f32(response.scores_f32), raw.astype(np.float32))
    assert response.model == "v1"
    assert (response.cache_hit_count, response.defaulted_count) == (0, 0)


def test_explanation_adds_up_to_the_score_and_says_where_features_come_from(
    world: World, trained: Trained
) -> None:
    scores = unpack_f32(world.score().scores_f32)
    world.clock.advance_ms(1_500)
    request = scorpion_pb2.ExplainRequest(request=scorpion_pb2.ScoreRequest(**sound()))
    explained = world.ask(EXPLAIN, request)
    width = len(explained.features)
    contributions = np.frombuffer(explained.contributions_f64).reshape(3, width + 1)
    matrix = trained_matrix(trained.features)
    booster = lgb.Booster(model_str=trained.model.text)
    np.testing.assert_allclose(contributions, booster.predict(matrix, pred_contrib=True), atol=1e-6)
    np.testing.assert_allclose(contributions.sum(axis=1), scores, atol=1e-6)
    assert np.array_equal(unpack_f32(explained.scores_f32), scores)
    assert np.array_equal(unpack_f32(explained.values_f32).reshape(3, width), matrix)
    ages = np.frombuffer(explained.ages_ms_i64, "<i8").reshape(3, -1)
    by_name = {feature.name: feature for feature in explained.features}
    age_of = {source: ages[:, place].tolist() for place, source in enumerate(explained.sources)}
    assert age_of == {"request": [0, 0, 0], "pin": [1500, 1500, 1500], "count": [1500, 1500, 1500]}
    assert explained.sources[by_name["quality"].source] == "pin"
    assert explained.sources[by_name["save_rate"].source] == "count"
    assert explained.sources[by_name["age_hours"].source] == "request"
    defaulted = unpack_u8(explained.defaulted_u8).reshape(3, width)
    assert defaulted[:, list(by_name).index("quality")].tolist() == [0, 0, 1]


def test_further_columns_reach_the_explanation_and_the_feature_log(world: World) -> None:
    sent = {
        **sound(),
        "columns": [further("pixie_visits", [7.0, float("nan"), 0.0]), further("unread", [1] * 3)],
    }
    request = scorpion_pb2.ExplainRequest(request=scorpion_pb2.ScoreRequest(**sent))
    explained = world.ask(EXPLAIN, request)
    origins = [feature.origin for feature in explained.features]
    place, width = origins.index("candidate.pixie_visits"), len(origins)
    values = unpack_f32(explained.values_f32).reshape(3, width)[:, place]
    assert values.tolist() == [np.float32(np.log1p(7)), 0, 0]
    assert unpack_u8(explained.defaulted_u8).reshape(3, width)[:, place].tolist() == [0, 1, 0]
    assert explained.sources[explained.features[place].source] == "request"
    world.score(log_id=7, columns=sent["columns"])
    world.ask(
        SERVED,
        scorpion_pb2.LogServedRequest(
            log_id=7,
            user=5,
            pins_u64=pack_u64([1]),
            positions_u16=pack_u16([0]),
            served_ms=NOW_MS,
            arms=["home=blend_b", "walk=long"],
        ),
    )
    world.stop()
    (logged,) = read_feature_log(world.feature_log)
    assert logged.features[0, logged.names.index("pixie_visits")] == np.float32(np.log1p(7))
    assert logged.arms.tolist() == [("home=blend_b", "walk=long")]


def test_no_more_is_explained_than_a_page(world: World) -> None:
    request = scorpion_pb2.ScoreRequest(user=1, pins_u64=pack_u64(range(1, 252)))
    with pytest.raises(LimitExceeded, match="250"):
        world.ask(EXPLAIN, scorpion_pb2.ExplainRequest(request=request))


def test_served_pins_are_logged_with_the_features_that_training_would_compute(
    world: World, trained: Trained
) -> None:
    scores = unpack_f32(world.score(log_id=77).scores_f32)
    asked: dict[str, Any] = {
        "log_id": 77,
        "user": 5,
        "pins_u64": pack_u64([3, 1, 9]),
        "positions_u16": pack_u16([0, 1, 2]),
        "feed": "following",
        "request_id": "r",
        "served_ms": NOW_MS + 40,
    }
    answer = world.ask(SERVED, scorpion_pb2.LogServedRequest(**asked))
    assert (answer.logged_count, answer.absent_count) == (2, 1)
    again = world.ask(SERVED, scorpion_pb2.LogServedRequest(**asked))
    assert (again.logged_count, again.absent_count) == (0, 3)
    world.stop()
    (logged,) = read_feature_log(world.feature_log)
    assert (logged.pins.tolist(), logged.positions.tolist()) == ([3, 1], [0, 1])
    assert logged.models.tolist() == ["v1", "v1"]
    assert np.array_equal(logged.scores, scores[[2, 0]])
    assert logged.names == trained.features.names
    assert np.array_equal(logged.features, trained_matrix(trained.features)[[2, 0]])


def test_requests_without_a_log_id_leave_nothing_behind(world: World) -> None:
    world.score()
    world.stop()
    assert read_feature_log(world.feature_log) == []


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        pytest.param({"log_id": 0}, InvalidId, "log_id", id="no number"),
        pytest.param({"positions_u16": pack_u16([1, 2])}, InvalidColumns, "positions_u16 has 2", id="ragged"),
        pytest.param({"served_ms": 0}, BadRequest, "served_ms", id="no time"),
        pytest.param({"feed": "x" * 200}, LimitExceeded, "feed", id="long name"),
        pytest.param({"arms": ["a=b"] * 65}, LimitExceeded, "65 arms", id="too many arms"),
        pytest.param({"arms": ["a=" + "b" * 200]}, LimitExceeded, "202 characters", id="long arm"),
    ],
)
def test_nonsense_of_what_was_served_is_refused(
    world: World, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    sound_one: dict[str, Any] = {
        "log_id": 1,
        "user": 5,
        "pins_u64": pack_u64([1]),
        "positions_u16": pack_u16([0]),
        "served_ms": NOW_MS,
    }
    with pytest.raises(error, match=says):
        world.ask(SERVED, scorpion_pb2.LogServedRequest(**{**sound_one, **changes}))


def test_a_token_of_a_later_write_has_rows_fetched_anew(world: World) -> None:
    world.score()
    world.rockstore.rows = {**ROWS, 1: {**ROWS[1], "quality": 0.9}}
    assert world.score().cache_hit_count == 3
    token = Token("log", {("objects", 3): 10}).encode()
    with reading_after(token):
        changed = world.score()
        assert changed.cache_hit_count == 0
        assert world.score().cache_hit_count == 3
    assert world.score().scores_f32 == changed.scores_f32


def test_another_model_serves_between_two_requests_and_none_is_dropped(
    world: World, trained: Trained
) -> None:
    data = trained.data
    other = train(trained.features, data, dataclasses.replace(trained.options, tree_count=7))
    write_model(world.models_dir, "v2", other.text, other.card, other.sample)
    before = world.score().scores_f32
    answered: list[tuple[str, bytes]] = []
    stop = threading.Event()

    def asks() -> None:
        while not stop.is_set():
            response = world.score()
            answered.append((response.model, response.scores_f32))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(asks) for _ in range(2)]
        promote(world.models_dir, "v2")
        waited = threading.Event()
        while not any(model == "v2" for model, _ in list(answered)) and not waited.wait(0.002):
            pass
        stop.set()
        for future in asking:
            future.result(30)
    raw = lgb.Booster(model_str=other.text).predict(trained_matrix(trained.features), raw_score=True)
    after = pack_f32(np.asarray(raw).astype(np.float32))
    assert dict(answered) == {"v1": before, "v2": after}
    assert len(set(answered)) == 2


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
    world.clock.advance_ms(300_000)
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
            {"columns": [further("a", [1.0])]}, InvalidColumns, "1 values for 3", id="short further"
        ),
        pytest.param(
            {"columns": [further("a", [1.0, float("inf"), 0.0])]},
            InvalidColumns,
            "row 1",
            id="infinite further",
        ),
        pytest.param({"columns": [further("a", [0.0] * 3)] * 2}, BadRequest, "twice", id="further twice"),
        pytest.param({"columns": [further("A b", [0.0] * 3)]}, BadRequest, "lower-case", id="further's name"),
        pytest.param(
            {"columns": [further("affinity", [0.0] * 3)]}, BadRequest, "of its own", id="its own field"
        ),
        pytest.param(
            {"columns": [further(f"c{n}", [0.0] * 3) for n in range(17)]},
            LimitExceeded,
            "16",
            id="many further",
        ),
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
    assert value("cache_hits_total", kind="pin") == 3
    assert value("cache_misses_total", kind="pin") == 3
    assert value("feature_defaults_total", feature="quality") == 1
    assert value("stage_seconds_count", stage="forest") == 2
    assert value("cache_rows", kind="pin") == 3
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
    different = ("process", "features_path", "models_dir", "factors_dir", "feature_log")
    for field in dataclasses.fields(ScorpionConfig):
        if field.name not in different:
            assert getattr(loaded, field.name) == getattr(default, field.name), field.name
    assert loaded.feature_log.limits == default.feature_log.limits


def test_missing_feature_list_ends_the_start_with_its_path(tmp_path: Path) -> None:
    config = ScorpionConfig(
        process=ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path), features_path=tmp_path / "none.toml"
    )
    leaf = LeafProcess("scorpion", config, build, segment=None, registry=CollectorRegistry())
    with pytest.raises(ConfigFaults, match=r"none\.toml"):
        leaf.start()
    leaf.stop()
