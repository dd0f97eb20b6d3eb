"""NDCG and AUC by hand, and blind to the order of rows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.scorpion.evaluation import auc, ndcg_at


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
