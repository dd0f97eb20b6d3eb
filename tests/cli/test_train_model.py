"""A model serves only when it ranks better than what there is, and its card says what it was made of."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from services.chassis.errors import BadRequest
from services.cli.train.material import Material, replayed_material
from services.cli.train.replay import Replayed
from services.cli.train.report import as_document, print_outcome
from services.cli.train.trained import Outcome, check_name, train_model
from services.scorpion.feature_file import parse_feature_list, with_factors
from services.scorpion.model_files import read_serving
from services.scorpion.training import TrainingData, TrainingOptions
from tests.scorpion.factors.small import learned, write_version

FEATURES = parse_feature_list(
    """
    [[feature]]
    name = "taste"
    source = "pin.taste"
    [[feature]]
    name = "chance"
    source = "pin.chance"
    """
)
DAY_MS = 86_400_000
SESSIONS, SIZE = 240, 8
T0 = 1_790_000_000_000


def rows(*, days: float = 4.0, light: str = "chance", first_ms: int = T0) -> Material:
    """Sessions in which the pins that fit the taste are engaged with."""
    rng = np.random.default_rng(5)
    count = SESSIONS * SIZE
    taste, chance = rng.random(count).astype(np.float32), rng.random(count).astype(np.float32)
    labels = (rng.random(count) < taste**3).astype(np.float32)
    times = first_ms + np.repeat((np.arange(SESSIONS) * days * DAY_MS / SESSIONS).astype(np.int64), SIZE)
    data = TrainingData(
        matrix=np.stack([taste, chance], axis=1),
        labels=labels,
        sessions=np.repeat(np.arange(SESSIONS, dtype=np.int64), SIZE),
        times_ms=times,
        saved_ms=times - (chance * DAY_MS).astype(np.int64),
        light_scores=labels if light == "truth" else chance,
    )
    return replayed_material(Replayed(data, shown_count=count, session_count=SESSIONS), window_ms=DAY_MS)


def trained(
    models: Path, material: Material, *, name: str, may_promote: bool = True, force: str = ""
) -> Outcome:
    options = TrainingOptions(holdout_days=1.0, tree_count=10, leaves=7, threads=1)
    return train_model(FEATURES, material, models, options, name=name, may_promote=may_promote, force=force)


def test_a_model_that_ranks_better_is_promoted(tmp_path: Path) -> None:
    outcome = trained(tmp_path, rows(), name="a")
    assert not outcome.kept_back
    assert read_serving(tmp_path) == "a"
    assert outcome.card["metrics"]["model"]["auc"] > 0.7


def test_a_model_that_light_score_beats_is_written_and_kept_back(tmp_path: Path) -> None:
    outcome = trained(tmp_path, rows(light="truth"), name="a")
    assert "light score" in outcome.kept_back
    assert read_serving(tmp_path) == ""
    assert (outcome.folder / "model.txt").exists()


def test_a_model_stays_unpromoted_when_asked_to(tmp_path: Path) -> None:
    assert trained(tmp_path, rows(), name="a", may_promote=False).kept_back
    assert read_serving(tmp_path) == ""


def test_the_serving_model_is_compared_on_days_it_has_not_seen(tmp_path: Path) -> None:
    trained(tmp_path, rows(), name="a")
    again = trained(tmp_path, rows(first_ms=T0 + 10 * DAY_MS), name="b")
    assert again.serving_name == "a"
    assert again.serving_ndcg == pytest.approx(again.card["metrics"]["model"]["ndcg_at_10"], abs=0.05)


def test_the_serving_model_is_not_compared_on_days_it_was_trained_on(tmp_path: Path) -> None:
    trained(tmp_path, rows(first_ms=T0 + 2 * DAY_MS), name="a")
    assert trained(tmp_path, rows(), name="b").serving_ndcg is None


def test_too_few_days_say_that_more_are_needed(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="more days of impressions"):
        trained(tmp_path, rows(days=0.5), name="a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "serving", "../elsewhere", ".hidden", "a" * 65])
def test_a_name_that_is_no_folder_of_a_model_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be a model's name"):
        check_name(tmp_path, name)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(BadRequest, match="another --name"):
        check_name(tmp_path, "a")


def test_a_reason_promotes_a_model_that_was_refused_and_stands_in_its_card(tmp_path: Path) -> None:
    outcome = trained(tmp_path, rows(light="truth"), name="a", force="the light score is broken")
    assert not outcome.kept_back
    assert read_serving(tmp_path) == "a"
    card = json.loads((outcome.folder / "card.json").read_text())
    assert card["verdict"]["forced"] == "the light score is broken"
    assert "light score" in card["verdict"]["refused"]


def test_a_reason_is_not_noted_where_none_was_needed(tmp_path: Path) -> None:
    assert trained(tmp_path, rows(), name="a", force="just in case").card["verdict"]["forced"] == ""


def test_a_model_that_is_clearly_worse_than_the_serving_one_is_kept_back(tmp_path: Path) -> None:
    trained(tmp_path, rows(), name="a")
    # Taught upside down, and judged by what people really do.
    worse = rows(first_ms=T0 + 10 * DAY_MS)
    labels = worse.data.labels.copy()
    before = worse.data.times_ms < worse.data.times_ms.max() - DAY_MS
    labels[before] = (worse.data.matrix[before, 1] > 0.8).astype(np.float32)
    nothing, never = np.zeros_like(labels), np.zeros_like(worse.data.saved_ms)
    worse = replace(worse, data=replace(worse.data, labels=labels, light_scores=nothing, saved_ms=never))
    outcome = trained(tmp_path, worse, name="b")
    difference = outcome.card["metrics"]["serving"]["model_minus"]
    assert difference["interval"][1] < 0
    assert outcome.card["verdict"]["against"] in {"serving", "light_score", "newest"}
    assert read_serving(tmp_path) == "a"


def test_the_card_says_what_the_model_was_made_of(tmp_path: Path) -> None:
    trained(tmp_path, rows(), name="a")
    card = trained(tmp_path, rows(first_ms=T0 + 10 * DAY_MS), name="b").card
    assert (card["parent"], card["origin"], card["objective"]) == ("a", "log", "binary")
    assert card["window_hours"] == 24.0
    taste = card["by_feature"]["taste"]
    assert next(iter(card["by_feature"])) == "taste"
    assert taste["digest"] == FEATURES.digests["taste"]
    assert taste["splits"] > 0
    assert taste["quantiles"]["0.5"] == pytest.approx(0.5, abs=0.05)
    assert sum(told["gain_share"] for told in card["by_feature"].values()) == pytest.approx(1.0, abs=1e-5)
    assert card["labels"]["holdout"]["engaged"] == pytest.approx(
        card["holdout"]["positives"] / card["holdout"]["rows"], abs=1e-5
    )
    low, high = card["metrics"]["model"]["interval"]
    assert low < card["metrics"]["model"]["ndcg_at_10"] < high


def test_the_outcome_is_shown_within_a_hundred_columns(tmp_path: Path) -> None:
    trained(tmp_path, rows(), name="20261128-153024")
    outcome = trained(tmp_path, rows(first_ms=T0 + 10 * DAY_MS), name="20261129-153024")
    text = io.StringIO()
    print_outcome(Console(file=text, width=100), outcome)
    # The last line holds a path, which is not folded.
    lines = text.getvalue().splitlines()[:-1]
    assert any(line.startswith("20261128-153024") for line in lines)
    assert not [line for line in lines if "…" in line or len(line) > 100]


@pytest.mark.parametrize(
    ("until_ms", "knowing"),
    [(T0 + 3 * DAY_MS - 1, []), (T0 + 4 * DAY_MS, ["near"])],
    ids=["before", "within"],
)
def test_a_feature_that_may_know_the_answers_of_the_judged_days_is_named(
    tmp_path: Path, until_ms: int, knowing: list[str]
) -> None:
    write_version(tmp_path / "factors", replace(learned([1, 2, 3]), until_ms=until_ms))
    declared = parse_feature_list(
        '[[feature]]\nname = "near"\nsource = "factors.saves"\nversion = "v1"\nsignal = "recent_pins"\n'
        '[[feature]]\nname = "visits"\nsource = "candidate.visits"\n'
    )
    features = with_factors(declared, tmp_path / "factors")
    options = TrainingOptions(holdout_days=1.0, tree_count=10, leaves=7, threads=1)
    outcome = train_model(features, rows(), tmp_path / "models", options, name="a", may_promote=True)
    assert outcome.card["knowing_features"] == knowing
    assert outcome.card["unknown_features"] == ["visits"]
    assert as_document(outcome)["knowing_features"] == knowing
    text = io.StringIO()
    print_outcome(Console(file=text, width=100), outcome)
    assert ("near may know the answers" in text.getvalue()) == bool(knowing)
