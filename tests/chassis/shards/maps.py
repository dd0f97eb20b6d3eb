"""Shard maps for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.chassis.shards.map import Segment, ShardMap


def document(hosts: Mapping[str, Sequence[int]], *, num_shards: int) -> dict[str, Any]:
    """A segment as the file has it; hosts are `ip:port:placement`."""
    return {"num_shards": num_shards} | {
        host: [f"{shard:05d}" for shard in own] for host, own in hosts.items()
    }


def text(hosts: Mapping[str, Sequence[int]], *, num_shards: int, segment: str = "toy") -> str:
    """A file with one segment."""
    return json.dumps({segment: document(hosts, num_shards=num_shards)})


def one_segment(hosts: Mapping[str, Sequence[int]], *, num_shards: int) -> Segment:
    """That segment, parsed."""
    return ShardMap.parse(text(hosts, num_shards=num_shards)).segment("toy")
