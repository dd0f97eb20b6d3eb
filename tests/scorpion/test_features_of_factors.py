"""Features of item factors: declared with a version, computed alike by serving and training, over RPC too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from ephemeral_port_reserve import reserve
from numpy.typing import NDArray
from prometheus_client.registry import CollectorRegistry

from feedmesh.scorpion.v1 import scorpion_pb2
from services.chassis.columns.packed import pack_f32, pack_u64, unpack_f32, unpack_u8
from services.chassis.errors import ConfigFaults, NotFound
from services.chassis.leaf import LeafProcess
from services.chassis.process import ChannelConfig, ProcessConfig
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.scorpion.__main__ import build
from services.scorpion.config import FeatureLogConfig, ScorpionConfig
from services.scorpion.feature_file import load_feature_list, parse_feature_list, with_factors
from services.scorpion.features import Candidates, FeatureList, Folding, Signal
from services.scorpion.model_files import promote, write_model
from services.scorpion.training import TrainedModel, TrainingOptions, train
from tests.scorpion.factors.small import by_definition, learned, write_version
from tests.scorpion.synthetic import synthetic
from tests.scorpion.test_service import EXPLAIN, SCORE, further, signal

NEAR = '[[feature]]\nname = "near"\nsource = "factors.saves"\nversion = "v1"\nsignal = "recent_pins"\n'
LIST = (
    NEAR
    + 'default = -1.0\n[[feature]]\nname = "visits"\nsource = "candidate.pixie_visits"\n'
    + '[[feature]]\nname = "quality"\nsource = "candidate.quality"\n'
    + '[[feature]]\nname = "engaged"\nsource = "signal.recent_pins"\nmatch = ["pin"]\nreduce = "any"\n'
)
PINS = list(range(10, 60))
RECENT = [(12, 1.0), (40, 0.5), (999, 1.0)]
NOW_MS = 1_700_000_000_000


def u64(*values: int) -> NDArray[np.uint64]:
    return np.array(values, np.uint64)


def recent() -> Signal:
    return Signal(u64(*[pin for pin, _ in RECENT]), np.array([weight for _, weight in RECENT], np.float32))


def of_signals(features: FeatureList, pins: list[int], signals: dict[str, Signal]) -> NDArray[np.float32]:
    return features.compute(
        features.missing_rows(len(pins)), Candidates(u64(*pins)), signals, now_ms=NOW_MS
    ).matrix


def test_the_value_is_the_candidates_nearness_to_the_signals_pins(tmp_path: Path) -> None:
    of = learned(PINS)
    write_version(tmp_path, of)
    features = with_factors(parse_feature_list(LIST), tmp_path)
    assert features.foldings == (Folding("saves", "v1", "recent_pins"),)
    assert features.signals == ("recent_pins",)
    pins = [12, 30, 7, 59]
    near = of_signals(features, pins, {"recent_pins": recent()})[:, 0]
    expected = by_definition(of, RECENT, pins)
    np.testing.assert_allclose(near[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-4)
    assert near[2] == -1, "a pin without factors is the default"
    assert of_signals(features, pins, {})[:, 0].tolist() == [-1] * 4, "so is a user without the signal"
    empty = {"recent_pins": Signal(u64(), np.empty(0, np.float32))}
    assert of_signals(features, pins, empty)[:, 0].tolist() == [0, 0, -1, 0]


def test_an_action_changes_the_value_in_the_next_request(tmp_path: Path) -> None:
    write_version(tmp_path, learned(PINS))
    features = with_factors(parse_feature_list(LIST), tmp_path)
    before = of_signals(features, [30], {"recent_pins": recent()})[0, 0]
    told = Signal(u64(30, *recent().ids.tolist()), np.r_[np.float32(1), recent().values])
    assert of_signals(features, [30], {"recent_pins": told})[0, 0] > before


def test_another_version_is_another_feature() -> None:
    digests = [
        parse_feature_list(NEAR.replace(*change)).digests["near"]
        for change in (("", ""), ('"v1"', '"v2"'), ("saves", "clicks"), ("recent_pins", "saved_pins"))
    ]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        pytest.param(NEAR.replace('version = "v1"\n', ""), "version = None", id="no version"),
        pytest.param(NEAR.replace('"v1"', '"../v1"'), "version of the factors", id="version with a path"),
        pytest.param(NEAR.replace('signal = "recent_pins"\n', ""), "name of a signal", id="no signal"),
        pytest.param(NEAR + 'match = ["pin"]', "match is not known", id="match"),
        pytest.param(NEAR + 'type = "category"', "for codes", id="category"),
        pytest.param(
            '[[feature]]\nname = "x"\nsource = "pin.q"\nversion = "v"', "not known", id="pin's version"
        ),
    ],
)
def test_a_faulty_declaration_is_refused(lines: str, fault: str) -> None:
    with pytest.raises(ConfigFaults) as raised:
        parse_feature_list(lines)
    assert fault in str(raised.value)


def test_a_list_without_its_factors_computes_nothing_rather_than_defaults(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="saves"):
        of_signals(parse_feature_list(LIST), [12], {})
    write_version(tmp_path, learned(PINS), version="v2")
    with pytest.raises(ConfigFaults, match="version v1 cannot be used") as raised:
        with_factors(parse_feature_list(LIST), tmp_path)
    assert "there are v2" in str(raised.value)


def model_of(features: FeatureList) -> TrainedModel:
    """Ranks by `quality` and others, as drawn."""
    data = synthetic(features)
    return train(features, data, TrainingOptions(tree_count=20, leaves=7, sample_rows=32, threads=1))


def test_a_score_over_rpc_is_that_of_the_features_that_training_computes(tmp_path: Path) -> None:
    write_version(tmp_path / "factors", learned(PINS))
    (tmp_path / "features.toml").write_text(LIST)
    features = load_feature_list(tmp_path / "features.toml", factors_dir=tmp_path / "factors")
    model = model_of(features)
    write_model(tmp_path / "models", "v1", model.text, model.card, model.sample)
    promote(tmp_path / "models", "v1")
    listen = f"127.0.0.1:{reserve()}"
    config = ScorpionConfig(
        process=ProcessConfig(listen=listen, data_dir=tmp_path / "data", drain_linger_ms=0),
        features_path=tmp_path / "features.toml",
        factors_dir=tmp_path / "factors",
        models_dir=tmp_path / "models",
        feature_log=FeatureLogConfig(directory=tmp_path / "feature_log", disk_free_bytes_min=0),
    )
    pins = [12, 30, 7, 59]
    request: dict[str, Any] = {
        "user": 5,
        "pins_u64": pack_u64(pins),
        "now_ms": NOW_MS,
        "signals": [signal("recent_pins", *map(list, zip(*RECENT, strict=True)))],
        "columns": [further("pixie_visits", [9.0, 4.0, 2.0, 1.0]), further("quality", [0.1, 0.9, 0.5, 0.8])],
    }
    columns = {"pixie_visits": np.array([9, 4, 2, 1], "f4"), "quality": np.array([0.1, 0.9, 0.5, 0.8], "f4")}
    candidates = Candidates(u64(*pins), columns=columns)
    rows = features.missing_rows(len(pins))
    expected = features.compute(rows, candidates, {"recent_pins": recent()}, now_ms=NOW_MS)
    leaf = LeafProcess("scorpion", config, build, segment=None, registry=CollectorRegistry())
    channels = Channels(ChannelConfig(timeout_ms=30_000), ClientMetrics(CollectorRegistry()))
    try:
        leaf.start()
        scores = unpack_f32(channels.call(listen, SCORE, scorpion_pb2.ScoreRequest(**request)).scores_f32)
        explained = channels.call(
            listen, EXPLAIN, scorpion_pb2.ExplainRequest(request=scorpion_pb2.ScoreRequest(**request))
        )
    finally:
        channels.close()
        leaf.stop()
    assert unpack_f32(explained.values_f32).tobytes() == expected.matrix.tobytes()
    assert unpack_u8(explained.defaulted_u8).tobytes() == expected.missing.tobytes()
    assert explained.features[0].origin == "factors.saves v1"
    raw = np.asarray(lgb.Booster(model_str=model.text).predict(expected.matrix, raw_score=True))
    assert scores.tobytes() == pack_f32(raw.astype(np.float32))


def test_scorpion_does_not_start_without_factors_that_its_list_names(tmp_path: Path) -> None:
    (tmp_path / "features.toml").write_text(LIST)
    config = ScorpionConfig(
        process=ProcessConfig(listen="127.0.0.1:0", data_dir=tmp_path / "data"),
        features_path=tmp_path / "features.toml",
        factors_dir=tmp_path / "factors",
    )
    leaf = LeafProcess("scorpion", config, build, segment=None, registry=CollectorRegistry())
    with pytest.raises(ConfigFaults, match="feedmesh factors build"):
        leaf.start()
    leaf.stop()
