"""The knobs that every process has: addresses, threads, limits, draining. Field `process` of each config.

Owns no behaviour. `lifecycle.py` and `rpc/` read it; a service's own knobs stand beside it in the
service's `config.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.ids import ShardScheme

KEEPALIVE_MARGIN: Final = 2
"""Servers accept pings this many times as often as `ChannelConfig.keepalive_ms` sends them: a server that
finds its clients' pings too frequent answers with GOAWAY, and healthy connections flap."""

METADATA_BYTES_MAX: Final = 16 << 10
"""Consistency tokens (6,000 bytes at most) travel as metadata; gRPC's own limit, 8 KB, is near to that."""


def check_address(name: str, value: str) -> None:
    """Raises ValueError unless `value` is host:port with a port of 0 to 65535."""
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) <= 65_535):
        raise ValueError(f"{name} is {value!r}, must be host:port")


def _address(value: str) -> str:
    try:
        check_address("it", value)
    except ValueError as fault:
        raise ValueError("must be host:port") from fault
    return value


def _address_or_none(value: str) -> str:
    return _address(value) if value else value


# Checked field by field: a check of the whole would not run, and so not be reported, beside another fault.
Address = Annotated[str, AfterValidator(_address)]
AddressOrNone = Annotated[str, AfterValidator(_address_or_none)]


@dataclass(frozen=True, config=CONFIG)
class ChannelConfig:
    """Connections to other services."""

    keepalive_ms: int = Field(default=2_000, ge=100)
    """Ping a silent connection this often; this also sets TCP_USER_TIMEOUT, so a machine that has died
    holds a call for about 3 s instead of a minute."""

    keepalive_timeout_ms: int = Field(default=1_000, ge=50)
    """Close the connection when a ping is not answered in this time."""

    timeout_ms: int = Field(default=1_000, gt=0)
    """Deadline of a call for which neither the code nor the incoming request sets one."""

    retry_attempts: int = Field(default=3, ge=1, le=5)
    """Attempts of an idempotent call that fails with UNAVAILABLE (1: no retries). gRPC allows 5 at most."""

    retry_backoff_ms: int = Field(default=10, ge=5)
    """Mean wait before the first retry; doubles each time. Not below 5: with 1 ms gRPC's core was seen to
    wait for ever (1.85), and a retry that soon meets the same fault anyway."""

    reconnect_ms_max: int = Field(default=1_000, gt=0)
    """Longest wait between two attempts to connect to a host that is down."""

    unhealthy_ms: int = Field(default=1_000, ge=0)
    """A host that answered UNAVAILABLE is asked last for this long."""

    timeouts_in_a_row_max: int = Field(default=3, gt=0)
    """A host that let this many calls run into their deadline, none succeeding between, is asked last too."""

    failovers_max: int = Field(default=1, ge=0)
    """How often the shards of a failed host are asked for at another replica, within the same deadline."""

    hedge_ms: int = Field(default=0, ge=0)
    """The orchestrator asks a second replica when the first has not answered after this long; 0: never.
    Useful from two replicas on, near the 95th percentile of the call. The loser is cancelled."""


@dataclass(frozen=True, config=CONFIG)
class ProcessConfig:
    """What every process of the mesh is told."""

    listen: Address = "127.0.0.1:7002"
    """host:port that gRPC listens on; port 0 takes a free one (tests)."""

    advertise: AddressOrNone = ""
    """host:port under which other processes reach this one, as the shard map has it; empty: `listen`."""

    placement: str = ""
    """Label `az_placement-group`, e.g. us-east-1a_pg1: calls go to the replica with the longest
    common prefix."""

    metrics_listen: AddressOrNone = ""
    """host:port of the Prometheus endpoint; empty: none."""

    data_dir: Path = Path("feedmesh-data")
    """Where this process keeps its store; made when absent."""

    shard_map: Path | None = None
    """Shard map in Rocksplicator's JSON; absent: this process owns all of `num_shards`."""

    num_shards: int = Field(default=64, ge=1, le=65_536)
    """Virtual shards of this service's segment when there is no shard map."""

    shard_scheme: ShardScheme = ShardScheme.HASHED
    """How an id names its shard: hashed, or embedded in the id. Never changes once data is stored."""

    threads: int = Field(default=8, ge=1, le=256)
    """Calls that run at the same time."""

    queue_max: int = Field(default=256, ge=0)
    """Calls that may wait for a thread; one more is answered RESOURCE_EXHAUSTED."""

    streams_max: int = Field(default=64, ge=0)
    """Open response streams (the log's Tail); each has a thread of its own, beyond `threads`."""

    deadline_default_ms: int = Field(default=5_000, gt=0)
    """Deadline of a unary call whose caller sent none."""

    deadline_reserve_ms: int = Field(default=2, ge=0)
    """Time kept back to answer: a call with less left is DEADLINE_EXCEEDED before the work starts."""

    token_wait_ms_max: int = Field(default=500, ge=0)
    """Longest wait of a read for the positions of its consistency token."""

    message_bytes_max: int = Field(default=32 << 20, ge=1 << 10)
    """Largest message, in and out."""

    connection_age_ms_max: int = Field(default=0, ge=0)
    """Close connections older than this so that clients look names up again (servers behind a headless
    service); 0: never."""

    catch_up_s_max: float = Field(default=30.0, ge=0)
    """A replica reports ready when it has caught up with the log, or after this long: a log that is down must
    not also take away the reads of what is known."""

    drain_s: float = Field(default=10.0, ge=0)
    """After SIGTERM, calls in flight have this long to finish."""

    drain_linger_ms: int = Field(default=100, ge=0)
    """After SIGTERM, keep answering UNAVAILABLE at least this long: callers move away without a reset."""

    switch_interval_us: int = Field(default=500, ge=50)
    """`sys.setswitchinterval`: how long a thread may hold the GIL while others wait. Python's 5 ms is a long
    time beside a call of 1 ms. The default is a guess to be measured per service."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    log_format: Literal["json", "console"] = "json"
    """json for machines, console for a terminal."""

    channels: ChannelConfig = ChannelConfig()
    """Connections to other services."""

    @property
    def address(self) -> str:
        """The host:port that the shard map knows this process by."""
        return self.advertise or self.listen
