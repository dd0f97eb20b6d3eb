"""A bad model is refused with its reason, and the old one keeps serving."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
import structlog

from services.chassis.errors import BadRequest, NotFound
from services.chassis.watched_folder import WatchedFolder
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import FeatureList
from services.scorpion.forest import Forest
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.model_files import Sample, promote, write_model
from services.scorpion.models import ModelDirectory, ModelRefused, NoModel, UnknownModel, load_model
from tests.scorpion.synthetic import Trained

LOG = structlog.get_logger()


def write(directory: Path, trained: Trained, name: str = "v1") -> Path:
    return write_model(directory, name, trained.model.text, trained.model.card, trained.model.sample)


def opened(
    directory: Path, features: FeatureList, metrics: ScorpionMetrics, *, models_max: int = 8
) -> ModelDirectory:
    models = ModelDirectory(directory, features, models_max=models_max, metrics=metrics, log=LOG)
    models.reload()
    return models


def edit_card(folder: Path, **changes: Any) -> None:
    path = folder / "card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_written_and_promoted_model_scores_as_lightgbm_does(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics
) -> None:
    write(tmp_path, trained)
    promote(tmp_path, "v1")
    model = opened(tmp_path, trained.features, metrics).current().named("")
    raw = lgb.Booster(model_str=trained.model.text).predict(trained.data.matrix, raw_score=True)
    got = model.score(trained.data.matrix)
    assert got.dtype == np.float32
    assert np.array_equal(got, np.asarray(raw).astype(np.float32))
    assert model.score(trained.data.matrix[:0]).size == 0


def test_model_of_fewer_features_in_another_order_reads_its_own_columns(
    tmp_path: Path, trained: Trained
) -> None:
    names = ("light_score", "quality", "saves")
    columns = [trained.features.names.index(name) for name in names]
    matrix = np.ascontiguousarray(trained.data.matrix[:, columns])
    dataset = lgb.Dataset(matrix, label=trained.data.labels, feature_name=list(names))
    booster = lgb.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, dataset, 5)
    raw = np.asarray(booster.predict(matrix, raw_score=True))
    folder = write_model(tmp_path, "small", booster.model_to_string(), {}, Sample(matrix[:9], raw[:9]))
    model = load_model(folder, trained.features)
    assert np.array_equal(model.score(trained.data.matrix), raw.astype(np.float32))


def _truncate(folder: Path) -> None:
    text = (folder / "model.txt").read_text()
    (folder / "model.txt").write_text(text[: len(text) // 2])
    edit_card(folder, sha256="")
    card = json.loads((folder / "card.json").read_text())
    del card["sha256"]
    (folder / "card.json").write_text(json.dumps(card))


def _cut_the_end(folder: Path) -> None:
    text = (folder / "model.txt").read_text()
    (folder / "model.txt").write_text(text[: text.index("end of trees")])
    card = json.loads((folder / "card.json").read_text())
    del card["sha256"]
    (folder / "card.json").write_text(json.dumps(card))


def _nan_leaf(folder: Path) -> None:
    lines = (folder / "model.txt").read_text().splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("leaf_value="))
    lines[place] = "leaf_value=nan " + lines[place].split(" ", 1)[1]
    (folder / "model.txt").write_text("\n".join(lines) + "\n")
    card = json.loads((folder / "card.json").read_text())
    del card["sha256"]
    (folder / "card.json").write_text(json.dumps(card))


def _other_scores(folder: Path) -> None:
    with np.load(folder / "sample.npz") as arrays:
        rows, raw = arrays["rows"], arrays["raw"].copy()
    raw[3] += 1e-5
    np.savez(folder / "sample.npz", rows=rows, raw=raw)


def _nan_scores(folder: Path) -> None:
    with np.load(folder / "sample.npz") as arrays:
        rows, raw = arrays["rows"], arrays["raw"].copy()
    raw[:] = np.nan
    np.savez(folder / "sample.npz", rows=rows, raw=raw)


def _narrow_sample(folder: Path) -> None:
    with np.load(folder / "sample.npz") as arrays:
        rows, raw = arrays["rows"], arrays["raw"]
    np.savez(folder / "sample.npz", rows=rows[:, 1:], raw=raw)


def _cut_sample(folder: Path) -> None:
    (folder / "sample.npz").write_bytes((folder / "sample.npz").read_bytes()[:100])


def _other_text(folder: Path) -> None:
    with (folder / "model.txt").open("a") as file:
        file.write("\n")


FAULTS = [
    pytest.param(_truncate, "cut off", id="half a model"),
    pytest.param(_cut_the_end, "cut off", id="model without its end"),
    pytest.param(_nan_leaf, "NaN or infinite", id="leaf of NaN"),
    pytest.param(lambda folder: (folder / "model.txt").write_text(""), "not the text", id="empty model"),
    pytest.param(_other_text, "not the text", id="another text than the card's"),
    pytest.param(_other_scores, "off by", id="sample with another score"),
    pytest.param(_nan_scores, "off by", id="sample of NaN"),
    pytest.param(_narrow_sample, "shape", id="sample of fewer features"),
    pytest.param(_cut_sample, "cannot be read", id="cut-off sample"),
    pytest.param(lambda folder: (folder / "sample.npz").unlink(), "cannot be read", id="no sample"),
    pytest.param(lambda folder: (folder / "card.json").write_text("[]"), "JSON object", id="card of a list"),
    pytest.param(
        lambda folder: edit_card(folder, feature_digests={"quality": "0"}), "quality meant", id="old feature"
    ),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS)
def test_spoilt_model_is_refused_and_what_was_loaded_keeps_serving(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics, spoil: Callable[[Path], None], reason: str
) -> None:
    write(tmp_path, trained)
    promote(tmp_path, "v1")
    models = opened(tmp_path, trained.features, metrics)
    good = models.current().named("")

    bad = write(tmp_path, trained, "v2")
    spoil(bad)
    with pytest.raises(ModelRefused, match=reason):
        load_model(bad, trained.features)
    promote(tmp_path, "v2")
    models.reload()
    assert models.current().named("") is good
    assert set(models.current().models) == {"v1"}
    assert metrics.model_refusals._value.get() == 1
    models.reload()
    assert metrics.model_refusals._value.get() == 1

    spoil(tmp_path / "v1")
    models.reload()
    assert models.current().named("v1") is good


def test_model_with_features_that_the_list_lacks_is_refused_with_their_names(
    tmp_path: Path, trained: Trained
) -> None:
    text = '[[feature]]\nname = "quality"\nsource = "pin.quality"\ndefault = 0.5\n'
    folder = write(tmp_path, trained)
    with pytest.raises(ModelRefused, match="lacks description_chars, interest_count, impressions"):
        load_model(folder, parse_feature_list(text))


def test_model_of_several_classes_is_refused(tmp_path: Path, trained: Trained) -> None:
    labels = np.arange(trained.data.labels.size) % 3
    dataset = lgb.Dataset(trained.data.matrix, label=labels, feature_name=list(trained.features.names))
    parameters = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    text = lgb.train(parameters, dataset, 2).model_to_string()
    folder = write_model(tmp_path, "three", text, {}, trained.model.sample)
    with pytest.raises(ModelRefused, match="3 scores a row"):
        load_model(folder, trained.features)


def test_request_names_a_model_or_gets_the_serving_one(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics
) -> None:
    write(tmp_path, trained)
    models = opened(tmp_path, trained.features, metrics)
    with pytest.raises(NoModel, match="feedmesh train"):
        models.current().named("")
    assert models.current().named("v1").name == "v1"
    with pytest.raises(UnknownModel, match="loaded: v1"):
        models.current().named("v2")
    promote(tmp_path, "v1")
    models.reload()
    assert models.current().named("").name == "v1"


def test_serving_model_outlives_its_folder_until_another_is_promoted(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics
) -> None:
    write(tmp_path, trained)
    promote(tmp_path, "v1")
    models = opened(tmp_path, trained.features, metrics)
    shutil.rmtree(tmp_path / "v1")
    models.reload()
    assert models.current().named("").name == "v1"
    write(tmp_path, trained, "v2")
    promote(tmp_path, "v2")
    models.reload()
    assert models.current().named("").name == "v2"


def test_pointer_taken_away_stops_serving(tmp_path: Path, trained: Trained, metrics: ScorpionMetrics) -> None:
    write(tmp_path, trained)
    promote(tmp_path, "v1")
    models = opened(tmp_path, trained.features, metrics)
    (tmp_path / "serving").unlink()
    models.reload()
    with pytest.raises(NoModel):
        models.current().named("")


def test_only_the_last_models_and_the_serving_one_are_kept(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics
) -> None:
    for name in ("v1", "v2", "v3", "v4"):
        write(tmp_path, trained, name)
    promote(tmp_path, "v1")
    models = opened(tmp_path, trained.features, metrics, models_max=2)
    assert set(models.current().models) == {"v1", "v4"}


def test_missing_directory_is_an_empty_one(
    tmp_path: Path, features: FeatureList, metrics: ScorpionMetrics
) -> None:
    assert opened(tmp_path / "none", features, metrics).current().models == {}


def test_swaps_under_load_drop_no_request(tmp_path: Path, trained: Trained, metrics: ScorpionMetrics) -> None:
    write(tmp_path, trained, "v1")
    write(tmp_path, trained, "v2")
    promote(tmp_path, "v1")
    models = opened(tmp_path, trained.features, metrics)
    expected = models.current().named("v1").score(trained.data.matrix[:50])
    done, faults, seen = threading.Event(), [], set()

    def ask() -> None:
        while not done.is_set():
            model = models.current().named("")
            seen.add(model.name)
            if not np.array_equal(model.score(trained.data.matrix[:50]), expected):
                faults.append(model.name)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for turn in range(20):
        promote(tmp_path, f"v{turn % 2 + 1}")
        models.reload()
    done.set()
    for asker in askers:
        asker.join()
    assert faults == []
    assert seen == {"v1", "v2"}
    assert metrics.model_swaps._value.get() == 20


def test_watch_loads_a_model_that_is_promoted_while_serving(
    tmp_path: Path, trained: Trained, metrics: ScorpionMetrics
) -> None:
    swapped = threading.Event()

    class Log:
        def info(self, *_: object, **__: object) -> None: ...

        def error(self, *_: object, **__: object) -> None: ...

        def warning(self, _: str, *, model: str) -> None:
            swapped.set()

    models = ModelDirectory(tmp_path / "made", trained.features, models_max=8, metrics=metrics, log=Log())
    watch = WatchedFolder("models", models, scan_ms=200, within=True, log=Log())
    watch.start()
    try:
        write(tmp_path / "made", trained)
        promote(tmp_path / "made", "v1")
        assert swapped.wait(30)
    finally:
        watch.stop()
    assert models.current().named("").name == "v1"


def test_name_that_is_taken_or_unsafe_is_refused(tmp_path: Path, trained: Trained) -> None:
    write(tmp_path, trained)
    for name in ("v1", "../v2", ".v2", "serving", "", "a b"):
        with pytest.raises(BadRequest):
            write(tmp_path, trained, name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v1"]


def test_model_that_is_not_there_is_not_promoted(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        promote(tmp_path, "v1")
    assert list(tmp_path.iterdir()) == []


def test_forest_scores_from_many_threads_as_from_one(trained: Trained) -> None:
    forest = Forest(trained.model.text)
    expected = forest.predict(trained.data.matrix)
    results: list[bool] = []

    def ask() -> None:
        results.extend(np.array_equal(forest.predict(trained.data.matrix), expected) for _ in range(10))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert results == [True] * 40
