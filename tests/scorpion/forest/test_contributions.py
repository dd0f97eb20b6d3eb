"""Contributions beside LightGBM's own, beside the definition by subsets, and beside exact fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import factorial, prod

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.scorpion.forest.contribution_kernels import LANES
from services.scorpion.forest.contributions import WIDTH_MAX, Contributions, NoCounts
from services.scorpion.forest.decisions import goes_left, leaf_of, nodes_of
from services.scorpion.forest.model_text import ModelText, Trees, read_model
from tests.scorpion.forest.models import FEATURES, RECIPES, Recipe, hard_rows, trained

ODD = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-35, -1e-35, 5e-324, -0.5, -1.0, -7.0, 1e9, 3e38)


@cache
def _booster(name: str) -> lightgbm.Booster:
    return trained(RECIPES[name], seed=3)


def _model(booster: lightgbm.Booster) -> ModelText:
    return read_model(booster.model_to_string())


def _raw(booster: lightgbm.Booster, rows: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1)).reshape(len(rows), -1)


def _check(booster: lightgbm.Booster, rows: np.ndarray) -> None:
    """Of LightGBM's values to 1e-6 of the largest of them, and in sum the raw score to 1e-9."""
    wanted = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1))
    found = Contributions(_model(booster)).of(rows)
    raw = _raw(booster, rows)
    assert found.shape == (len(rows), raw.shape[1], booster.num_feature() + 1)
    scale = max(1e-3, float(np.abs(wanted).max()))
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(found.sum(axis=2), raw, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("name", RECIPES)
def test_contributions_are_those_of_lightgbm(name: str) -> None:
    booster = _booster(name)
    _check(booster, hard_rows(booster, RECIPES[name], seed=3, count=90))


@pytest.mark.parametrize(
    "name",
    ["missing values", "missing values are not used", "zero is missing", "categories with missing values"],
)
def test_doubles_on_thresholds_and_odd_ones(name: str) -> None:
    booster = _booster(name)
    rng = np.random.default_rng(4)
    rows = hard_rows(booster, RECIPES[name], seed=4, count=150).astype(np.float64)
    trees = _model(booster).trees
    numeric = trees.decisions & 1 == 0
    for feature in range(FEATURES):
        on = trees.thresholds[numeric & (trees.features == feature)]
        for place in range(min(len(on), 100)):
            rows[place, feature] = np.nextafter(on[place], rng.choice([-np.inf, on[place], np.inf]))
        rows[100 : 100 + len(ODD), feature] = rng.permutation(ODD)
    _check(booster, rows)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    options = {
        "objective": draw(st.sampled_from(["regression", "binary", "lambdarank"])),
        "num_leaves": draw(st.integers(2, 60)),
        "max_bin": draw(st.integers(3, 255)),
        "min_data_in_leaf": draw(st.integers(1, 20)),
        "min_data_per_group": 2,
        "cat_smooth": 0.5,
        "zero_as_missing": draw(st.booleans()),
        "use_missing": draw(st.booleans()),
    }
    return Recipe(
        options,
        trees=draw(st.integers(1, 6)),
        nan_share=draw(st.sampled_from([0.0, 0.1, 0.6])),
        zero_share=draw(st.sampled_from([0.0, 0.4])),
        categories=draw(st.sampled_from([0, 0, 5, 70])),
        rows=draw(st.sampled_from([20, 200])),
    )


@settings(max_examples=30, deadline=None)
@given(recipe=recipes(), seed=st.integers(0, 1 << 30))
def test_random_models_agree_with_lightgbm(recipe: Recipe, seed: int) -> None:
    booster = trained(recipe, seed)
    _check(booster, hard_rows(booster, recipe, seed, count=40))


def test_deep_trees_of_many_features_agree_with_lightgbm() -> None:
    """36 tests of 14 features on the way to a leaf: values of long tails are split off one at a time."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((2_000, 40))
    labels = np.exp(3 * rows[:, :8]).sum(axis=1) * np.where(rows[:, 9] > 0, 1, rows[:, 10])
    options = {"objective": "regression", "num_leaves": 300, "min_data_in_leaf": 1, "verbosity": -1}
    booster = lightgbm.train({**options, "num_threads": 1}, lightgbm.Dataset(rows, labels), 5)
    rows[:50][rng.random((50, 40)) < 0.2] = np.nan
    _check(booster, rows[:50])


@pytest.mark.parametrize("name", ["regression", "zero is missing", "categories with missing values"])
def test_contributions_are_shapley_values_by_definition(name: str) -> None:
    booster = trained(RECIPES[name], seed=6)
    rows = hard_rows(booster, RECIPES[name], seed=6, count=3)
    model = _model(booster)
    found = Contributions(model).of(rows)
    for row, values in zip(rows, found[:, 0], strict=True):
        wanted = np.zeros(FEATURES + 1)
        for tree in range(4):
            wanted += _by_subsets(model.trees, tree, row)
        for tree in range(4, model.trees.count):
            wanted += Contributions(_only(model, tree)).of(row[None])[0, 0]
        np.testing.assert_allclose(values, wanted, rtol=1e-10, atol=1e-12)


def _by_subsets(trees: Trees, tree: int, row: np.ndarray) -> np.ndarray:
    """One tree's, from what each feature adds to each subset of the others."""
    nodes = nodes_of(trees)
    start, first_leaf = trees.node_starts[tree], trees.leaf_starts[tree]

    def value(place: int, known: frozenset[int]) -> float:
        if place < 0:
            return float(trees.leaf_values[first_leaf - place - 1])
        node = start + place
        sides = (int(trees.lefts[node]), int(trees.rights[node]))
        feature = int(trees.features[node])
        if feature in known:
            return value(sides[0 if goes_left(float(row[feature]), node, nodes) else 1], known)
        counts = [
            trees.leaf_counts[first_leaf - side - 1] if side < 0 else trees.node_counts[start + side]
            for side in sides
        ]
        return float(sum(c * value(side, known) for c, side in zip(counts, sides, strict=True)) / sum(counts))

    subsets = {
        frozenset(chosen): value(0, frozenset(chosen))
        for size in range(FEATURES + 1)
        for chosen in combinations(range(FEATURES), size)
    }
    adds = np.zeros(FEATURES + 1)
    adds[-1] = subsets[frozenset()]
    for feature in range(FEATURES):
        for known, without in subsets.items():
            if feature not in known:
                weight = factorial(len(known)) * factorial(FEATURES - len(known) - 1) / factorial(FEATURES)
                adds[feature] += weight * (subsets[known | {feature}] - without)
    return adds


def _only(model: ModelText, tree: int) -> ModelText:
    """The model of one of its trees."""
    trees = model.trees
    nodes = slice(trees.node_starts[tree], trees.node_starts[tree + 1])
    leaves = slice(trees.leaf_starts[tree], trees.leaf_starts[tree + 1])
    only = Trees(
        node_starts=np.array([0, nodes.stop - nodes.start]),
        leaf_starts=np.array([0, leaves.stop - leaves.start]),
        features=trees.features[nodes],
        thresholds=trees.thresholds[nodes],
        decisions=trees.decisions[nodes],
        lefts=trees.lefts[nodes],
        rights=trees.rights[nodes],
        node_counts=trees.node_counts[nodes],
        leaf_values=trees.leaf_values[leaves],
        leaf_counts=trees.leaf_counts[leaves],
        set_starts=trees.set_starts,
        set_words=trees.set_words,
    )
    return ModelText(only, model.feature_names, 1, model.objective, model.averaged)


def _chain(width: int, counts: Sequence[int], values: Sequence[float]) -> str:
    """A tree of one leaf at each of `width` tests, feature by feature: `counts` rows each, and `values`."""
    left = " ".join(str(-1 - node) for node in range(width))
    right = " ".join(str(node + 1) for node in range(width - 1))
    below = [sum(counts[node:]) for node in range(width)]
    return (
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx={width - 1}\n"
        f"feature_names={' '.join(f'f{number}' for number in range(width))}\ntree_sizes=1\n\n"
        f"Tree=0\nnum_leaves={width + 1}\nnum_cat=0\n"
        f"split_feature={' '.join(map(str, range(width)))}\nthreshold={' '.join(['0.5'] * width)}\n"
        f"decision_type={' '.join(['2'] * width)}\nleft_child={left}\nright_child={right} {-1 - width}\n"
        f"leaf_value={' '.join(map(repr, values))}\nleaf_count={' '.join(map(str, counts))}\n"
        f"internal_count={' '.join(map(str, below))}\nis_linear=0\nshrinkage=1\n\n\nend of trees\n"
    )


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1 << 30), width=st.integers(1, 45))
def test_long_ways_to_a_leaf_are_exact(seed: int, width: int) -> None:
    """Beside fractions: where algorithms that unwind their path lose digits."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 1_000, width + 1).tolist()
    values = rng.standard_normal(width + 1).tolist()
    row = rng.integers(0, 2, width) + 0.0
    wanted = [Fraction(0)] * width
    for leaf in range(width + 1):
        tests = list(range(min(leaf + 1, width)))
        below = [sum(counts[test:]) for test in tests]
        lefts = [test == leaf for test in tests]
        shares = [
            Fraction(counts[test] if left else total - counts[test], total)
            for test, left, total in zip(tests, lefts, below, strict=True)
        ]
        takes = [int((row[test] <= 0.5) == left) for test, left in zip(tests, lefts, strict=True)]
        for test, adds in enumerate(_of_product(shares, takes)):
            wanted[test] += adds * Fraction(values[leaf])
    found = Contributions(read_model(_chain(width, counts, values))).of(row[None])[0, 0]
    np.testing.assert_allclose(found[:-1], [float(value) for value in wanted], rtol=1e-9, atol=1e-13)


def _of_product(shares: list[Fraction], takes: list[int]) -> list[Fraction]:
    """Shapley values of the product of takes[i] for the known i and shares[i] for the others."""
    width = len(shares)
    taken = [place for place in range(width) if takes[place]]
    missed = prod((shares[place] for place in range(width) if not takes[place]), start=Fraction(1))

    def weighed(places: list[int]) -> Fraction:
        by_size = [Fraction(1)]
        for place in places:
            by_size = [
                (by_size[size] * shares[place] if size < len(by_size) else Fraction(0))
                + (by_size[size - 1] if size else Fraction(0))
                for size in range(len(by_size) + 1)
            ]
        return sum(
            (
                Fraction(factorial(size) * factorial(width - size - 1), factorial(width)) * by_size[size]
                for size in range(min(len(by_size), width))
            ),
            start=Fraction(0),
        )

    all_taken = weighed(taken) if len(taken) < width else Fraction(0)
    return [
        (1 - shares[place]) * missed * weighed([other for other in taken if other != place])
        if takes[place]
        else -missed * all_taken
        for place in range(width)
    ]


@pytest.mark.parametrize("count", [0, 1, 7, LANES - 1, LANES, LANES + 1, 2 * LANES + 9])
def test_a_row_is_explained_alike_among_any_number_of_rows(count: int) -> None:
    booster = _booster("random forest of classes")
    contributions = Contributions(_model(booster))
    rows = hard_rows(booster, RECIPES["random forest of classes"], seed=8)[:count]
    together = contributions.of(rows)
    assert together.shape == (count, 3, FEATURES + 1)
    for place in range(0, count, 13):
        alone = contributions.of(rows[place : place + 1])[0]
        np.testing.assert_allclose(together[place], alone, rtol=1e-12, atol=1e-13)


def test_the_expected_value_is_the_mean_over_training_rows() -> None:
    rng = np.random.default_rng(9)
    rows, labels = rng.standard_normal((300, 4)), rng.standard_normal(300)
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(rows, labels), 5)
    expected = Contributions(_model(booster)).expected_values
    np.testing.assert_allclose(expected, [_raw(booster, rows).mean()], rtol=1e-6, atol=1e-9)


def test_rows_of_another_shape_are_refused() -> None:
    contributions = Contributions(_model(_booster("binary")))
    with pytest.raises(CorruptValue, match="rows have 5 features, the model wants 6"):
        contributions.of(np.zeros((2, 5)))
    with pytest.raises(CorruptValue, match="rows have no features, the model wants 6"):
        contributions.of(np.zeros(6))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("internal_count=6 3", "", "tree 0 does not say"),
        ("leaf_count=3 2 1", "", "tree 0 does not say"),
        ("leaf_count=3 2 1", "leaf_count=3 0 1", "tree 0 does not say"),
        ("leaf_count=3 2 1", "leaf_count=3 -2 1", "tree 0 does not say"),
        ("leaf_count=3 2 1", "leaf_count=3 nan 1", "tree 0 does not say"),
        ("internal_count=6 3", "internal_count=1e300 3", "tree 0 does not say"),
        ("leaf_count=3 2 1", "leaf_count=3 4 1", "tree 0 has more training rows in a branch than above it"),
        (
            "internal_count=6 3",
            "internal_count=6 7",
            "tree 0 has more training rows in a branch than above it",
        ),
    ],
)
def test_a_model_without_sound_counts_is_refused(old: str, new: str, reason: str) -> None:
    text = _chain(2, [3, 2, 1], [0.1, 0.2, 0.3])
    Contributions(read_model(text))
    assert old in text
    with pytest.raises(NoCounts, match=reason):
        Contributions(read_model(text.replace(old, new)))


def test_the_longest_way_that_is_allowed_adds_up() -> None:
    rng = np.random.default_rng(10)
    values = rng.standard_normal(WIDTH_MAX + 1).tolist()
    model = read_model(_chain(WIDTH_MAX, rng.integers(1, 9, WIDTH_MAX + 1).tolist(), values))
    rows = (rng.random((8, WIDTH_MAX)) < 0.99) + 0.0
    raw = [values[leaf_of(model.trees, 0, row)] for row in rows]
    assert len(set(raw)) > 1
    np.testing.assert_allclose(Contributions(model).of(rows)[:, 0].sum(axis=1), raw, rtol=1e-9, atol=1e-12)


def test_trees_that_are_too_deep_to_explain_are_refused() -> None:
    width = WIDTH_MAX + 1
    model = read_model(_chain(width, [1] * (width + 1), [0.5] * (width + 1)))
    with pytest.raises(CorruptValue, match=f"{width} tests of up to {width} features"):
        Contributions(model)
