"""Single decisions, by the table; and whole trees beside LightGBM."""

from __future__ import annotations

import numpy as np
import pytest

from services.scorpion.forest.decisions import Nodes, goes_left, leaf_of
from services.scorpion.forest.model_text import (
    CATEGORICAL,
    DEFAULT_LEFT,
    MISSING_NAN,
    MISSING_NONE,
    MISSING_ZERO,
    read_model,
)
from tests.scorpion.forest.models import RECIPES, hard_rows, trained

NAN, INFINITE = float("nan"), float("inf")


def _node(threshold: float, decision: int) -> Nodes:
    """One node. Sets of categories: {0, 31} in one word, {1, 40} in two, {} in none, {2} in one."""
    words = [1 | 1 << 31, 1 << 1, 1 << 8, 1 << 2]
    return Nodes(
        features=np.zeros(1, np.int32),
        thresholds=np.array([threshold]),
        decisions=np.array([decision], np.uint8),
        set_starts=np.array([0, 1, 3, 3, 4]),
        set_words=np.array(words, np.uint32),
    )


@pytest.mark.parametrize(
    ("value", "missing", "right_or_left"),
    [
        # With a threshold of 1, then of −1. L: left; r: right; d: by the node's default.
        (1.0, MISSING_NONE, "Lr"),
        (np.nextafter(1.0, 2.0), MISSING_NONE, "rr"),
        (-INFINITE, MISSING_NONE, "LL"),
        (INFINITE, MISSING_NONE, "rr"),
        (0.0, MISSING_NONE, "Lr"),
        (NAN, MISSING_NONE, "Lr"),
        (0.0, MISSING_NAN, "Lr"),
        (NAN, MISSING_NAN, "dd"),
        (NAN, MISSING_ZERO, "dd"),
        (0.0, MISSING_ZERO, "dd"),
        (-0.0, MISSING_ZERO, "dd"),
        (1e-36, MISSING_ZERO, "dd"),
        (-1e-36, MISSING_ZERO, "dd"),
        (float(np.float32(1e-35)), MISSING_ZERO, "dd"),
        (2e-35, MISSING_ZERO, "Lr"),
    ],
)
def test_numbers(value: float, missing: int, right_or_left: str) -> None:
    for threshold, way in zip((1.0, -1.0), right_or_left, strict=True):
        for default in (0, DEFAULT_LEFT):
            wanted = way == "L" or (way == "d" and default == DEFAULT_LEFT)
            assert bool(goes_left(value, 0, _node(threshold, missing << 2 | default))) is wanted


@pytest.mark.parametrize(
    ("threshold", "value", "wanted"),
    [
        (-1e-36, -1e-36, False),
        (-1e-36, -1.1e-36, False),
        (1e-36, 1.1e-36, True),
        (-float(np.float32(1e-35)), -float(np.float32(1e-35)), False),
        (-float(np.float32(1e-35)), -1.1e-35, True),
    ],
)
def test_what_is_almost_zero_is_zero_to_every_threshold(threshold: float, value: float, wanted: bool) -> None:
    assert bool(goes_left(value, 0, _node(threshold, MISSING_NONE << 2))) is wanted


@pytest.mark.parametrize(
    ("value", "sets"),
    [
        (0.0, {0}),
        (0.9, {0}),
        (-0.9, {0}),
        (-1.0, set()),
        (1.0, {1}),
        (2.0, {3}),
        (31.0, {0}),
        (32.0, set()),
        (33.0, set()),
        (40.0, {1}),
        (66.0, set()),
        (72.0, set()),
        (NAN, set()),
        (INFINITE, set()),
        (-INFINITE, set()),
        (2.0**31, set()),
        (2.0**32 + 1, set()),
        (3e38, set()),
    ],
)
def test_categories(value: float, sets: set[int]) -> None:
    for missing in (MISSING_NONE, MISSING_ZERO, MISSING_NAN):
        for default in (0, DEFAULT_LEFT):
            kind = CATEGORICAL | missing << 2 | default
            found = {members for members in range(4) if goes_left(value, 0, _node(float(members), kind))}
            assert found == sets


@pytest.mark.parametrize("name", RECIPES)
def test_rows_end_in_the_leaves_of_lightgbm(name: str) -> None:
    booster = trained(RECIPES[name], seed=7)
    rows = hard_rows(booster, RECIPES[name], seed=7, count=40)
    trees = read_model(booster.model_to_string()).trees
    wanted = np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1)).reshape(len(rows), -1)
    found = [[leaf_of(trees, tree, row) for tree in range(trees.count)] for row in rows]
    np.testing.assert_array_equal(found, wanted)
