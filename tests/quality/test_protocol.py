"""The protocol itself: what is held out, what stands beside it, and what equal scores are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.quality.protocol import NEGATIVES, Boards, hold_out, ranked, recall

PINS = 400


def some_boards(seed: int, *, board_count: int = 12) -> Boards:
    """Boards of 2 to 60 pins."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 61, board_count)
    pins = np.concatenate([draw.choice(PINS, size, replace=False) for size in sizes])
    rows = np.repeat(np.arange(board_count), sizes)
    return Boards.of_pairs(rows, pins, board_count=board_count, pin_count=PINS)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_one_pin_of_each_board_is_held_out_and_the_others_stay(seed: int) -> None:
    boards = some_boards(seed)
    test = hold_out(boards, seed=seed)
    for board in range(len(boards)):
        positive = test.candidates[board, 0]
        assert positive not in test.train.of(board)
        assert sorted([*test.train.of(board), positive]) == boards.of(board).tolist()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_negatives_are_distinct_pins_that_the_board_never_had(seed: int) -> None:
    boards = some_boards(seed)
    test = hold_out(boards, seed=seed)
    assert test.candidates.shape == (len(boards), NEGATIVES + 1)
    for board in range(len(boards)):
        negatives = test.candidates[board, 1:]
        assert np.unique(negatives).size == NEGATIVES
        assert not np.isin(negatives, boards.of(board)).any()


def test_boards_that_may_not_give_a_pin_keep_all() -> None:
    boards = some_boards(3)
    test = hold_out(boards, seed=1, allowed=boards.rows % 2 == 0)
    held = test.candidates[:, 0] >= 0
    assert held.tolist() == [board % 2 == 0 for board in range(len(boards))]
    assert test.train.of(1).tolist() == boards.of(1).tolist()
    assert (test.candidates[1] == -1).all()


def test_same_seed_holds_out_the_same_and_another_one_does_not() -> None:
    boards = some_boards(3)
    assert (hold_out(boards, seed=1).candidates == hold_out(boards, seed=1).candidates).all()
    assert (hold_out(boards, seed=1).candidates != hold_out(boards, seed=2).candidates).any()


def test_board_that_leaves_too_few_negatives_is_refused() -> None:
    pins = np.arange(50)
    boards = Boards.of_pairs(np.zeros(50, np.int64), pins, board_count=1, pin_count=100)
    with pytest.raises(ValueError, match="board 0 leaves 50 pins, 99 are wanted"):
        hold_out(boards, seed=1)


def test_some_boards_are_those_that_are_named() -> None:
    boards = some_boards(3)
    some = boards.some(np.array([5, 2]))
    assert [some.of(0).tolist(), some.of(1).tolist()] == [boards.of(5).tolist(), boards.of(2).tolist()]


def test_constant_score_is_worth_what_chance_is() -> None:
    ranking = ranked(np.ones((7, 100), np.float32))
    assert ranking.hit_rate == pytest.approx(0.1)
    assert ranking.ndcg == pytest.approx(sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / 100)


@pytest.mark.parametrize(
    ("before", "hit_rate", "ndcg"),
    [(0, 1.0, 1.0), (1, 1.0, 1 / np.log2(3)), (9, 1.0, 1 / np.log2(11)), (10, 0.0, 0.0)],
    ids=["first", "second", "tenth", "eleventh"],
)
def test_worth_is_that_of_the_rank(before: int, hit_rate: float, ndcg: float) -> None:
    scores = np.zeros((1, 100))
    scores[0, 0] = 1
    scores[0, 1 : before + 1] = 2
    ranking = ranked(scores)
    assert ranking.hit_rate == hit_rate
    assert ranking.ndcg == pytest.approx(ndcg)


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_ties_are_worth_the_mean_over_all_orders(seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (1, 14)).astype(np.float64)
    better, equal = (scores[0, 1:] > scores[0, 0]).sum(), (scores[0, 1:] == scores[0, 0]).sum()
    ranks = np.arange(better + 1, better + equal + 2)
    ranking = ranked(scores)
    assert ranking.hit_rate == pytest.approx((ranks <= 10).mean())
    assert ranking.ndcg == pytest.approx(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).mean())


def test_masked_candidates_stand_behind_all() -> None:
    scores = np.array([[-5.0, 9.0, 8.0, -7.0]])
    masked = np.array([[False, True, True, False]])
    assert ranked(scores, masked=masked, k=1).hit_rate == 1.0
    assert ranked(scores, k=1).hit_rate == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        ranked(np.array([[0.0, bad]]))


def test_recall_is_the_mean_share_of_what_was_held_out() -> None:
    def of(*items: int) -> NDArray[np.int64]:
        return np.array(items, np.int64)

    shown, held = [of(1, 2, 3), of(), of(4)], [of(2, 9), of(5), of(4)]
    assert recall(shown, held, k=2) == pytest.approx((0.5 + 0 + 1) / 3)
    assert recall(shown, held, k=1) == pytest.approx(1 / 3)
