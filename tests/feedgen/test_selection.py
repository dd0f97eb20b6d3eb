"""Spacing of boards and owners on a page."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.feedgen.candidates import Candidates, candidates_of
from services.feedgen.selection import Spacing, select

SPACING = Spacing(board_gap=3, owner_gap=2)
Rows = list[tuple[int, int, int]]
rows_strategy = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6), st.integers(0, 4)), max_size=60)


def columns(rows: Rows) -> tuple[NDArray[np.float32], Candidates]:
    scores, boards, owners = zip(*rows, strict=True) if rows else ((), (), ())
    candidates = candidates_of(
        np.arange(1, len(rows) + 1, dtype=np.uint64),
        np.zeros(len(rows), np.float32),
        boards=np.array(boards, np.uint64),
        owners=np.array(owners, np.uint64),
    )
    return np.array(scores, np.float32), candidates


def greedy(rows: Rows, page_size: int) -> list[int]:
    """The rule by its words: each place the best row that is allowed, or the best row when none is."""
    left = sorted(range(len(rows)), key=lambda row: (-rows[row][0], row))
    page: list[int] = []

    def allowed(row: int) -> bool:
        _, board, owner = rows[row]
        boards = [rows[other][1] for other in page[-(SPACING.board_gap - 1) :]]
        owners = [rows[other][2] for other in page[-(SPACING.owner_gap - 1) :]]
        return not (board and board in boards) and not (owner and owner in owners)

    while left and len(page) < page_size:
        best = next((row for row in left if allowed(row)), left[0])
        left.remove(best)
        page.append(best)
    return page


def test_best_scores_come_first_when_no_rule_is_broken() -> None:
    scores, candidates = columns([(1, 1, 1), (3, 2, 2), (2, 3, 3)])
    page = select(scores, candidates, page_size=3, spacing=SPACING)
    assert page.rows.tolist() == [1, 2, 0]
    assert page.moved_count == page.relaxed_count == 0


def test_pins_of_one_board_are_spaced() -> None:
    scores, candidates = columns([(9, 1, 1), (8, 1, 1), (7, 2, 2), (6, 3, 3), (5, 4, 4)])
    page = select(scores, candidates, page_size=5, spacing=SPACING)
    assert page.rows.tolist() == [0, 2, 3, 1, 4]
    assert page.moved_count > 0


def test_one_board_alone_still_fills_the_page() -> None:
    scores, candidates = columns([(score, 1, 1) for score in range(10)])
    page = select(scores, candidates, page_size=5, spacing=SPACING)
    assert page.rows.tolist() == [9, 8, 7, 6, 5]
    assert page.relaxed_count == 4


def test_nothing_gives_an_empty_page() -> None:
    scores, candidates = columns([])
    assert len(select(scores, candidates, page_size=5, spacing=SPACING).rows) == 0


@given(rows=rows_strategy, page_size=st.integers(1, 40))
def test_page_is_the_greedy_choice_by_the_rule(rows: Rows, page_size: int) -> None:
    # Distinct scores: between equal scores the heap may choose either board, and both are right.
    distinct = [(score * 100 + at, board, owner) for at, (score, board, owner) in enumerate(rows)]
    page = select(*columns(distinct), page_size=page_size, spacing=SPACING)
    assert page.rows.tolist() == greedy(distinct, page_size)


@given(rows=rows_strategy, page_size=st.integers(1, 80))
def test_no_row_is_chosen_twice_and_none_is_left_while_there_is_room(rows: Rows, page_size: int) -> None:
    page = select(*columns(rows), page_size=page_size, spacing=SPACING)
    assert len(set(page.rows.tolist())) == len(page.rows) == min(page_size, len(rows))
