"""What a follower does about partitions that the log no longer has: say so once, and close the door.

The follower finds a loss at its first contact, or when a tail raises OffsetOutOfRange, and goes on with the
rest. Lost is lost until the process starts again: the view lacks records, and nothing that comes later on
tells which. What is refused, and with which words: `shards/lost.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from services.chassis.errors import FeedmeshError, LogUnavailable, OffsetOutOfRange
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import LogReader, Positions
from services.chassis.log.offsets import lost_partitions
from services.chassis.shards.lost import LostPartition
from services.chassis.shards.owned import OwnedShards


class Losses:
    """For the follower's thread. `on_all_lost` is told the refusal of every call when no shard is left."""

    def __init__(
        self,
        owned: OwnedShards,
        metrics: FollowerMetrics,
        *,
        on_all_lost: Callable[[FeedmeshError], None] | None,
    ) -> None:
        self._owned = owned
        self._metrics = metrics
        self._on_all_lost = on_all_lost
        self._logger = structlog.get_logger(component="follower")

    def refuse(self, lost: Sequence[LostPartition]) -> None:
        """From now on reads of these partitions' shards are refused."""
        if not lost:
            return
        known = self._owned.lost
        known.replace([*known.partitions, *lost])
        for partition in lost:
            self._metrics.lost.labels(partition.topic).inc()
            self._logger.error(
                "partition lost",
                topic=partition.topic,
                partition=partition.partition,
                gone_count=partition.gone_count,
                reason=partition.text,
            )
        refusal = self._owned.whole_loss()
        if refusal is not None and self._on_all_lost is not None:
            self._on_all_lost(refusal)


def lost_by(fault: OffsetOutOfRange, log: LogReader, positions: Positions) -> list[LostPartition]:
    """What the log, asked again, no longer has of what is followed; not empty.

    Raises:
        OffsetOutOfRange: `fault` itself, when it is not about a partition that is followed (another log).
        LogUnavailable: the log cannot say, or says that everything is there (a leader that was just elected
            may not know yet where its log ends); try again.
    """
    place = (fault.facts.get("topic", ""), int(fault.facts.get("partition", -1)))
    if place not in positions:
        raise fault
    lost = lost_partitions(log, positions)
    if not lost:
        raise LogUnavailable(f"the log contradicts itself: {fault}") from fault
    return lost
