"""How much two orders differ: by hand, and as scipy has it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from services.cli.replay.comparison import TOP, Compared, compared

# Ties are likely, and no score is so near another that a float could not tell.
pairs = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=1, max_size=14)


def of(first: list[float], second: list[float], *starts: int) -> Compared:
    ends = np.array(starts or (0, len(first)), np.int64)
    return compared(np.array(first, np.float64), np.array(second, np.float64), ends)


def test_the_same_scores_change_nothing() -> None:
    same = of([3, 2, 1, 5, 4], [3, 2, 1, 5, 4], 0, 3, 5)
    assert same.unchanged.tolist() == [True, True]
    assert same.means() == {
        "unchanged_order": 1.0,
        "kendall_tau_b": 1.0,
        "spearman": pytest.approx(1.0),
        f"top_{TOP}_overlap": 1.0,
        "score_difference": 0.0,
        "score_distance": 0.0,
    }
    assert same.most_changed(5) == []


def test_a_reversed_order_is_told_apart_from_shifted_scores() -> None:
    seen = of([3, 2, 1, 3, 2, 1], [1, 2, 3, 13, 12, 11], 0, 3, 6)
    assert seen.unchanged.tolist() == [False, True]
    assert seen.kendall.tolist() == [-1.0, 1.0]
    assert seen.spearman.tolist() == pytest.approx([-1.0, 1.0])
    assert seen.reversed_pairs.tolist() == [3, 0]
    assert seen.difference.tolist() == [0.0, -10.0]
    assert seen.distance.tolist() == pytest.approx([4 / 3, 10.0])


def test_overlap_is_of_the_first_ten() -> None:
    first = [float(20 - place) for place in range(20)]
    # The last three of twenty come first: seven of the first ten stay.
    second = [100.0 if place >= 17 else score for place, score in enumerate(first)]
    assert of(first, second).overlap.tolist() == [0.7]


def test_ties_stay_in_the_order_of_the_page() -> None:
    assert of([1, 1, 1], [3, 2, 1]).unchanged.tolist() == [True]
    assert of([1, 1, 1], [1, 2, 3]).unchanged.tolist() == [False]


def test_a_constant_score_has_no_correlation() -> None:
    seen = of([1, 1, 1], [1, 2, 3])
    assert np.isnan(seen.kendall).all()
    assert np.isnan(seen.spearman).all()
    assert seen.means()["kendall_tau_b"] is None


def test_a_request_of_one_pin_is_unchanged() -> None:
    seen = of([1], [9])
    assert seen.unchanged.tolist() == [True]
    assert seen.overlap.tolist() == [1.0]


def test_most_changed_names_long_pages_before_short_ones() -> None:
    seen = of([2, 1, 4, 3, 2, 1, 2, 1], [1, 2, 1, 2, 3, 4, 2, 1], 0, 2, 6, 8)
    assert seen.most_changed(10) == [1, 0]
    assert seen.most_changed(1) == [1]


@settings(deadline=None)
@given(requests=st.lists(pairs, min_size=1, max_size=4))
def test_correlations_are_those_of_scipy(requests: list[list[tuple[int, int]]]) -> None:
    first, second = (
        np.array([pair[side] for one in requests for pair in one], np.float64) for side in (0, 1)
    )
    starts = np.cumsum([0, *(len(one) for one in requests)])
    seen = compared(first, second, starts.astype(np.int64))
    for place, (begin, end) in enumerate(pairwise(starts)):
        a, b = first[begin:end], second[begin:end]
        if constant(a) or constant(b):
            assert np.isnan(seen.kendall[place]) and np.isnan(seen.spearman[place])
            continue
        assert seen.kendall[place] == pytest.approx(stats.kendalltau(a, b).statistic)
        assert seen.spearman[place] == pytest.approx(stats.spearmanr(a, b).statistic)


def constant(values: NDArray[np.float64]) -> bool:
    return bool((values == values[0]).all())
