"""What a service gives its follower: how a record changes its store and its memory.

`decode` and `apply` run on the follower's thread only, one batch after the other.
Where next: `follower.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from feedmesh.log.v1 import record_pb2
from services.chassis.storage.batch import Batch

Change: TypeAlias = Any
"""What a view makes of a record; only the view looks inside."""


class View(Protocol):
    """Records → changes → one storage batch and the memory beside it."""

    @property
    def topics(self) -> Sequence[str]:
        """Topics to follow."""
        ...

    def decode(self, record: record_pb2.Record) -> Change | None:
        """The change that a record makes; None when the view does not care. Pure: no state is touched.

        The record's key is of an owned shard and its version is known. One exception: a record with packed
        `counts` comes when its partition is owned, and where there are fewer partitions than shards some of
        its entities may be of shards that are not.

        Raises:
            PoisonRecord: it makes no sense; the reason goes to the dead letters. So does any other error.
        """
        ...

    def apply(self, changes: Sequence[Change], batch: Batch) -> None:
        """Change the memory and put the same changes into `batch`, in order.

        Must not fail on data: `decode` is where data is refused. Not called again for the same changes
        when the batch cannot be written at first: the batch is kept and tried again.
        """
        ...


@runtime_checkable
class Upkeep(Protocol):
    """What a view has beside, when it has work of its own: done while no record waits, on the same thread."""

    @property
    def upkeep_waits(self) -> bool:
        """Whether there is anything to do."""
        ...

    def upkeep(self, batch: Batch) -> None:
        """Do a slice of it, some milliseconds long; what it changes goes into `batch`, as in `apply`."""
        ...
