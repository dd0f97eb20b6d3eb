"""NDCG and AUC by hand, and blind to the order of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.scorpion.evaluation import auc, bootstrap_interval, ndcg_at, ndcg_by_session


def test_ndcg_of_one_session_by_hand() -> None:
    scores = np.array([3.0, 2.0, 1.0])
    labels = np.array([0, 1, 1], dtype=np.float32)
    sessions = np.zeros(3, dtype=np.int64)
    best = 1 + 1 / math.log2(3)
    assert ndcg_at(scores, labels, sessions, k=10, seed=0) == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(4)) / best
    )
    assert ndcg_at(scores, labels, sessions, k=2, seed=0) == pytest.approx(1 / math.log2(3) / best)


def test_sessions_without_a_positive_do_not_count() -> None:
    scores = np.array([1.0, 2.0, 5.0, 4.0])
    labels = np.array([1, 0, 0, 0], dtype=np.float32)
    assert ndcg_at(scores, labels, np.array([9, 9, 4, 4]), k=10, seed=0) == pytest.approx(1 / math.log2(3))
    assert math.isnan(ndcg_at(scores, np.zeros(4, np.float32), np.array([9, 9, 4, 4]), k=10, seed=0))


def test_constant_score_is_no_better_for_rows_that_come_engaged_first() -> None:
    sessions = np.repeat(np.arange(2_000), 10)
    first = np.tile(np.array([1] + [0] * 9, dtype=np.float32), 2_000)
    constant = np.zeros(first.size)
    expected = np.mean([1 / math.log2(rank + 2) for rank in range(10)])
    assert ndcg_at(constant, first, sessions, k=10, seed=5) == pytest.approx(expected, abs=0.02)


def test_rows_of_a_session_need_not_stand_together() -> None:
    draw = np.random.default_rng(2)
    scores, labels = draw.random(60), (draw.random(60) < 0.3).astype(np.float32)
    sessions = np.repeat(np.arange(6), 10)
    mixed = draw.permutation(60)
    assert ndcg_at(scores[mixed], labels[mixed], sessions[mixed], k=10, seed=0) == pytest.approx(
        ndcg_at(scores, labels, sessions, k=10, seed=0)
    )


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        pytest.param([1, 2, 3, 4], [0, 0, 1, 1], 1.0, id="perfect"),
        pytest.param([4, 3, 2, 1], [0, 0, 1, 1], 0.0, id="upside down"),
        pytest.param([1, 1, 1, 1], [1, 0, 1, 0], 0.5, id="ties are a half"),
        pytest.param([1, 3, 2, 2], [0, 1, 1, 0], 0.875, id="one tie of four pairs"),
    ],
)
def test_auc_by_hand(scores: list[float], labels: list[float], expected: float) -> None:
    got = auc(np.array(scores, dtype=np.float64), np.array(labels, dtype=np.float32))
    assert got == pytest.approx(expected)


def test_auc_of_one_kind_only_is_undefined() -> None:
    assert math.isnan(auc(np.array([1.0, 2.0]), np.array([1, 1], dtype=np.float32)))


def test_ndcg_by_session_is_aligned_and_unknown_without_a_positive() -> None:
    scores = np.array([1.0, 2.0, 5.0, 4.0])
    labels = np.array([1, 0, 0, 0], dtype=np.float32)
    by_session = ndcg_by_session(scores, labels, np.array([9, 9, 4, 4]), k=10, seed=0)
    assert math.isnan(by_session[0])
    assert by_session[1] == pytest.approx(1 / math.log2(3))


def test_higher_grades_weigh_more() -> None:
    labels, sessions = np.array([3, 1], dtype=np.float32), np.zeros(2, dtype=np.int64)
    best = 3 + 1 / math.log2(3)
    assert ndcg_at(np.array([2.0, 1.0]), labels, sessions, k=10, seed=0) == pytest.approx(1.0)
    assert ndcg_at(np.array([1.0, 2.0]), labels, sessions, k=10, seed=0) == pytest.approx(
        (1 + 3 / math.log2(3)) / best
    )


def test_bootstrap_interval_is_about_two_standard_errors_wide() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 2_000)
    low, high = bootstrap_interval(values, seed=7)
    error = values.std() / math.sqrt(values.size)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        low, high = bootstrap_interval(rng.exponential(1.0, 100), seed=seed, draws=300)
        covered += low <= 1.0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_bootstrap_interval_repeats_and_of_nothing_is_undefined() -> None:
    values = np.random.default_rng(2).random(3_000)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(np.full(50, 0.25), seed=3) == (0.25, 0.25)
    assert all(math.isnan(end) for end in bootstrap_interval(np.empty(0), seed=3))
