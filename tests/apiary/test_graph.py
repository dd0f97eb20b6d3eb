"""The merge against plain sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.apiary.graph import Edges, Follows, contained, followed_boards

Row = tuple[int, int, float]


def edges_of(rows: list[Row]) -> Edges:
    return Edges(
        ids=np.array([row[0] for row in rows], dtype=np.uint64),
        times=np.array([row[1] for row in rows], dtype=np.uint32),
        affinities=np.array([row[2] for row in rows], dtype=np.float32),
    )


def ids_of(ids: set[int]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array(sorted(ids), dtype=np.uint64)


def rows_of(ids: st.SearchStrategy[int]) -> st.SearchStrategy[list[Row]]:
    rows = st.tuples(ids, st.integers(1, 5), st.sampled_from([0.25, 0.5, 1.0]))
    return st.lists(rows, max_size=8, unique_by=lambda row: row[0])


boards = st.integers(1, 20)


@given(
    direct=rows_of(boards),
    owners=st.lists(
        st.tuples(st.lists(boards, max_size=6, unique=True), st.integers(1, 5), st.sampled_from([0.5, 1.0])),
        max_size=5,
    ),
    unfollowed=st.sets(boards),
    deleted=st.sets(boards),
    limit=st.integers(1, 25),
)
def test_followed_boards_are_direct_and_owned_less_unfollowed_and_deleted(
    direct: list[Row],
    owners: list[tuple[list[int], int, float]],
    unfollowed: set[int],
    deleted: set[int],
    limit: int,
) -> None:
    expected: dict[int, tuple[int, float, int]] = {}
    for at, (owned, time, affinity) in reversed(list(enumerate(owners))):
        for board in owned:
            if board not in unfollowed:
                expected[board] = (time, affinity, 1000 + at)
    expected.update({board: (time, affinity, 0) for board, time, affinity in direct})
    expected = {board: row for board, row in expected.items() if board not in deleted}
    latest = sorted(expected, key=lambda board: (-expected[board][0], board))[:limit]
    follows = Follows(
        boards=edges_of(direct).ascending(),
        owners=edges_of([(1000 + at, time, affinity) for at, (_, time, affinity) in enumerate(owners)]),
        unfollowed=ids_of(unfollowed),
    )
    by_owner = [np.array(owned, dtype=np.uint64) for owned, _, _ in owners]
    found = followed_boards(follows, by_owner, deleted=ids_of(deleted), limit=limit)
    rows = zip(
        found.boards.tolist(),
        found.times.tolist(),
        found.affinities.tolist(),
        found.owners.tolist(),
        strict=True,
    )
    assert [(board, (time, affinity, owner)) for board, time, affinity, owner in rows] == [
        (board, expected[board]) for board in sorted(latest)
    ]
    assert found.total_count == len(expected)


@given(st.lists(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_contained_equals_membership(ids: list[int], among: set[int]) -> None:
    found = contained(np.array(ids, dtype=np.uint64), ids_of(among))
    assert found.tolist() == [id in among for id in ids]
