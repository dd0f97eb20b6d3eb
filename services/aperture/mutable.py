"""Owns the mutable buckets: the newest rows of each user, in memory, until their lane is spilled to tails.

Users are spread over lanes, four to a shard. A lane is what is spilled at once, and has a *generation*, the
number of spills so far: its rows go to tails of that generation. So a reader who took (generation, rows) from
here counts tails of older generations only, and never counts a row twice nor misses one, whatever is
committed meanwhile.

    append, forget -> spilled (rows are in the batch, and still here) -> drop_spilled (the batch is committed)

One writer, the follower's thread; any thread reads. A lane's rows and its generation change together, by
replacing the lane; a user's bytes only grow, by whole records, and are copied in one step under the GIL: no
view is torn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

LANES: Final = 4
"""Lanes of a shard; part of the keys, so it never changes."""

NO_BUCKET: Final = 1 << 32
USER_BYTES: Final = 250
"""Memory of one user beside the rows: two dict entries, a bytearray, a number."""


class Snapshot(NamedTuple):
    """What memory knows of a user at one moment."""

    generation: int
    data: bytes
    """Packed rows, in order of arrival."""
    forgotten: bool
    """What the store has of the user does not count: it is being deleted."""


@dataclass(slots=True, eq=False)
class Lane:
    """Rows of some users of one shard."""

    generation: int = 0
    rows: dict[int, bytearray] = field(default_factory=dict)
    """Packed rows by user."""
    buckets: dict[int, int] = field(default_factory=dict)
    """Bucket of the user's last row."""
    pieces: int = 0
    """Runs of rows of one user and one bucket: no fewer than the tails that a spill writes."""
    size_bytes: int = 0
    oldest_bucket: int = NO_BUCKET
    """No row lies before it."""
    forgotten: set[int] = field(default_factory=set)
    """Users whose rows in the store do not count, until the next generation."""


class Mutable:
    """All lanes of the process. `lane_of` numbers them: shard * LANES + lane."""

    def __init__(self, generations: Mapping[int, int]) -> None:
        self._lanes: dict[int, Lane] = {
            number: Lane(generation) for number, generation in generations.items()
        }
        self._spilled: list[int] = []
        self.size_bytes = 0

    def snapshot(self, number: int, user: int) -> Snapshot:
        """The user's rows in memory. Any thread."""
        lane = self._lanes.get(number)
        if lane is None:
            return Snapshot(0, b"", False)
        forgotten = user in lane.forgotten
        return Snapshot(lane.generation, bytes(lane.rows.get(user, b"")), forgotten)

    def lane(self, number: int) -> Lane:
        """The lane, made when it is new."""
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Lane()
        return lane

    def lanes(self) -> Iterator[tuple[int, Lane]]:
        """Every lane and its number."""
        return iter(self._lanes.items())

    def append(self, number: int, user: int, bucket: int, data: bytes) -> None:
        """Add packed rows that all lie in `bucket`."""
        lane = self.lane(number)
        rows = lane.rows.get(user)
        grown = len(data)
        if rows is None:
            lane.rows[user] = bytearray(data)
            grown += USER_BYTES
        else:
            rows += data
        if lane.buckets.get(user) != bucket:
            lane.buckets[user] = bucket
            lane.pieces += 1
            lane.oldest_bucket = min(lane.oldest_bucket, bucket)
        lane.size_bytes += grown
        self.size_bytes += grown

    def forget(self, number: int, user: int) -> None:
        """Drop the user's rows, and let no reader count those in the store."""
        lane = self.lane(number)
        lane.forgotten.add(user)
        rows = lane.rows.pop(user, None)
        lane.buckets.pop(user, None)
        if rows is not None:
            freed = len(rows) + USER_BYTES
            lane.size_bytes -= freed
            self.size_bytes -= freed

    def spilled(self, numbers: Iterable[int]) -> None:
        """These lanes are in the batch at hand; they stay readable here until it is committed."""
        self._spilled.extend(numbers)

    def drop_spilled(self) -> None:
        """The batch is committed: begin the next generation of the lanes that it holds."""
        for number in self._spilled:
            lane = self._lanes[number]
            self._lanes[number] = Lane(lane.generation + 1)
            self.size_bytes -= lane.size_bytes
        self._spilled.clear()
