"""The forest beside LightGBM: every kind of model, on rows that are hard on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import CorruptValue
from services.scorpion.forest import Forest
from services.scorpion.forest.kernel import LANES
from tests.scorpion.forest.models import FEATURES, RECIPES, Recipe, hard_rows, trained

# Sums of the same doubles in the same order; only a random forest divides, which may round otherwise.
TOLERANCE = 1e-12


def _raw(booster: lightgbm.Booster, rows: np.ndarray) -> np.ndarray:
    return np.asarray(booster.predict(rows, raw_score=True, num_threads=1)).reshape(len(rows), -1)


@pytest.mark.parametrize("name", RECIPES)
def test_raw_scores_are_those_of_lightgbm(name: str) -> None:
    recipe = RECIPES[name]
    booster = trained(recipe, seed=3)
    rows = hard_rows(booster, recipe, seed=3)
    forest = Forest(booster.model_to_string())
    assert forest.tree_count == booster.num_trees()
    np.testing.assert_allclose(forest.raw(rows), _raw(booster, rows), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", RECIPES)
def test_outputs_are_those_of_lightgbm(name: str) -> None:
    recipe = RECIPES[name]
    booster = trained(recipe, seed=4)
    rows = hard_rows(booster, recipe, seed=4, count=50)
    forest = Forest(booster.model_to_string())
    wanted = np.asarray(booster.predict(rows, num_threads=1)).reshape(len(rows), -1)
    np.testing.assert_allclose(forest.output(forest.raw(rows)), wanted, rtol=1e-9, atol=1e-12)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    options = {
        "objective": "regression",
        "num_leaves": draw(st.integers(2, 90)),
        "max_bin": draw(st.integers(3, 600)),
        "min_data_in_leaf": 1,
        "min_data_per_group": 2,
        "cat_smooth": 0.5,
        "zero_as_missing": draw(st.booleans()),
        "use_missing": draw(st.booleans()),
    }
    return Recipe(
        options,
        trees=draw(st.integers(1, 9)),
        nan_share=draw(st.sampled_from([0.0, 0.1, 0.6])),
        zero_share=draw(st.sampled_from([0.0, 0.4])),
        categories=draw(st.sampled_from([0, 0, 5, 70])),
    )


@settings(max_examples=40, deadline=None)
@given(recipe=recipes(), seed=st.integers(0, 1 << 30))
def test_random_models_agree_with_lightgbm(recipe: Recipe, seed: int) -> None:
    booster = trained(recipe, seed)
    rows = hard_rows(booster, recipe, seed, count=200)
    forest = Forest(booster.model_to_string())
    np.testing.assert_allclose(forest.raw(rows), _raw(booster, rows), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("count", [0, 1, LANES - 1, LANES, LANES + 1, 3 * LANES])
def test_any_number_of_rows(count: int) -> None:
    recipe = RECIPES["binary"]
    booster = trained(recipe, seed=5)
    forest = Forest(booster.model_to_string())
    rows = hard_rows(booster, recipe, seed=5, count=3 * LANES)[:count]
    wanted = _raw(booster, rows)[:, 0] if count else np.empty(0)
    np.testing.assert_allclose(forest.predict(rows), wanted.astype(np.float32))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 30), data=st.data())
def test_parts_score_as_the_whole(seed: int, data: st.DataObject) -> None:
    recipe = RECIPES["categories with missing values"]
    booster = trained(recipe, seed=6)
    forest = Forest(booster.model_to_string())
    rows = hard_rows(booster, recipe, seed=6, count=300)
    order = data.draw(st.permutations(range(FEATURES)))
    cut = data.draw(st.integers(0, FEATURES))
    rng = np.random.default_rng(seed)
    blocks = forest.blocks(len(rows))
    for features in (order[:cut], order[cut:]):
        part = forest.part({feature: place for place, feature in enumerate(features)})
        # The rows of each part lie in an order of their own, as slots of a cache do.
        slots = rng.permutation(len(rows)).astype(np.int32)
        bins = np.empty((len(rows), part.width), np.int8)
        bins[slots] = part.bin(np.ascontiguousarray(rows[:, features]))
        part.scatter(bins, slots, blocks)
    np.testing.assert_array_equal(forest.score_blocks(blocks, len(rows)), forest.raw(rows))


def test_a_matrix_of_another_width_is_refused() -> None:
    forest = Forest(trained(RECIPES["binary"], seed=7).model_to_string())
    with pytest.raises(CorruptValue, match=r"5 features, the model wants 6"):
        forest.raw(np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("target", ["generic", "haswell"])
def test_other_vector_units_score_the_same(target: str, tmp_path: Path) -> None:
    """What numba compiles for a processor without AVX-512, or without AVX, gives the same bits."""
    recipe = RECIPES["64 leaves"]
    booster = trained(recipe, seed=8)
    rows = hard_rows(booster, recipe, seed=8)
    booster.save_model(tmp_path / "model.txt")
    np.save(tmp_path / "rows.npy", rows)
    program = (
        "import sys, numpy; from pathlib import Path; from services.scorpion.forest import Forest;"
        "folder = Path(sys.argv[1]); forest = Forest((folder / 'model.txt').read_text());"
        "numpy.save(folder / 'raw.npy', forest.raw(numpy.load(folder / 'rows.npy')))"
    )
    features = "+avx2" if target == "haswell" else ""
    if features and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": target,
        "NUMBA_CPU_FEATURES": features,
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True, timeout=120)
    np.testing.assert_array_equal(np.load(tmp_path / "raw.npy"), Forest(booster.model_to_string()).raw(rows))
