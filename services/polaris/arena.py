"""Owns all pins of this process in memory: columns of slots, a row per board, and the table of boards.

The follower thread is the only writer. Its changes go in slices under `guard.write()`, one kernel call
each; readers hold `guard.read()` around their kernel. Growing and compacting build new arrays beside the
old ones and only the swap is under the lock. Costs 20 bytes a slot: 28 bytes a pin right after a rebuild
(a fourth for its board to grow, an eighth of that for boards that move), 80 bytes of room a board, and 48 to
100 for its row and table; while a rebuild runs, both arenas. Deleted pins leave room, never a smaller arena.
Bounded by `pins_per_board_max` and `pins_max`: past these the worst pins fall off, for good.
Of interests there is an arena of its own, in which an interest is what is called a board here.
Refuses nothing; the store is told what fell off. Next: `retrieval.py`, `ingest.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.chassis.columns.guard import ReadWriteGuard
from services.polaris.arena_changes import (
    BOARD_COUNT,
    COUNTERS,
    FREE_ROW,
    PIN_COUNT,
    ROW_COUNT,
    TAIL,
    Changes,
    Pins,
    apply_changes,
)
from services.polaris.arena_upkeep import cut_boards, lay_out
from services.polaris.board_table import BOARD, enter_all, find_row

SLOT_BYTES = 20
ROWS_MIN = 1024


class BoardPins(NamedTuple):
    """The pins of one board, best key first; copies."""

    ids: NDArray[np.uint64]
    keys: NDArray[np.float32]
    saved_at: NDArray[np.uint32]
    owner: int
    total_count: int


class Arena:
    """All boards of this process. Every method but `board_pins` is for the follower thread."""

    def __init__(self, *, pins_per_board_max: int, pins_max: int) -> None:
        self.guard = ReadWriteGuard()
        self.pins_per_board_max = pins_per_board_max
        self.pins_max = pins_max
        self.rebuild_count = 0
        self._counters = np.zeros(COUNTERS, dtype=np.int64)
        self._counters[FREE_ROW] = -1
        self.pins = _empty_pins(0)
        self.boards: NDArray[Any] = np.zeros(ROWS_MIN, dtype=BOARD)
        self.table = np.full(2 * ROWS_MIN, -1, dtype=np.int32)

    @property
    def pin_count(self) -> int:
        """Pins of all boards; a pin of two boards counts twice."""
        return int(self._counters[PIN_COUNT])

    @property
    def board_count(self) -> int:
        """Boards that have an owner or a pin."""
        return int(self._counters[BOARD_COUNT])

    @property
    def nbytes(self) -> int:
        """Bytes of the columns, rows and table."""
        return self.pins.ids.size * SLOT_BYTES + self.boards.nbytes + self.table.nbytes

    def board_pins(self, board: int, *, limit: int) -> BoardPins | None:
        """The best pins of a board; None when it is not known. Any thread."""
        with self.guard.read():
            row = int(find_row(self.boards, self.table, np.uint64(board)))
            if row < 0:
                return None
            found = self.boards[row]
            start, total = int(found["start"]), int(found["count"])
            end = start + min(total, limit)
            return BoardPins(
                ids=self.pins.ids[start:end].copy(),
                keys=self.pins.keys[start:end].copy(),
                saved_at=self.pins.saved_at[start:end].copy(),
                owner=int(found["owner"]),
                total_count=total,
            )

    def apply(self, changes: Changes) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
        """Apply one slice; return its results and the displaced pins, as `apply_changes` describes them."""
        size = changes.kinds.size
        results = np.zeros(size, dtype=np.uint8)
        displaced = np.zeros(size, dtype=np.uint64)
        done = 0
        while True:
            with self.guard.write():
                done = apply_changes(
                    self.pins,
                    self.boards,
                    self.table,
                    self._counters,
                    changes,
                    done,
                    self.pins_per_board_max,
                    results,
                    displaced,
                )
            if done == size:
                return results, displaced
            self._rebuild()

    def shrink(self, *, spare_pins: int, most_pins: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Take pins off the longest boards when there are more than `pins_max`: `spare_pins` more than that.

        Returns (boards, pins) of what was taken, at most `most_pins`, for the store. The longest boards go
        first, down to one level for all, so a board with few pins keeps them.
        """
        over = self.pin_count - self.pins_max
        if over <= 0:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        # Some more than needed, or every later save would search for the level again.
        wanted = min(over + spare_pins, most_pins, self.pin_count)
        counts = self.boards["count"][: self._counters[ROW_COUNT]]
        level = _level(counts, keep=self.pin_count - wanted)
        boards = np.empty(wanted, dtype=np.uint64)
        pins = np.empty(wanted, dtype=np.uint64)
        with self.guard.write():
            cut = int(cut_boards(self.pins, self.boards, self._counters, level, boards, pins))
        return boards[:cut], pins[:cut]

    def load(
        self,
        *,
        boards: NDArray[np.uint64],
        pins: Pins,
        owned_boards: NDArray[np.uint64],
        owners: NDArray[np.uint64],
    ) -> None:
        """Fill an empty arena: `boards` aligned with `pins`, those of one board in one run, in any order."""
        edges = np.flatnonzero(np.diff(boards)) + 1
        starts = np.concatenate(([0], edges)).astype(np.int64) if boards.size else np.empty(0, np.int64)
        counts = np.diff(np.append(starts, boards.size))
        order = np.lexsort((-pins.keys, np.repeat(np.arange(starts.size), counts)))
        sorted_pins = Pins(
            ids=pins.ids[order],
            keys=pins.keys[order],
            saved_at=pins.saved_at[order],
            flags=pins.flags[order],
        )
        kept = np.minimum(counts, self.pins_per_board_max)
        ids = boards[starts]
        bare = np.setdiff1d(owned_boards, ids)
        row_count = ids.size + bare.size
        rows: NDArray[Any] = np.zeros(_rows_for(row_count), dtype=BOARD)
        rows["id"][: ids.size] = ids
        rows["id"][ids.size : row_count] = bare
        rows["start"][: ids.size] = starts
        rows["count"][: ids.size] = kept
        by_id = np.argsort(rows["id"][:row_count])
        rows["owner"][by_id[np.searchsorted(rows["id"][:row_count], owned_boards, sorter=by_id)]] = owners
        self._counters[:] = (row_count, -1, boards.size, kept.sum(), row_count)
        self.pins = sorted_pins
        self.boards = rows
        self._rebuild()

    def _rebuild(self) -> None:
        """Lay all out anew with room to grow; readers go on meanwhile, for they see the old arrays."""
        row_count = int(self._counters[ROW_COUNT])
        live = self.pin_count
        # Room: a fourth and 4 slots by board, then a tail for boards that outgrow that.
        laid_out = live + live // 4 + 4 * self.board_count
        tail_room = max(laid_out // 8, 2 * self.pins_per_board_max, 4 * ROWS_MIN)
        new_pins = _empty_pins(laid_out + tail_room)
        new_boards: NDArray[Any] = np.zeros(_rows_for(row_count), dtype=BOARD)
        new_boards[:row_count] = self.boards[:row_count]
        tail = lay_out(self.pins, self.boards, row_count, new_pins, new_boards, self.pins_per_board_max)
        table = np.full(2 * new_boards.size, -1, dtype=np.int32)
        enter_all(new_boards, table, row_count)
        with self.guard.write():
            self.pins, self.boards, self.table = new_pins, new_boards, table
            self._counters[TAIL] = tail
        self.rebuild_count += 1


def _empty_pins(size: int) -> Pins:
    return Pins(
        ids=np.empty(size, dtype=np.uint64),
        keys=np.empty(size, dtype=np.float32),
        saved_at=np.empty(size, dtype=np.uint32),
        flags=np.empty(size, dtype=np.uint32),
    )


def _rows_for(row_count: int) -> int:
    """A power of two with room for half as many again."""
    return max(ROWS_MIN, 1 << (row_count + row_count // 2).bit_length())


def _level(counts: NDArray[np.int32], *, keep: int) -> int:
    """The greatest level at which boards, cut to it, keep at most `keep` pins in all."""
    ordered = np.sort(counts)
    below = np.concatenate(([0], np.cumsum(ordered, dtype=np.int64)))
    # kept[i]: every board cut to the i-th smallest count.
    kept = below[1:] + ordered * (ordered.size - 1 - np.arange(ordered.size, dtype=np.int64))
    at = int(np.searchsorted(kept, keep, side="right"))
    longer = ordered.size - at
    return int(ordered[-1]) if not longer else int((keep - below[at]) // longer)
