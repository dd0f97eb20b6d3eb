"""What is applied so far, and the readers that wait for more.

The follower's thread advances it, any thread waits. The fast path (already applied) takes no lock: a
position is one dict entry that only grows. A lost partition (`shards/lost.py`) is waited for by nobody: who
names it is refused at once, also where its offset was applied, because the log may have begun anew there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from services.chassis.errors import FeedmeshError, StaleReplica, TokenAhead
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import Chunk, LogReader, Positions, TopicPartition
from services.chassis.log.token import Token
from services.chassis.shards.lost import LostPartition


class Applied:
    """Positions of the owned partitions, end offsets as last told, and who waits for them."""

    def __init__(self, log: LogReader, metrics: FollowerMetrics) -> None:
        self.log_id = ""
        self._log = log
        self._metrics = metrics
        self._positions: Positions = {}
        self._ends: Positions = {}
        self._lag: dict[str, int] = {}
        self._lost: dict[TopicPartition, LostPartition] = {}
        # What is left of the end offsets of the first contact; None before it.
        self._first_ends: Positions | None = None
        self._advanced = threading.Condition()
        self._asking = threading.Lock()

    @property
    def positions(self) -> Positions:
        """A copy: next offset by partition that is followed, so without those that are lost."""
        lost = self._lost
        return {place: offset for place, offset in self._positions.items() if place not in lost}

    @property
    def follows_any(self) -> bool:
        """Whether there is a partition to follow."""
        return len(self._lost) < len(self._positions)

    @property
    def lag(self) -> dict[str, int]:
        """A copy: offsets behind the known ends, by topic."""
        return dict(self._lag)

    @property
    def caught_up(self) -> bool:
        """The end offsets of the first contact are applied, where they were not lost; never when all are."""
        if self._first_ends is None or self._first_ends:
            return False
        return not self._lost or self.follows_any

    def begin(
        self, *, log_id: str, positions: Positions, ends: Positions, lost: Sequence[LostPartition] = ()
    ) -> None:
        """The first contact with the log: where the store stands, where the log ends, what is lost."""
        with self._advanced:
            self._positions = dict(positions)
            self._ends = dict(ends)
            self._lag = dict.fromkeys((topic for topic, _ in positions), 0)
            for place, end in ends.items():
                self._lag[place[0]] += max(0, end - positions[place])
            self._first_ends = {place: end for place, end in ends.items() if positions[place] < end}
            self._give_up(lost)
            self.log_id = log_id
            self._metrics.caught_up.set(self.caught_up)
            self._advanced.notify_all()
        for topic, lag in self._lag.items():
            self._metrics.lag.labels(topic).set(lag)

    def lose(self, lost: Sequence[LostPartition]) -> None:
        """These partitions are followed no longer: refuse the readers that wait for them, and later ones."""
        with self._advanced:
            self._give_up(lost)
            self._metrics.caught_up.set(self.caught_up)
            self._advanced.notify_all()

    def advance(self, chunks: Sequence[Chunk]) -> None:
        """The chunks are applied and written: wake the readers that waited for them."""
        with self._advanced:
            positions, ends, lag = self._positions, self._ends, self._lag
            for chunk in chunks:
                place = (chunk.topic, chunk.partition)
                before = max(0, ends[place] - positions[place])
                positions[place] = chunk.next_offset
                ends[place] = max(ends[place], chunk.end_offset)
                lag[chunk.topic] += max(0, ends[place] - chunk.next_offset) - before
            if self._first_ends:
                for chunk in chunks:
                    place = (chunk.topic, chunk.partition)
                    if self._first_ends.get(place, chunk.next_offset + 1) <= chunk.next_offset:
                        del self._first_ends[place]
                self._metrics.caught_up.set(self.caught_up)
            self._advanced.notify_all()

    def wait_token(self, token: Token, *, timeout_s: float) -> None:
        """`wait` for a token's positions; InvalidToken when it is of another log."""
        deadline = time.monotonic() + timeout_s
        if not self.log_id:
            self._wait_contact(deadline)
        token.check_log(self.log_id)
        self.wait(token.positions, timeout_s=max(0.0, deadline - time.monotonic()))

    def wait(self, positions: Positions, *, timeout_s: float) -> None:
        """Block until `positions` are applied where they concern this host. See `Follower.wait_applied`."""
        deadline = time.monotonic() + timeout_s
        if not self.log_id:
            self._wait_contact(deadline)
        missing = self._missing(positions)
        # After the look at the positions: what is lost in between is seen here.
        self._check_lost(positions)
        if not missing:
            return
        with self._advanced:
            while missing:
                self._check_lost(positions)
                left = deadline - time.monotonic()
                if left <= 0 or not self._advanced.wait(left):
                    break
                missing = self._missing(missing)
        missing = self._missing(missing)
        if missing:
            self._metrics.stale_reads.inc()
            self._refuse(missing, timeout_s)

    def _give_up(self, lost: Sequence[LostPartition]) -> None:
        for partition in lost:
            place = (partition.topic, partition.partition)
            self._lag[partition.topic] -= max(0, self._ends[place] - self._positions[place])
            self._lost[place] = partition
            if self._first_ends is not None:
                self._first_ends.pop(place, None)

    def _check_lost(self, positions: Positions) -> None:
        if self._lost:
            for place in positions:
                if place in self._lost:
                    raise self._lost[place].refusal()

    def _wait_contact(self, deadline: float) -> None:
        with self._advanced:
            if not self._advanced.wait_for(lambda: self.log_id, max(0.0, deadline - time.monotonic())):
                raise StaleReplica("this replica has not reached the log yet; ask another")

    def _missing(self, positions: Positions) -> Positions:
        applied = self._positions
        # A place that is not followed here passes: `get` then answers the position that is asked for.
        return {place: offset for place, offset in positions.items() if applied.get(place, offset) < offset}

    def _refuse(self, missing: Positions, timeout_s: float) -> None:
        place, offset = max(missing.items(), key=lambda item: item[1] - self._positions[item[0]])
        topic, partition = place
        ahead = [(place, offset) for place, offset in missing.items() if self._beyond_end(place, offset)]
        if ahead:
            (topic, partition), offset = ahead[0]
            raise TokenAhead(
                f"the token asks for offset {offset} of {topic}/{partition}, the log ends at "
                f"{self._ends[topic, partition]}: drop the token, it is of another log or the log lost data",
                topic=topic,
                partition=partition,
            )
        raise StaleReplica(
            f"{topic}/{partition} is applied up to {self._positions[place]}, not {offset}, after "
            f"{timeout_s * 1000:.0f} ms; ask another replica or come back",
            topic=topic,
            partition=partition,
        )

    def _beyond_end(self, place: TopicPartition, offset: int) -> bool:
        """The log itself does not reach `offset`, as it says now: what it said earlier may be old."""
        if offset <= self._ends[place]:
            return False
        topic = place[0]
        # One question at a time: forged tokens must not become a storm of calls to the log.
        with self._asking:
            if offset <= self._ends[place]:
                return False
            try:
                ends = self._log.end_offsets(topic)
            except FeedmeshError:
                return False
            with self._advanced:
                for number, end in enumerate(ends):
                    known = (topic, number)
                    if known not in self._lost and end > self._ends.get(known, end):
                        position = self._positions[known]
                        self._lag[topic] += end - max(self._ends[known], position)
                        self._ends[known] = end
            return offset > self._ends[place]
