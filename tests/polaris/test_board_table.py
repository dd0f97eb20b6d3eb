"""The table against a dictionary, small enough that probe runs wrap around and grow together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.ids import shard_of
from services.polaris.board_table import BOARD, drop_row, enter_row, find_row


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 24), max_size=80))
def test_a_table_finds_what_was_entered_and_not_what_was_dropped(toggles: list[int]) -> None:
    boards = np.zeros(24, dtype=BOARD)
    table = np.full(16, -1, dtype=np.int32)
    rows: dict[int, int] = {}
    for board in toggles:
        if board in rows:
            row = rows.pop(board)
            drop_row(boards, table, row)
            boards["id"][row] = 0
        elif len(rows) < 12:
            # Fuller than the arena lets it be, so that runs are long.
            row = next(free for free in range(24) if free not in rows.values())
            boards["id"][row] = board
            enter_row(boards, table, row)
            rows[board] = row
        for each in range(1, 25):
            assert find_row(boards, table, np.uint64(each)) == rows.get(each, -1)
    assert (table >= 0).sum() == len(rows)


def test_boards_of_one_shard_do_not_crowd_one_place() -> None:
    ids = [board for board in range(1, 20_000) if shard_of(board, num_shards=64) == 3][:200]
    boards = np.zeros(256, dtype=BOARD)
    boards["id"][: len(ids)] = ids
    table = np.full(512, -1, dtype=np.int32)
    for row in range(len(ids)):
        enter_row(boards, table, row)
    runs = "".join("x" if row >= 0 else " " for row in table.tolist()).split()
    assert max(map(len, runs)) < 30
