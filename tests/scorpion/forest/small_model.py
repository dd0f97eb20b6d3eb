"""A small model's text to change, and what every text that is accepted must hold."""

from __future__ import annotations

from functools import cache

import lightgbm
import numpy as np

from services.scorpion.forest.model_text import CATEGORICAL, ModelText
from tests.scorpion.forest.models import Recipe, trained

SMALL = Recipe(
    {
        "objective": "regression",
        "num_leaves": 5,
        "min_data_per_group": 1,
        "min_data_in_leaf": 1,
        "cat_smooth": 0,
        "cat_l2": 0,
        "max_cat_to_onehot": 1,
        "max_cat_threshold": 60,
    },
    trees=3,
    nan_share=0.05,
    categories=60,
)
HUGE = "9" * 5_000
"""More digits than Python reads as a number."""


@cache
def small_booster() -> lightgbm.Booster:
    return trained(SMALL, seed=8)


@cache
def small_text() -> str:
    """Three trees of five leaves, with sets of categories in each. Without what follows the trees."""
    text = small_booster().model_to_string()
    return text[: text.index("end of trees") + len("end of trees\n")]


def check_sound(model: ModelText) -> None:
    """What scoring without bounds checks takes for granted."""
    trees = model.trees
    nodes, leaves = int(trees.node_starts[-1]), int(trees.leaf_starts[-1])
    assert trees.node_starts[0] == trees.leaf_starts[0] == 0
    np.testing.assert_array_equal(np.diff(trees.leaf_starts), np.diff(trees.node_starts) + 1)
    by_node = (
        trees.features,
        trees.thresholds,
        trees.decisions,
        trees.lefts,
        trees.rights,
        trees.node_counts,
    )
    assert {len(values) for values in by_node} == {nodes}
    assert len(trees.leaf_values) == len(trees.leaf_counts) == leaves
    assert np.isfinite(trees.leaf_values).all()
    assert not np.isnan(trees.thresholds).any()
    assert ((trees.features >= 0) & (trees.features < len(model.feature_names))).all()
    assert trees.count % model.class_count == 0
    assert (trees.decisions < 12).all()
    assert trees.set_starts[0] == 0
    assert trees.set_starts[-1] == len(trees.set_words)
    assert (trees.set_starts[1:] >= trees.set_starts[:-1]).all()
    sets = trees.thresholds[(trees.decisions & CATEGORICAL) != 0]
    assert np.isin(sets, np.arange(len(trees.set_starts) - 1)).all()
    for tree in range(trees.count):
        start, end = int(trees.node_starts[tree]), int(trees.node_starts[tree + 1])
        children = [*trees.lefts[start:end].tolist(), *trees.rights[start:end].tolist()]
        assert sorted(children) == [n for n in range(start - end - 1, end - start) if n] or start == end
        # Each once, and all under the root, or there would be a loop beside it.
        met, waiting = 0, [0] if end > start else []
        while waiting:
            met += 1
            node = start + waiting.pop()
            waiting += [child for child in (int(trees.lefts[node]), int(trees.rights[node])) if child >= 0]
        assert met == end - start
