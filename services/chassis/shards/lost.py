"""Shards that this process owns and cannot serve, because the log no longer has what their views lack.

A partition of the log is lost on a host when its position there was trimmed, or when the log ends before it.
What is in the store then lacks records that nobody can bring, so its shards are refused (ShardLost) until the
process starts from something newer; all other shards are served as ever. The follower finds losses and swaps
them in whole, calls read them without a lock. Both ends are here: what a refusal says, and what a router
reads from it. Next: `owned.py` (the door), `routing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import FeedmeshError, ShardLost

LOST: Final = "lost"
"""Fact of a ShardLost: what its host does not serve, as `count:partition,…` groups, or WHOLE_HOST. Absent:
the refusal is of the call, not of some of its rows."""
WHOLE_HOST: Final = "all"

_NAMED_MAX: Final = 200
"""Partitions named in one refusal, so that it fits into metadata. A router that asks again for the rest is
told of the others then."""


@dataclass(frozen=True, slots=True)
class LostPartition:
    """One partition whose next offset is not between `begin` and `end` of the log."""

    topic: str
    partition: int
    partition_count: int
    """Partitions of the topic: shard s lives in partition s % partition_count."""
    applied: int
    """Next offset that the view wants."""
    begin: int
    end: int

    @property
    def gone_count(self) -> int:
        """Offsets between what is applied and what the log has."""
        return self.begin - self.applied if self.applied < self.begin else self.applied - self.end

    @property
    def text(self) -> str:
        """What is missing and what to do, for people."""
        where = f"{self.topic}/{self.partition}"
        gone = (
            f"{self.gone_count} offsets are gone"
            if self.applied < self.begin
            else f"the log lost the last {self.gone_count} offsets"
        )
        return (
            f"{where} is applied up to {self.applied}, the log has {self.begin} to {self.end}: {gone}; ask "
            "another replica, or start this one from a newer checkpoint, or with an empty data directory and "
            "follower.begin_trimmed"
        )

    def holds(self, shards: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """For each shard, whether it lives in this partition."""
        held: NDArray[np.bool_] = shards % self.partition_count == self.partition
        return held

    def refusal(self, lost: str = "") -> ShardLost:
        """The error that says so. `lost`: see LOST."""
        return ShardLost(
            self.text,
            topic=self.topic,
            partition=self.partition,
            applied=self.applied,
            begin=self.begin,
            end=self.end,
            gone=self.gone_count,
            **({LOST: lost} if lost else {}),
        )


class LostShards:
    """What is lost of one process."""

    def __init__(self) -> None:
        self.partitions: tuple[LostPartition, ...] = ()
        """Empty while nothing is, which is all that a call looks at then."""

    def replace(self, partitions: Iterable[LostPartition]) -> None:
        """Swap in what is lost from now on."""
        self.partitions = tuple(partitions)

    def among(self, shards: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """For each shard, whether it is lost."""
        lost = np.zeros(shards.shape, np.bool_)
        for partition in self.partitions:
            lost |= partition.holds(shards)
        return lost

    def check(self, shards: NDArray[np.uint32]) -> None:
        """Raises ShardLost when a shard is lost: about a partition that holds one, naming all."""
        partitions = self.partitions
        for partition in partitions:
            if partition.holds(shards).any():
                raise partition.refusal(_names(partitions))

    def check_one(self, shard: int) -> None:
        """Raises ShardLost when the shard is lost."""
        partitions = self.partitions
        for partition in partitions:
            if shard % partition.partition_count == partition.partition:
                raise partition.refusal(_names(partitions))


def lost_rows(error: FeedmeshError, shards: NDArray[np.uint32]) -> NDArray[np.bool_] | None:
    """Which of the shards that a call asked for its host has lost; None when `error` refuses the whole call.

    Never all false: a refusal that names none of the shards asked for is one of the whole call.
    """
    named = error.facts.get(LOST, "") if isinstance(error, ShardLost) else ""
    if named in ("", WHOLE_HOST):
        return None
    lost = np.zeros(shards.shape, np.bool_)
    try:
        for group in named.split():
            count, _, partitions = group.partition(":")
            # Not numpy's remainder by 0, which is a warning and a wrong answer.
            partition_of = shards % max(int(count), 1)
            lost |= np.isin(partition_of, [int(number) for number in partitions.split(",")])
    except ValueError:
        return None
    return lost if lost.any() else None


def _names(partitions: Sequence[LostPartition]) -> str:
    """What `lost_rows` reads. Topics with as many partitions have the same shards in each."""
    by_count: dict[int, set[int]] = {}
    for partition in partitions[:_NAMED_MAX]:
        by_count.setdefault(partition.partition_count, set()).add(partition.partition)
    return " ".join(
        f"{count}:{','.join(str(number) for number in sorted(numbers))}"
        for count, numbers in sorted(by_count.items())
    )
