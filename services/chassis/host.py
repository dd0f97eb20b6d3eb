"""What the chassis hands to a service's `build`, and what `build` hands back.

`Host` for leaves, `AioHost` for the orchestrator: the same things, with the channels and the router of
their world. `Leaf` and `Orchestrator` are what is served. `lifecycle.py` makes the first and runs the
second.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import Clock
from services.chassis.errors import ConfigFaults, FeedmeshError
from services.chassis.process import ProcessConfig
from services.chassis.rpc.aio_channel import AioChannels
from services.chassis.rpc.channel import Channels
from services.chassis.rpc.envelope import Gate
from services.chassis.rpc.rpc_metrics import ClientMetrics
from services.chassis.rpc.server import Service
from services.chassis.shards.aio import AioRouter
from services.chassis.shards.map import Host as ShardHost
from services.chassis.shards.map import Segment, ShardMap
from services.chassis.shards.owned import OwnedShards
from services.chassis.shards.router import Router
from services.chassis.shards.routing import Choices, RouterMetrics
from services.chassis.shards.watch import ShardMapMetrics, WatchedShardMap


class Following(Protocol):
    """The part of a log follower that the lifecycle drives (`log/follower.py`)."""

    def start(self) -> None:
        """Begin to follow; returns at once, also when the log is away."""

    def stop(self) -> None:
        """Finish the batch at hand; blocks."""

    def caught_up(self) -> bool:
        """Whether reads may begin."""
        ...

    def wait_token(self, token: bytes, timeout_s: float) -> None:
        """The token gate."""

    def stale_ms(self) -> int:
        """0, or for how long the log has been silent when answers are to say so. Asked at every call."""
        ...


@dataclass(frozen=True)
class Parts:
    """What both kinds of host have."""

    name: str
    process: ProcessConfig
    registry: CollectorRegistry
    clock: Clock
    log: Any
    """A structlog logger bound to the service's name."""
    shards: WatchedShardMap
    owned: OwnedShards
    give_up: Callable[[BaseException], None]
    """Drain and end the process with exit code 1: for faults that waiting cannot cure. From any thread."""


@dataclass(frozen=True)
class Host(Parts):
    """A leaf's surroundings."""

    channels: Channels
    router: Router
    refuse_all: Callable[[FeedmeshError], None]
    """Answer every call with this error, NOT_SERVING in health, and stay: for faults that a restart would
    only meet again. From any thread."""


@dataclass(frozen=True)
class AioHost(Parts):
    """The orchestrator's surroundings."""

    channels: AioChannels
    router: AioRouter


def _nothing() -> None:
    """Nothing to warm or to close."""


async def _nothing_async() -> None:
    """Nothing to warm or to close."""


@dataclass(frozen=True)
class Leaf:
    """A threaded service, ready to be served."""

    services: Sequence[Service]
    """(add_X_to_server, servicer, full name)."""
    follower: Following | None = None
    warm: Callable[[], None] = _nothing
    """Runs before anything is served: compile kernels, load what is kept in memory."""
    close: Callable[[], None] = _nothing
    """Runs last, when no call and no follower is left: close the store."""
    gate: Gate | None = None
    """Token gate; absent: the follower's."""


@dataclass(frozen=True)
class Orchestrator:
    """An asyncio service, ready to be served."""

    services: Sequence[Service]
    warm: Callable[[], Awaitable[None]] = _nothing_async
    close: Callable[[], Awaitable[None]] = _nothing_async


def make_parts(
    name: str,
    process: ProcessConfig,
    *,
    segment: str | None,
    registry: CollectorRegistry,
    clock: Clock,
    give_up: Callable[[BaseException], None],
    log: Any = None,
) -> Parts:
    """Read the shard map and find this process's shards in it. Raises ConfigFaults.

    `segment` is the sharded segment that this process serves; None for one that serves no shards.
    """
    logger = log if log is not None else structlog.get_logger(service=name)
    metrics = ShardMapMetrics(registry)
    if process.shard_map is None:
        shards = WatchedShardMap.fixed(_map_of_one(process, segment or name), metrics=metrics)
    else:
        shards = WatchedShardMap.read(process.shard_map, metrics=metrics, log=logger)
    owned = owned_shards(process, shards.current(), segment)

    def warn(swapped: ShardMap) -> None:
        try:
            now = owned_shards(process, swapped, segment)
        except ConfigFaults as fault:
            logger.exception("the new shard map has no place for this process", faults=fault.faults)
            return
        if now.num_shards != owned.num_shards or not (now.mask == owned.mask).all():
            logger.warning("the new shard map gives this process other shards; restart it to serve them")

    shards.on_swap(warn)
    return Parts(name, process, registry, clock, logger, shards, owned, give_up)


def owned_shards(process: ProcessConfig, shard_map: ShardMap, segment: str | None) -> OwnedShards:
    """The shards of this process: all of them when it is not sharded, or alone. Raises ConfigFaults."""
    if segment is None:
        return OwnedShards.everything(process.num_shards, scheme=process.shard_scheme)
    return OwnedShards.of(shard_map, segment, address=process.address, scheme=process.shard_scheme)


def leaf_host(parts: Parts, *, refuse_all: Callable[[FeedmeshError], None]) -> Host:
    """`parts` with threaded channels and router."""
    process = parts.process
    channels = Channels(
        process.channels, ClientMetrics(parts.registry), message_bytes_max=process.message_bytes_max
    )
    choices = Choices(parts.shards, process, parts.clock)
    return Host(
        **vars(parts),
        channels=channels,
        router=Router(channels, choices, RouterMetrics(parts.registry)),
        refuse_all=refuse_all,
    )


def aio_host(parts: Parts) -> AioHost:
    """`parts` with asyncio channels and router; call it inside the event loop."""
    process = parts.process
    channels = AioChannels(
        process.channels, ClientMetrics(parts.registry), message_bytes_max=process.message_bytes_max
    )
    choices = Choices(parts.shards, process, parts.clock)
    router = AioRouter(channels, choices, RouterMetrics(parts.registry), hedge_ms=process.channels.hedge_ms)
    return AioHost(**vars(parts), channels=channels, router=router)


def _map_of_one(process: ProcessConfig, segment: str) -> ShardMap:
    """Without a shard map this process is its whole segment, and its router finds itself."""
    host = ShardHost(process.address, process.placement, tuple(range(process.num_shards)))
    return ShardMap({segment: Segment(segment, process.num_shards, (host,))})
