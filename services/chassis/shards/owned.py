"""The shards that this process serves, fixed when it starts; a shard moves by starting its new owner.

The guard at a service's door: a request for another host's shard means that someone's map is old, and
answering it from an empty store would look like "no data". A shard that is ours and lost (`lost.py`) is
refused here too, so that every read of every service is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import ConfigFaults, ShardLost, WrongShard
from services.chassis.ids import ShardScheme, shard_of, shards_of
from services.chassis.shards.lost import WHOLE_HOST, LostPartition, LostShards
from services.chassis.shards.map import ShardMap

_SHOWN_MAX = 8


@dataclass(frozen=True, eq=False)
class OwnedShards:
    """`mask`: bool array of shape (num_shards,), true where this process serves the shard."""

    num_shards: int
    mask: NDArray[np.bool_]
    scheme: ShardScheme = ShardScheme.HASHED
    lost: LostShards = field(default_factory=LostShards)
    """The only part that changes: what the follower has found missing since the start."""

    @staticmethod
    def everything(num_shards: int, *, scheme: ShardScheme = ShardScheme.HASHED) -> OwnedShards:
        """A process that serves its whole segment."""
        return OwnedShards(num_shards, np.ones(num_shards, np.bool_), scheme)

    @staticmethod
    def of(
        shard_map: ShardMap, segment: str, *, address: str, scheme: ShardScheme = ShardScheme.HASHED
    ) -> OwnedShards:
        """What the map gives to `address`. Raises ConfigFaults that says what to add."""
        found = shard_map.segment(segment)
        host = found.host(address)
        if host is None:
            known = ", ".join(host.address for host in found.hosts)
            raise ConfigFaults(
                [
                    f"process.advertise = {address}: segment {segment} of the shard map has no such host "
                    f'(it has: {known}); add "{address}:<placement>": ["00000", …] or correct the address'
                ]
            )
        mask = np.zeros(found.num_shards, np.bool_)
        mask[list(host.shards)] = True
        return OwnedShards(found.num_shards, mask, scheme)

    @property
    def shards(self) -> NDArray[np.uint32]:
        """The shards served, ascending."""
        return np.flatnonzero(self.mask).astype(np.uint32)

    def shards_of(self, ids: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The shard of each id."""
        return shards_of(ids, num_shards=self.num_shards, scheme=self.scheme)

    def shard_of(self, id: int) -> int:
        """The shard of one id."""
        return shard_of(id, num_shards=self.num_shards, scheme=self.scheme)

    def owns(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each id, whether this process serves it."""
        return self.mask[self.shards_of(ids)]

    def owns_one(self, id: int) -> bool:
        """Whether this process serves `id`."""
        return bool(self.mask[self.shard_of(id)])

    def serves(self, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For each id, whether this process can answer for it now: owned, and not lost."""
        shards = self.shards_of(ids)
        owned = self.mask[shards]
        return owned & ~self.lost.among(shards) if self.lost.partitions else owned

    def whole_loss(self) -> ShardLost | None:
        """The refusal of every call, when no owned shard is left to serve; None while one is."""
        found: tuple[LostPartition, ...] = self.lost.partitions
        if not found or not self.lost.among(self.shards).all():
            return None
        return found[0].refusal(WHOLE_HOST)

    def partitions(self, count: int) -> list[int]:
        """The partitions of a topic with `count` of them that hold records of these shards, ascending.

        Raises ValueError unless `count` divides num_shards: a shard must live in one partition.
        """
        if count < 1 or self.num_shards % count:
            raise ValueError(f"{count} partitions do not divide {self.num_shards} shards")
        return sorted({int(shard) % count for shard in self.shards})

    def check(self, ids: NDArray[np.uint64]) -> None:
        """Raises WrongShard when an id is not served here, ShardLost when its shard is lost; none passes."""
        shards = self.shards_of(ids)
        owned = self.mask[shards]
        if not owned.all():
            raise self._wrong_shard(np.unique(shards[~owned]).tolist(), int(ids[np.argmin(owned)]))
        if self.lost.partitions:
            self.lost.check(shards)

    def check_one(self, id: int) -> None:
        """Raises WrongShard when `id` is not served here, ShardLost when its shard is lost."""
        shard = self.shard_of(id)
        if not self.mask[shard]:
            raise self._wrong_shard([shard], id)
        if self.lost.partitions:
            self.lost.check_one(shard)

    def check_shards(self, shards: NDArray[np.uint32]) -> None:
        """Raises WrongShard when a shard number is not served here, ShardLost when one is lost (calls for
        whole shards)."""
        beyond = shards >= self.num_shards
        wrong = shards[beyond | ~self.mask[np.where(beyond, 0, shards)]]
        if wrong.size:
            raise self._wrong_shard(np.unique(wrong).tolist(), 0)
        if self.lost.partitions:
            self.lost.check(shards)

    def _wrong_shard(self, shards: list[int], first_id: int) -> WrongShard:
        names = ",".join(str(shard) for shard in shards[:_SHOWN_MAX])
        return WrongShard(
            f"this process does not serve shard {names}; read the shard map again",
            shards=names,
            shard_count=len(shards),
            first_id=first_id,
            num_shards=self.num_shards,
        )
