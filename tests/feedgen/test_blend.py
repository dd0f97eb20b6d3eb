"""Shares and gaps of several sources on one page."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.feedgen.candidates import Candidates, candidates_of
from services.feedgen.selection import Selected, Share, Spacing, select

Row = tuple[int, int, int]
"""(source, board, interest); the earlier row scores higher."""


def candidates(rows: list[Row]) -> Candidates:
    made = candidates_of(
        np.arange(1, len(rows) + 1, dtype=np.uint64),
        np.zeros(len(rows), np.float32),
        boards=np.array([board for _, board, _ in rows], np.uint64),
        interests=np.array([interest for _, _, interest in rows], np.uint64),
    )
    sources = np.array([source for source, _, _ in rows], np.uint8)
    return Candidates(**{**made.__dict__, "sources": sources})


def page(
    rows: list[Row], size: int, shares: list[Share], spacing: Spacing | None = None
) -> tuple[list[int], Selected]:
    scores = -np.arange(len(rows), dtype=np.float32)
    selected = select(scores, candidates(rows), page_size=size, spacing=spacing or Spacing(), shares=shares)
    return [rows[row][0] for row in selected.rows.tolist()], selected


def mixed(*counts: int) -> list[Row]:
    """Every row of the first source scores above all of the second, and so on."""
    return [(source, 0, 0) for source, count in enumerate(counts) for _ in range(count)]


def test_least_share_holds_at_every_place_though_the_source_scores_lowest() -> None:
    sources, _ = page(mixed(50, 50), 20, [Share(), Share(least=0.25)])
    for end in range(1, 21):
        assert sources[:end].count(1) >= int(0.25 * end)
    assert sources.count(1) == 5


def test_greatest_share_holds_while_others_have_candidates() -> None:
    sources, _ = page(mixed(50, 50), 20, [Share(greatest=0.4), Share()])
    assert sources.count(0) <= 9
    for end in range(1, 21):
        assert sources[:end].count(0) <= 0.4 * end + 1


def test_what_a_source_lacks_the_others_fill() -> None:
    sources, selected = page(mixed(50, 2), 20, [Share(greatest=0.4), Share(least=0.5)])
    assert len(sources) == 20
    assert sources.count(1) == 2
    assert selected.over_share_count > 0


def test_without_shares_the_score_decides() -> None:
    sources, selected = page(mixed(5, 50), 10, [Share(), Share()])
    assert sources == [0] * 5 + [1] * 5
    assert selected.over_share_count == selected.relaxed_count == 0


def test_source_gap_alternates_while_both_have_candidates() -> None:
    sources, _ = page(mixed(4, 4), 8, [Share(), Share()], Spacing(source_gap=2))
    assert sources == [0, 1] * 4


def test_gaps_hold_across_sources() -> None:
    rows = [(0, 7, 0), (1, 7, 0), (0, 8, 0), (1, 9, 0)]
    _, selected = page(rows, 4, [Share(), Share()], Spacing(board_gap=3))
    assert selected.rows.tolist() == [0, 2, 3, 1]


def test_interests_are_spaced() -> None:
    rows = [(0, 0, 5), (0, 0, 5), (0, 0, 6), (0, 0, 5)]
    _, selected = page(rows, 4, [Share()], Spacing(interest_gap=2))
    assert selected.rows.tolist() == [0, 2, 1, 3]


rows_of_three = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(0, 3)), max_size=60)


@given(rows=rows_of_three, size=st.integers(1, 40))
def test_page_is_full_and_has_no_row_twice(rows: list[Row], size: int) -> None:
    shares = [Share(0.3, 0.7), Share(0.1, 0.4), Share(0.1, 0.4)]
    spacing = Spacing(board_gap=3, owner_gap=2, interest_gap=2, source_gap=1)
    _, selected = page(rows, size, shares, spacing)
    assert len(set(selected.rows.tolist())) == len(selected.rows) == min(size, len(rows))


@given(rows=rows_of_three)
def test_shares_hold_in_every_prefix_while_all_sources_have_rows(rows: list[Row]) -> None:
    shares = [Share(0.3, 0.7), Share(0.1, 0.4), Share(0.1, 0.4)]
    plenty = rows + [(source, 0, 0) for source in range(3) for _ in range(40)]
    sources, _ = page(plenty, 30, shares)
    for end in range(1, len(sources) + 1):
        for at, share in enumerate(shares):
            count = sources[:end].count(at)
            assert count >= int(share.least * end + 1e-9)
            assert count <= share.greatest * end + 1
