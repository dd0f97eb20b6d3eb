"""The shard map: Rocksplicator's JSON as an immutable value.

    {"polaris": {"num_shards": 64, "10.0.0.1:7002:us-east-1a_pg1": ["00000", "00001:M"], …}, …}

A host is `ip:port:az_placement-group`; a shard may carry a role (`:M`, `:S`), which is accepted and not
used: every replica follows the log. `parse` lists all faults of a file at once and returns nothing less
than a whole valid map. Where next: `plan.py`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from services.chassis.errors import ConfigFaults
from services.chassis.ids import SHARDS_MAX
from services.chassis.process import check_address

_ROLES: Final = ("M", "S")
_SHOWN_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Host:
    """One process that serves shards of a segment."""

    address: str
    placement: str
    shards: tuple[int, ...]
    """Ascending."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One sharded service. Compared by identity, so that plans can be cached by it."""

    name: str
    num_shards: int
    hosts: tuple[Host, ...]
    """By address: the order that rotation follows, the same in every process."""

    @cached_property
    def replicated(self) -> bool:
        """Whether any shard has more than one host."""
        return sum(len(host.shards) for host in self.hosts) > self.num_shards

    def host(self, address: str) -> Host | None:
        """The host at `address`; None when it serves nothing of this segment."""
        return next((host for host in self.hosts if host.address == address), None)


@dataclass(frozen=True, eq=False)
class ShardMap:
    """All segments."""

    segments: Mapping[str, Segment]

    @staticmethod
    def parse(text: str) -> ShardMap:
        """The map that `text` holds. Raises ConfigFaults with every fault."""
        try:
            document = json.loads(text, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise ConfigFaults([f"the shard map is not JSON: {error}"]) from None
        if not isinstance(document, dict):
            raise ConfigFaults(["the shard map must be an object of segments"])
        faults: list[str] = []
        segments = {name: _segment(name, body, faults) for name, body in document.items()}
        if faults:
            raise ConfigFaults(faults)
        return ShardMap(segments)

    def segment(self, name: str) -> Segment:
        """The segment of that name. Raises ConfigFaults that says which there are."""
        found = self.segments.get(name)
        if found is None:
            known = ", ".join(sorted(self.segments)) or "none"
            raise ConfigFaults([f"the shard map has no segment {name} (it has: {known})"])
        return found


def _segment(name: str, body: Any, faults: list[str]) -> Segment:
    """The segment; worth nothing when `faults` has grown."""
    if not isinstance(body, dict):
        faults.append(f"{name}: must be an object with num_shards and hosts")
        return Segment(name, 1, ())
    num_shards = body.get("num_shards")
    if not isinstance(num_shards, int) or isinstance(num_shards, bool) or not 1 <= num_shards <= SHARDS_MAX:
        faults.append(f"{name}.num_shards = {num_shards!r}: must be 1 to {SHARDS_MAX}")
        return Segment(name, 1, ())
    hosts = [
        _host(f"{name}.{key}", key, value, num_shards=num_shards, faults=faults)
        for key, value in body.items()
        if key != "num_shards"
    ]
    faults.extend(_segment_faults(name, hosts, num_shards=num_shards))
    return Segment(name, num_shards, tuple(sorted(hosts, key=lambda host: host.address)))


def _host(at: str, key: str, value: Any, *, num_shards: int, faults: list[str]) -> Host:
    # From the right: an IPv6 address, [::1]:7002:label, has colons of its own.
    address, _, placement = key.rpartition(":")
    try:
        check_address("the host", address)
    except ValueError:
        faults.append(f"{at}: must be ip:port:placement")
    if not isinstance(value, list):
        faults.append(f"{at}: must be a list of shards")
        value = []
    shards = [_shard(at, entry, num_shards=num_shards, faults=faults) for entry in value]
    known = sorted(shard for shard in shards if shard is not None)
    twice = sorted({a for a, b in itertools.pairwise(known) if a == b})
    if twice:
        faults.append(f"{at}: lists {_shown(twice)} twice")
    return Host(address, placement, tuple(known))


def _shard(at: str, entry: Any, *, num_shards: int, faults: list[str]) -> int | None:
    number, colon, role = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    if not (number.isascii() and number.isdecimal()) or (colon and role not in _ROLES):
        faults.append(f"{at}: {entry!r} is not a shard such as 00042 or 00042:M")
        return None
    if int(number) >= num_shards:
        faults.append(f"{at}: shard {entry!r} is not below num_shards {num_shards}")
        return None
    return int(number)


def _segment_faults(name: str, hosts: list[Host], *, num_shards: int) -> Iterator[str]:
    addresses = [host.address for host in hosts]
    for address in sorted({a for a in addresses if addresses.count(a) > 1}):
        yield f"{name}: {address} is listed twice"
    served = {shard for host in hosts for shard in host.shards}
    missing = sorted(set(range(num_shards)) - served)
    if missing:
        yield f"{name}: no host serves shards {_shown(missing)}"


def _shown(shards: list[int]) -> str:
    names = [f"{shard:05d}" for shard in shards[:_SHOWN_MAX]]
    more = len(shards) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """json's own rule, the last one wins, would drop a host in silence."""
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"the key {key!r} appears twice")
        seen[key] = value
    return seen
