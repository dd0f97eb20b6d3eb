"""Pure routing: which host is asked for which rows. No clock, no network, no state but a cache of tables.

Per shard, the replicas with the longest common prefix of the placement label (a call across zones costs
money and a millisecond), unhealthy ones only when nothing else is left; among equals, rotation. One
rotation number serves a whole call, so replicas that hold the same shards are asked with one call, not
each for half. A plan costs one table look-up and one sort: the tables are made per (segment, label,
unhealthy hosts) and kept.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.chassis.ids import ShardScheme, shard_of, shards_of
from services.chassis.shards.map import Host, Segment

_TABLES_MAX = 64


class HostRows(NamedTuple):
    """One call to make."""

    host: Host
    rows: NDArray[np.intp]
    """Ascending indices into the ids (or the shards) that were planned."""


def plan(
    segment: Segment,
    ids: NDArray[np.uint64],
    *,
    prefer: str = "",
    unhealthy: Set[str] = frozenset(),
    rotation: int = 0,
    scheme: ShardScheme = ShardScheme.HASHED,
) -> list[HostRows]:
    """One entry per host to ask; every row of `ids` is in exactly one. Hosts come in address order."""
    shards = shards_of(ids, num_shards=segment.num_shards, scheme=scheme)
    return plan_shards(segment, shards, prefer=prefer, unhealthy=unhealthy, rotation=rotation)


def plan_shards(
    segment: Segment,
    shards: NDArray[np.uint32],
    *,
    prefer: str = "",
    unhealthy: Set[str] = frozenset(),
    rotation: int = 0,
) -> list[HostRows]:
    """`plan` for shard numbers, which must be below the segment's num_shards."""
    if len(segment.hosts) == 1:
        # The one host serves every shard, healthy or not: nothing to look up or to sort.
        return [HostRows(segment.hosts[0], np.arange(shards.size))] if shards.size else []
    table = _table(segment, prefer, frozenset(unhealthy))
    host_of_row = table[rotation % len(table)][shards]
    order = np.argsort(host_of_row, kind="stable")
    bounds = np.flatnonzero(np.diff(host_of_row[order])) + 1
    groups = np.split(order, bounds) if order.size else []
    return [HostRows(segment.hosts[int(host_of_row[rows[0]])], rows) for rows in groups]


def plan_one(
    segment: Segment,
    id: int,
    *,
    prefer: str = "",
    unhealthy: Set[str] = frozenset(),
    rotation: int = 0,
    scheme: ShardScheme = ShardScheme.HASHED,
) -> Host:
    """The host to ask for one id."""
    shard = shard_of(id, num_shards=segment.num_shards, scheme=scheme)
    table = _table(segment, prefer, frozenset(unhealthy))
    return segment.hosts[int(table[rotation % len(table), shard])]


def common_prefix_length(a: str, b: str) -> int:
    """How many leading characters two placement labels share."""
    for index, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return index
    return min(len(a), len(b))


@lru_cache(maxsize=_TABLES_MAX)
def _table(segment: Segment, prefer: str, unhealthy: frozenset[str]) -> NDArray[np.uint32]:
    """Shape (rotations, num_shards): the index of the host to ask. Read-only."""
    ranks = [
        (host.address not in unhealthy, common_prefix_length(host.placement, prefer))
        for host in segment.hosts
    ]
    replicas: list[list[int]] = [[] for _ in range(segment.num_shards)]
    for index, host in enumerate(segment.hosts):
        for shard in host.shards:
            replicas[shard].append(index)
    equals: list[list[int]] = []
    for candidates in replicas:
        best = max(ranks[index] for index in candidates)
        equals.append([index for index in candidates if ranks[index] == best])
    # As many rows as the least common multiple, so that a wrap-around of the rotation favours nobody;
    # bounded, because odd replica counts multiply.
    rotations = min(int(np.lcm.reduce(np.unique([len(group) for group in equals]))), 64)
    rows = [[group[r % len(group)] for group in equals] for r in range(rotations)]
    table = np.array(rows, np.uint32)
    table.flags.writeable = False
    return table
