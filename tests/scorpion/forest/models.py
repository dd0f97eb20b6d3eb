"""Small LightGBM models of every kind, trained in the test from a seed, and rows that are hard on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

ROWS = 400
FEATURES = 6
ODD = (np.nan, 0.0, -0.0, 1e-35, -1e-35, 2e-35, 1e-40, np.inf, -np.inf, 3e38, -1.0, -0.5, 0.5, 1e9)


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    options: dict[str, Any]
    trees: int = 12
    nan_share: float = 0.0
    zero_share: float = 0.0
    categories: int = 0
    """Of the first feature; 0: it is a number."""
    classes: int = 0
    rows: int = ROWS
    fields: dict[str, Any] = field(default_factory=dict)


RECIPES = {
    "binary": Recipe({"objective": "binary"}),
    "regression": Recipe({"objective": "regression"}),
    "regression of roots": Recipe({"objective": "regression", "reg_sqrt": True}),
    "poisson": Recipe({"objective": "poisson"}),
    "tweedie": Recipe({"objective": "tweedie"}),
    "gamma": Recipe({"objective": "gamma"}),
    "cross entropy": Recipe({"objective": "cross_entropy"}),
    "cross entropy lambda": Recipe({"objective": "cross_entropy_lambda"}),
    "quantile": Recipe({"objective": "quantile", "alpha": 0.7}),
    "huber": Recipe({"objective": "huber"}),
    "lambdarank": Recipe({"objective": "lambdarank"}),
    "xendcg": Recipe({"objective": "rank_xendcg"}),
    "multiclass": Recipe({"objective": "multiclass", "num_class": 3}, classes=3),
    "one against all": Recipe({"objective": "multiclassova", "num_class": 4, "sigmoid": 0.7}, classes=4),
    "random forest": Recipe(
        {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
    ),
    "random forest of classes": Recipe(
        {
            "objective": "multiclass",
            "num_class": 3,
            "boosting": "rf",
            "bagging_freq": 1,
            "bagging_fraction": 0.6,
        },
        classes=3,
    ),
    "dart": Recipe({"objective": "binary", "boosting": "dart", "drop_rate": 0.5}),
    "missing values": Recipe({"objective": "binary"}, nan_share=0.2),
    "missing values are not used": Recipe({"objective": "binary", "use_missing": False}, nan_share=0.2),
    "zero is missing": Recipe(
        {"objective": "binary", "zero_as_missing": True}, nan_share=0.1, zero_share=0.3
    ),
    "many zeros": Recipe({"objective": "regression"}, zero_share=0.5),
    "categories": Recipe({"objective": "binary", "min_data_per_group": 2, "cat_smooth": 1}, categories=30),
    "categories with missing values": Recipe(
        {"objective": "binary", "min_data_per_group": 2, "cat_smooth": 1}, categories=12, nan_share=0.2
    ),
    "more categories than a byte holds": Recipe(
        {
            "objective": "regression",
            "min_data_per_group": 1,
            "min_data_in_leaf": 1,
            "cat_smooth": 0,
            "max_cat_threshold": 400,
            "max_bin": 1_000,
        },
        categories=700,
        rows=4_000,
    ),
    "one leaf": Recipe({"objective": "regression", "min_gain_to_split": 1e9}),
    "two leaves": Recipe({"objective": "binary", "num_leaves": 2}),
    "64 leaves": Recipe({"objective": "regression", "num_leaves": 64, "min_data_in_leaf": 1}),
    "255 leaves": Recipe({"objective": "regression", "num_leaves": 255, "min_data_in_leaf": 1}, rows=1_500),
    "700 leaves": Recipe(
        {"objective": "regression", "num_leaves": 700, "min_data_in_leaf": 1}, trees=4, rows=3_000
    ),
    "more thresholds than a byte holds": Recipe(
        {"objective": "regression", "num_leaves": 500, "min_data_in_leaf": 1, "max_bin": 5_000},
        trees=8,
        rows=3_000,
    ),
    "deep and narrow": Recipe(
        {"objective": "regression", "num_leaves": 60, "min_data_in_leaf": 1, "max_bin": 7}
    ),
}


def trained(recipe: Recipe, seed: int) -> lightgbm.Booster:
    """The model, the same for the same seed."""
    rng = np.random.default_rng(seed)
    rows = _rows(recipe, rng)
    known = np.nan_to_num(rows)
    signal = known[:, 1] * known[:, 2] + np.sin(3 * known[:, 3]) + 0.3 * (known[:, 0] % 3)
    signal = signal + rng.normal(0, 0.3, recipe.rows)
    objective = recipe.options["objective"]
    if recipe.classes:
        labels = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, recipe.classes + 1)[1:-1]))
    elif objective in ("binary", "lambdarank", "rank_xendcg"):
        labels = (signal > np.median(signal)).astype(int)
    elif objective.startswith("cross_entropy"):
        labels = 1 / (1 + np.exp(-signal))
    elif objective in ("poisson", "tweedie", "gamma"):
        labels = np.exp(np.clip(signal, -3, 3)) + 0.01
    else:
        labels = signal
    ranking = objective in ("lambdarank", "rank_xendcg")
    dataset = lightgbm.Dataset(
        rows,
        labels,
        group=np.full(recipe.rows // 20, 20) if ranking else None,
        categorical_feature=[0] if recipe.categories else [],
        params={"verbosity": -1, **recipe.options},
    )
    options = {
        "num_leaves": 31,
        "min_data_in_leaf": 3,
        "min_data_in_bin": 1,
        "verbosity": -1,
        "seed": seed,
        "num_threads": 1,
        "deterministic": True,
        **recipe.options,
    }
    return lightgbm.train(options, dataset, recipe.trees)


def hard_rows(booster: lightgbm.Booster, recipe: Recipe, seed: int, count: int = 600) -> NDArray[np.float32]:
    """Rows as those it was trained on, with values exactly on thresholds and beside them, and odd ones."""
    rng = np.random.default_rng(seed + 1)
    rows = _rows(recipe, rng)[rng.integers(0, recipe.rows, count)]
    by_feature = _thresholds(booster)
    odd = np.array(
        [np.nan, 0.0, -0.0, 1e-35, -1e-35, 2e-35, 1e-40, np.inf, -np.inf, 3e38, -1.0, 0.5], np.float32
    )
    for feature in range(FEATURES):
        on = by_feature.get(feature)
        if on is not None:
            picked = np.clip(on, -3e38, 3e38)[rng.integers(0, len(on), count)].astype(np.float32)
            away = rng.integers(-1, 2, count)
            picked = np.where(away < 0, np.nextafter(picked, np.float32(-np.inf)), picked)
            picked = np.where(away > 0, np.nextafter(picked, np.float32(np.inf)), picked)
            chosen = rng.random(count) < 0.4
            rows[chosen, feature] = picked[chosen]
        chosen = rng.random(count) < 0.1
        rows[chosen, feature] = rng.choice(odd, count)[chosen]
    return np.ascontiguousarray(rows, np.float32)


def _rows(recipe: Recipe, rng: np.random.Generator) -> NDArray[np.float32]:
    rows = rng.standard_normal((recipe.rows, FEATURES)).astype(np.float32)
    rows[:, 4] = rng.integers(0, 5, recipe.rows)
    rows[rng.random(rows.shape) < recipe.zero_share] = 0.0
    if recipe.categories:
        rows[:, 0] = rng.integers(0, recipe.categories, recipe.rows)
    rows[rng.random(rows.shape) < recipe.nan_share] = np.nan
    return rows


def _thresholds(booster: lightgbm.Booster) -> dict[int, NDArray[np.float64]]:
    found: dict[int, list[float]] = {}

    def walk(node: dict[str, Any]) -> None:
        if "split_index" not in node:
            return
        if node["decision_type"] == "<=":
            found.setdefault(node["split_feature"], []).append(node["threshold"])
        walk(node["left_child"])
        walk(node["right_child"])

    for tree in booster.dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return {feature: np.array(values) for feature, values in found.items()}
