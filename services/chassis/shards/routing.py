"""What the threaded and the asyncio router share: answers, metrics, and the choice of hosts for one call."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray
from prometheus_client import Counter
from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import Clock
from services.chassis.errors import FeedmeshError, Internal
from services.chassis.ids import ShardScheme, shard_of, shards_of
from services.chassis.process import ProcessConfig
from services.chassis.rpc.context import current
from services.chassis.shards.health import HostHealth, another_may_answer
from services.chassis.shards.lost import lost_rows
from services.chassis.shards.map import Host, Segment
from services.chassis.shards.plan import HostRows, plan_shards
from services.chassis.shards.watch import WatchedShardMap

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

MakeRequest = Callable[[NDArray[np.intp]], Request]
"""Rows (indices into the ids of the call, or shard numbers in `call_all`) → the request for one host."""


_NO_ROWS = np.empty(0, np.intp)


@dataclass(frozen=True, slots=True)
class HostAnswer(Generic[Response]):
    """What one host said for its rows: a response, or the error after the last replica was tried."""

    host: Host
    rows: NDArray[np.intp]
    response: Response | None
    error: FeedmeshError | None

    def get(self) -> Response:
        """The response. Raises the error."""
        if self.error is not None:
            raise self.error
        if self.response is None:
            raise Internal("an answer without response or error")
        return self.response


def raise_first_error(answers: Iterable[HostAnswer[Response]]) -> None:
    """For calls that cannot be partial: raise the first host's error, if any."""
    for answer in answers:
        if answer.error is not None:
            raise answer.error


def parted(
    error: FeedmeshError, call: HostRows, shards: NDArray[np.uint32]
) -> tuple[HostRows, HostRows | None]:
    """Of a call that failed: what its host is not to be asked for again, and what it would answer.

    A host refuses a call for the sake of one lost shard; without a second replica the rows of its other
    shards would be lost with it. The second part has fewer rows than the call, so asking again ends.
    """
    lost = lost_rows(error, shards[call.rows])
    if lost is None or lost.all():
        return call, None
    return HostRows(call.host, call.rows[lost]), HostRows(call.host, call.rows[~lost])


class RouterMetrics:
    """Second choices."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.failovers = Counter(
            "feedmesh_router_failovers_total",
            "Calls made again at another replica.",
            ["segment"],
            registry=registry,
        )
        self.hedges = Counter(
            "feedmesh_router_hedges_total",
            "Second calls sent because the first was slow, by who answered first: first or second.",
            ["segment", "winner"],
            registry=registry,
        )


class Choices:
    """Chooses hosts, remembers their health. One per process."""

    def __init__(self, shards: WatchedShardMap, config: ProcessConfig, clock: Clock) -> None:
        self._shards = shards
        self._prefer = config.placement
        self._scheme: ShardScheme = config.shard_scheme
        # Starts anywhere, so that processes started together do not march in step.
        self._rotation = itertools.count(time.monotonic_ns() & 0xFFFF)
        self.health = HostHealth(config.channels, clock)
        self.failovers_max = config.channels.failovers_max
        self.timeout_s = config.channels.timeout_ms / 1000

    def segment(self, name: str) -> Segment:
        """The segment as of now; a call keeps it to its end."""
        return self._shards.current().segment(name)

    def shards_of(self, segment: Segment, ids: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The shard of each id."""
        return shards_of(ids, num_shards=segment.num_shards, scheme=self._scheme)

    def shard_of(self, segment: Segment, id: int) -> NDArray[np.uint32]:
        """`shards_of` one id, without numpy's price for each of its steps."""
        return np.array([shard_of(id, num_shards=segment.num_shards, scheme=self._scheme)], np.uint32)

    def first(self, segment: Segment, shards: NDArray[np.uint32]) -> list[HostRows]:
        """The calls to make."""
        return plan_shards(
            segment,
            shards,
            prefer=self._prefer,
            unhealthy=self.health.unhealthy(),
            rotation=next(self._rotation),
        )

    def next(
        self,
        segment: Segment,
        shards: NDArray[np.uint32],
        rows: NDArray[np.intp],
        tried: frozenset[str],
    ) -> tuple[list[HostRows], NDArray[np.intp]]:
        """For the rows of a host that failed: calls to hosts not yet tried, and the rows that have none."""
        calls: list[HostRows] = []
        # Healthy hosts first, then the unhealthy ones: hosts to avoid are all one rank to the plan.
        for avoid in (self.health.unhealthy() | tried, tried):
            planned = plan_shards(
                segment, shards[rows], prefer=self._prefer, unhealthy=avoid, rotation=next(self._rotation)
            )
            calls += [HostRows(host, rows[at]) for host, at in planned if host.address not in tried]
            left = [rows[at] for host, at in planned if host.address in tried]
            rows = np.concatenate(left) if left else _NO_ROWS
        return calls, rows

    def again(
        self, error: FeedmeshError, segment: Segment, tried: frozenset[str], *, idempotent: bool
    ) -> bool:
        """Whether the rows of a host that failed with `error` are asked for at another replica."""
        return (
            len(tried) <= self.failovers_max
            and segment.replicated
            and another_may_answer(error, idempotent=idempotent)
        )

    def retry_in_channel(self, segment: Segment, tried: frozenset[str], *, idempotent: bool) -> bool:
        """gRPC's own retries are for the last host there is to ask; before that another replica is faster."""
        return idempotent and not (segment.replicated and len(tried) <= self.failovers_max)

    def deadline(self, timeout_s: float | None) -> float:
        """Monotonic deadline of a routed call: its own timeout, and no later than the call being served."""
        at = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        call = current()
        return at if call is None or call.deadline is None else min(at, call.deadline)
